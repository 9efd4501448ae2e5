"""Commands: a wrong argument is one line that names it, on every command."""

import ast
import importlib

import pytest

from flows import video_r1
from tasks import launch, lineage, profile, seconds, work
from tasks.core.io.errors import StageError
from tests.support.graph import ROOT

PARSERS = ROOT / "tasks/core/io/cli.py"


def test_every_command_has_the_parser_whose_errors_are_one_line():
    plain = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("tasks", "flows", "measure")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != PARSERS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ArgumentParser")
    ]
    assert plain == []


@pytest.mark.parametrize("module", [lineage, profile, seconds, work], ids=lambda module: module.__name__)
def test_a_wrong_argument_is_one_line(module):
    with pytest.raises(StageError, match=rf"^python -m {module.__name__}: [^\n]+; see --help$"):
        module.main(["--nonsense", "bogus"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(["bogus"], "unrecognized arguments: bogus", id="no option"),
        pytest.param(["--downstream"], "--downstream needs --targets", id="downstream of nothing"),
    ],
)
def test_the_flow_tells_a_wrong_argument_in_one_line(capsys, arguments, text):
    assert video_r1.main(arguments) == 2
    assert capsys.readouterr().err == f"video-r1: python -m flows.video_r1: {text}; see --help\n"


def test_params_command_writes_nothing_when_it_is_asked_for_help(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["params", "--help"])
    command = importlib.import_module("tasks.params.__main__")
    with pytest.raises(SystemExit) as ended:
        command.run_stage(command.main, about=command.__doc__)
    assert ended.value.code == 0 and "docs/params.md" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_launcher_tells_its_stages(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["launch", "--help"])
    assert launch.main() == 0
    assert capsys.readouterr().out.startswith("usage: python -m tasks.launch <stage> [arguments]; stages: annotate")
