"""Commands: a wrong argument is one line that names it, on every command."""

import ast
import importlib
import re
from functools import partial

import pytest

from flows import video_r1
from flows.repro import slot_size
from measure import verify
from measure.rehearsal import __main__ as rehearsal
from measure.rehearsal import stage
from tasks import launch, lineage, profile, seconds, work
from tasks.core.io.documents import read_json
from tasks.core.io.errors import StageError
from tasks.core.io.lifeline import grace_seconds
from tasks.core.io.work import kept_days
from tasks.core.lineage import trace
from tasks.counterfactual.__main__ import make
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


def test_no_option_takes_a_number_without_a_bound():
    """int and float read -1, nan and inf as well."""
    plain = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("tasks", "flows", "measure")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument")
        for word in node.keywords
        if word.arg == "type" and ast.unparse(word.value) in ("int", "float", "type(value)")
    ]
    assert plain == []


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        pytest.param(seconds, ["nan"], id="no number"),
        pytest.param(seconds, ["soon"], id="a word"),
        pytest.param(lineage, ["--row", "1.5"], id="no whole number"),
        pytest.param(work, ["clear", "--older-than", "inf"], id="for ever"),
    ],
)
def test_a_number_that_cannot_be_is_one_line(module, arguments):
    wanted = rf"^python -m {module.__name__}.*: argument [^\n]+ is wanted, got '{arguments[-1]}'; see --help$"
    with pytest.raises(StageError, match=wanted):
        module.main(arguments)


@pytest.mark.parametrize("given", [["--row", "-2"], ["--row=-2"]])
def test_a_reversed_row_is_asked_for_by_its_id_below_0(given, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(lineage, "trace", lambda problem_id, *_: [])
    with pytest.raises(StageError, match="no table below data has problem_id -2$"):
        lineage.main(given)


@pytest.mark.parametrize("text", ["soon", "nan", "-1"])
@pytest.mark.parametrize(
    ("name", "read"),
    [("VIDEO_R1_GRACE_SECONDS", grace_seconds), ("VIDEO_R1_WORK_DAYS", kept_days), ("VIDEO_R1_SLOT_SIZE", slot_size)],
)
def test_a_variable_that_is_no_number_is_told_by_its_name(monkeypatch, name, read, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(StageError, match=rf"^{name}: a [^\n]*number of at least [01] is wanted, got '{text}'$"):
        read()
    monkeypatch.setenv(name, "")
    assert read() > 0


@pytest.mark.parametrize("module", [lineage, profile, seconds, work], ids=lambda module: module.__name__)
def test_a_wrong_argument_is_one_line(module):
    with pytest.raises(StageError, match=rf"^python -m {module.__name__}: [^\n]+; see --help$"):
        module.main(["--nonsense", "bogus"])


@pytest.mark.parametrize(
    ("command", "arguments", "wanted"),
    [
        pytest.param(verify.main, ["--folder", "FILE"], r"--folder FILE: no folder", id="verify in a file"),
        pytest.param(rehearsal.main, ["--gpu"], r"--gpu: PyTorch sees no GPU here; [^\n]*", id="rehearsal, no GPU"),
        pytest.param(rehearsal.main, ["--folder", "FILE"], r"--folder FILE exists; [^\n]*", id="rehearsal in a file"),
        pytest.param(partial(make, [], []), None, r"--out FILE: FILE is no folder", id="pairs into a file"),
        pytest.param(
            profile.main, ["../params"], r"no profile '../params'; profiles: [^\n]*", id="a path for a profile"
        ),
    ],
)
def test_what_is_no_place_to_write_or_read_is_one_line(tmp_path, command, arguments, wanted):
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises((StageError, profile.ProfileError)) as told:
        if arguments is None:
            command(None, file)
        else:
            command([str(file) if word == "FILE" else word for word in arguments])
    assert re.fullmatch(wanted.replace("FILE", re.escape(str(file))), str(told.value)), told.value
    assert file.read_text() == "kept"


@pytest.mark.parametrize("words", [[], ["nope"]], ids=["no stage", "an unknown stage"])
def test_the_rehearsal_of_one_stage_lists_the_stages(monkeypatch, words):
    monkeypatch.setattr("sys.argv", ["stage", *words])
    with pytest.raises(StageError, match=r"^no stage '(nope)?'; stages: ingest, [^\n]*$"):
        stage.main()


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b"schema: [\n", "not YAML: while parsing", id="cut off"),
        pytest.param(b"- a\n", "a YAML mapping is wanted, got list", id="a list"),
        pytest.param(b"a: \xff\n", "not YAML: ", id="no UTF-8"),
    ],
)
def test_a_damaged_lock_is_told_in_one_line(tmp_path, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").write_bytes(text)
    with pytest.raises(StageError, match=rf"^dvc.lock: {says}[^\n]*$"):
        lineage.main([])


def test_a_damaged_table_is_told_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "data/ingest").mkdir(parents=True)
    (tmp_path / "data/ingest/train.parquet").write_text("not a table")
    with pytest.raises(StageError, match="train.parquet: not a parquet table: "):
        list(trace(1, tmp_path / "data", {}))


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_report_is_told_by_its_name(tmp_path, text):
    (tmp_path / "sft.json").write_text(text)
    with pytest.raises(StageError, match=r"sft.json: (not JSON|a JSON object is wanted)"):
        read_json(tmp_path / "sft.json")


def test_rescoring_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.setattr("sys.argv", ["benchmark", "rescore"])
    with pytest.raises(StageError, match="no model of params.yaml was benchmarked; run `dvc repro benchmark` first"):
        importlib.import_module("tasks.benchmark.__main__").main()
