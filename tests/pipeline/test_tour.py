"""docs/tour.md names functions that are there, each called by the hop that it names."""

import ast
import re
from functools import cache

import pytest

from tests.support.graph import ROOT, raw_graph

HOP = re.compile(r"^\| (\d+) \| (start|\d+) \| `([\w/.]+)` `(\w+)` \|", re.MULTILINE)
HOPS = [
    (int(number), start, path, name) for number, start, path, name in HOP.findall((ROOT / "docs/tour.md").read_text())
]
BY_NUMBER = {number: (path, name) for number, _, path, name in HOPS}


@cache
def function(path: str, name: str) -> ast.FunctionDef:
    """The one function or method of that name in a file."""
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(functions) == 1, f"{path}: {len(functions)} functions are called {name}"
    return functions[0]


def names_used(node: ast.AST) -> set[str]:
    """Functions that a function calls or hands on."""
    inside = list(ast.walk(node))
    attributes = {each.attr for each in inside if isinstance(each, ast.Attribute)}
    return attributes | {each.id for each in inside if isinstance(each, ast.Name)}


def test_the_tour_is_short_and_numbered():
    assert [number for number, *_ in HOPS] == list(range(1, len(HOPS) + 1))
    assert 10 < len(HOPS) <= 20


@pytest.mark.parametrize(("number", "start", "path", "name"), HOPS, ids=[f"{hop[0]} {hop[3]}" for hop in HOPS])
def test_a_hop_is_called_by_the_one_it_names(number, start, path, name):
    function(path, name)
    if start == "start":
        module = path.removesuffix("/__main__.py").replace("/", ".")
        commands = [stage.get("do", stage)["cmd"] for stage in raw_graph().values()]
        assert any(f"python -m {module}" in command for command in commands)
        assert name == "main" or name in names_used(function(path, "main"))
    else:
        assert int(start) < number
        assert name in names_used(function(*BY_NUMBER[int(start)]))
