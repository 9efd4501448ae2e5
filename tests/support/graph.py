"""dvc.yaml as data, and the first-party import graph behind each stage."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from dvc.repo import Repo

from tasks.params import Params

ROOT = Path(__file__).parents[2]


class Stage(NamedTuple):
    """One resolved stage of dvc.yaml; paths relative to the project root."""

    name: str
    cmd: str
    deps: frozenset[str]
    params: frozenset[str]
    outs: frozenset[str]

    @property
    def package(self) -> str:
        """Name of the stage package: `python -m tasks.sft`, `python -m tasks.launch sft` -> sft."""
        words = self.cmd.split()
        module = words[words.index("-m") + 1]
        return words[-1] if module == "tasks.launch" else module.removeprefix("tasks.")


@cache
def stages() -> dict[str, Stage]:
    """Every stage of the graph by name, templates and foreach resolved by DVC itself."""
    with Repo(str(ROOT)) as repo:
        return {stage.addressing: _stage(stage) for stage in repo.index.graph}


def _stage(stage) -> Stage:
    params: set[str] = set()
    deps: set[str] = set()
    for dep in stage.deps:
        if hasattr(dep, "params"):
            params |= set(dep.params)
        else:
            deps.add(Path(dep.def_path).as_posix())
    return Stage(
        stage.addressing, stage.cmd, frozenset(deps), frozenset(params), frozenset(out.def_path for out in stage.outs)
    )


def raw_graph() -> dict:
    """dvc.yaml as it is written."""
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def reached(package: str) -> set[str]:
    """Files that `python -m tasks.<package>` may import, the package's own and parents' `__init__` included."""
    files: set[str] = set()
    pending = [f"tasks.{package}.__main__"]
    while pending:
        module = pending.pop()
        for path in _files_of(module):
            if path not in files:
                files.add(path)
                pending += _imports_of(path)
    return files


def _files_of(module: str) -> list[str]:
    """The file of a module, and the `__init__` of every package above it."""
    parts = module.split(".")
    candidates = [Path(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)] + [
        Path(*parts).with_suffix(".py")
    ]
    return [path.as_posix() for path in candidates if (ROOT / path).is_file()]


@cache
def _imports_of(path: str) -> list[str]:
    """First-party names that a file imports anywhere in it, or gives a library by name to import."""
    names: list[str] = []
    package = Path(path).parent.parts
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"tasks(\.\w+)+", str(node.value)):
            names += [str(node.value), str(node.value).rpartition(".")[0]]
    return [name for name in names if name.split(".")[0] in ("tasks", "flows")]


def covers(dep: str, path: str) -> bool:
    """Whether a dep (a file or a folder) holds a file."""
    return path == dep or path.startswith(f"{dep}/")


def sections_read(package: str) -> set[str]:
    """Sections of params.yaml that a stage's own package reads: attributes of what `params.load()` returned."""
    found: set[str] = set()
    for path in sorted((ROOT / "tasks" / package).glob("*.py")):
        tree = ast.parse(path.read_text())
        holders = _params_names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (
                (isinstance(node.value, ast.Name) and node.value.id in holders) or _is_load(node.value)
            ):
                found.add(node.attr.rstrip("_"))
    return found & {field.alias or name for name, field in Params.model_fields.items()}


def _params_names(tree: ast.AST) -> set[str]:
    """Names bound to `params.load()` or annotated as `params.Params`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_load(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if (
            isinstance(node, ast.arg)
            and node.annotation is not None
            and ast.unparse(node.annotation).endswith("Params")
        ):
            names.add(node.arg)
    return names


def _is_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("params.load", "load")
