"""pyproject.toml lists what the code imports."""

import ast
import itertools
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from tests.support.graph import ROOT


def test_what_is_imported_is_declared():
    """A package that arrives only because another one wants it may be gone with that one's next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", each)[0] for each in listed}
    distributions = metadata.packages_distributions()
    missing = set()
    folders = ("flows", "tasks", "measure", "examples", "tests")
    for path in itertools.chain(*(ROOT.joinpath(folder).rglob("*.py") for folder in folders)):
        for name in imported(path) - set(sys.stdlib_module_names):
            owners = {each.lower().replace("_", "-") for each in distributions.get(name, [])}
            if owners and not owners & declared:
                missing.add(name)
    assert missing == set()


def imported(path: Path) -> set[str]:
    """First parts of all absolute imports of a module."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names
