import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tasks import paths
from tasks.core.io.jsonl import append_jsonl
from tasks.core.io.tables import TableError, write_table
from tasks.core.schemas import expectations
from tasks.core.schemas.expectations import CRITICAL
from tasks.core.schemas.records import (
    COT_SCHEMA,
    MANIFEST_SCHEMA,
    QUARANTINE_SCHEMA,
    RECORD_SCHEMA,
    REJECTED_SCHEMA,
    SFT_SCHEMA,
)
from tasks.validate import __main__ as stage
from tasks.validate.gates import open_gate, report_of
from tests.support.answers import answer_row, failed_row

RECORD = {
    "problem_id": 0,
    "problem": "Which way?",
    "data_type": "video",
    "problem_type": "multiple choice",
    "options": ["A. left", "B. right"],
    "process": "",
    "solution": "<answer>B</answer>",
    "path": "a.mp4",
    "data_source": "",
    "temporal": None,
    "skill": "",
    "source": "",
}
MEDIUM = {
    "path": "a.mp4",
    "data_type": "video",
    "sha256": "0" * 64,
    "duration_seconds": 2.0,
    "size_bytes": 10,
    "frames": 8,
    "fps": 4.0,
    "width": 56,
    "height": 56,
    "codec": "h264",
    "status": "ok",
}
BAD_ROW = {
    "source": "s",
    "split": "train",
    "row": 0,
    "problem_id": None,
    "kind": "record",
    "field": "path",
    "reason": "missing",
}
COMPLETION = "<think>It goes right.</think><answer>B</answer>"
COT = {
    **RECORD,
    "completion": COMPLETION,
    "answer": "B",
    "reward": 1.0,
    "finish_reason": "stop",
    "sample": 0,
    "error": "",
}
SFT = {**RECORD, "process": "<think>It goes right.</think>", "reward": 1.0}
ANSWER = answer_row()


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = {"sources": [{"name": "w", "format": "world", "split": "train", "rows": 1}]}
    Path("params.yaml").write_text(yaml.safe_dump({"models": {"base": "b"}, "ingest": sources}))


def write_ingest(train=(RECORD,), rl=(RECORD,), test=(RECORD,), media=(MEDIUM,), quarantine=()):
    write_table(paths.TRAIN_RECORDS, train, RECORD_SCHEMA)
    write_table(paths.RL_RECORDS, rl, RECORD_SCHEMA)
    write_table(paths.TEST_RECORDS, test, RECORD_SCHEMA)
    write_table(paths.MANIFEST, media, MANIFEST_SCHEMA)
    write_table(paths.QUARANTINE, quarantine, QUARANTINE_SCHEMA)


def write_logs(**logs):
    """Logs by model, or by model and suite."""
    for name, rows in logs.items():
        model, _, suite = name.partition("/")
        append_jsonl(paths.answers(model) / f"{suite or 'world'}.jsonl", rows)


def report(name):
    """Report of a gate on the tables written."""
    from tasks.core.schemas.gx import run_checks

    gate = open_gate(name, max_quarantined_share=0.5, min_rows=1)
    return report_of(name, gate, run_checks(gate.frames, gate.checks, gate.keys))


def run(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["validate", name])
    return stage.main()


OTHER = {**RECORD, "problem_id": 1, "problem": "How far?"}


@pytest.mark.parametrize(
    ("tables", "critical", "warning"),
    [
        pytest.param({"test": (OTHER,)}, [], [], id="good"),
        pytest.param({}, [], ["test question not among training questions"], id="test-question-was-trained-on"),
        pytest.param(
            {"test": ({**RECORD, "path": "b.mp4"},), "media": (MEDIUM, {**MEDIUM, "path": "b.mp4"})},
            [],
            ["test question not among training questions"],
            id="same-content-under-another-name",
        ),
        pytest.param({"test": (OTHER, OTHER)}, ["problem_id is unique"], [], id="duplicate-id"),
        pytest.param(
            {"test": (OTHER,), "media": ({**MEDIUM, "duration_seconds": 8.0},)},
            [],
            ["frames, rate and duration of a clip agree"],
            id="two-seconds-of-frames-in-eight",
        ),
        pytest.param(
            {"test": ({**OTHER, "solution": "B"},)},
            ["solution is a tagged answer", "true letter names an option"],
            [],
            id="bare-truth",
        ),
        pytest.param(
            {"test": ({**OTHER, "solution": "<answer>C</answer>"},)},
            ["true letter names an option"],
            [],
            id="no-such-option",
        ),
        pytest.param({"test": ({**OTHER, "path": "b.mp4"},)}, ["medium decodes"], [], id="medium-not-in-the-manifest"),
        pytest.param(
            {"test": ({**OTHER, "problem_type": "numerical", "solution": "<answer>many</answer>"},)},
            [],
            ["true number holds a digit"],
            id="number-without-a-digit",
        ),
        pytest.param({"test": (OTHER,), "rl": ()}, ["tables hold enough rows"], [], id="empty-table"),
        pytest.param({"test": (OTHER,), "quarantine": (BAD_ROW,) * 3}, [], [], id="half-quarantined-is-allowed"),
        pytest.param(
            {"test": (OTHER,), "quarantine": (BAD_ROW,) * 4}, ["few rows are quarantined"], [], id="more-is-not"
        ),
        pytest.param(
            {"test": (OTHER,), "media": (MEDIUM, {**MEDIUM, "path": "c.mp4", "frames": 0, "sha256": "x"})},
            ["sha256 is one", "decoded media have frames"],
            ["frames, rate and duration of a clip agree"],
            id="odd-manifest",
        ),
    ],
)
def test_records(tables, critical, warning):
    write_ingest(**tables)
    found = report("records")
    assert (found["failed_critical"], found["failed_warning"]) == (critical, warning)
    assert found["verdict"] == ("fail" if critical else "pass")


@pytest.mark.parametrize(
    ("rows", "critical"),
    [
        pytest.param([COT], [], id="good"),
        pytest.param([{**COT, "reward": float("nan")}], ["reward is a share"], id="nan-reward"),
        pytest.param([{**COT, "answer": "A"}], ["answer is the completion's first"], id="answer-of-another-text"),
        pytest.param([{**COT, "finish_reason": "?"}], ["finish reason is known"], id="unknown-finish"),
        pytest.param(
            [{**COT, "completion": "", "answer": "", "reward": 0.0, "finish_reason": "error", "error": "torn"}],
            ["at least half of the rows were answered"],
            id="engine-answered-nothing",
        ),
        pytest.param(
            [{**COT, "error": "torn"}], ["a row without a completion says why, and no other"], id="error-and-text"
        ),
        pytest.param([COT, {**COT, "sample": 1}], [], id="two-samples"),
        pytest.param([COT, COT], ["problem_id is unique"], id="one-sample-twice"),
        pytest.param([], ["table holds enough rows"], id="empty"),
    ],
)
def test_cot(rows, critical):
    write_table(paths.COT, rows, COT_SCHEMA)
    assert report("cot")["failed_critical"] == critical


@pytest.mark.parametrize(
    ("rows", "critical"),
    [
        pytest.param([SFT], [], id="good"),
        pytest.param(
            [{**SFT, "process": ""}],
            ["reasoning is tagged and not empty", "one think block and one answer"],
            id="no-process",
        ),
        pytest.param(
            [{**SFT, "process": "<think>a</think>b</think>"}], ["one think block and one answer"], id="closed-twice"
        ),
        pytest.param([SFT, SFT], ["problem_id is unique"], id="duplicate"),
        pytest.param([SFT, {**SFT, "process": "<think>another</think>"}], [], id="two-samples-of-a-question-kept"),
    ],
)
def test_sft(rows, critical):
    write_table(paths.SFT_ROWS, rows, SFT_SCHEMA)
    write_table(paths.REJECTED_ROWS, [], REJECTED_SCHEMA)
    assert report("sft")["failed_critical"] == critical


@pytest.mark.parametrize(
    ("changes", "critical"),
    [
        pytest.param({}, [], id="good"),
        pytest.param(
            {"rule": "length"}, ["a rejected row is charged to the first rule that it breaks"], id="another-rule"
        ),
        pytest.param({"rule": " ", "rules": [" "]}, ["a rejected row names its rule"], id="no-rule"),
        pytest.param({"rules": []}, ["a rejected row is charged to the first rule that it breaks"], id="no-rules"),
        pytest.param({"reward": float("nan")}, ["reward of a rejected row is a share"], id="reward-of-no-number"),
    ],
)
def test_rejected_rows(changes, critical):
    good = {**COT, "rule": "reward", "rules": ["reward", "length"]}
    write_table(paths.SFT_ROWS, [SFT], SFT_SCHEMA)
    write_table(paths.REJECTED_ROWS, [good, {**good, "problem_id": 7, "sample": 2, **changes}], REJECTED_SCHEMA)
    told = report("sft")
    assert told["failed_critical"] == critical
    assert [result["first_failing"] for result in told["results"] if not result["success"]] == [["7 sample 2"]] * len(
        critical
    )


FAILED = failed_row(sample_id="1")
RIGHT = answer_row(sample_id="1")
PUBLIC = answer_row(
    benchmark="mmvu",
    protocol="official",
    sample_id="validation_0",
    pipeline=None,
    pipeline_extracted="",
    pipeline_rule="",
    official=1.0,
    official_extracted="B",
    official_rule="judge",
)


@pytest.mark.parametrize(
    ("logs", "critical", "warning"),
    [
        pytest.param({"base": [ANSWER]}, [], [], id="good"),
        pytest.param({"base": [ANSWER], "base/mmvu": [PUBLIC]}, [], [], id="a public suite beside the test split"),
        pytest.param(
            {"base": [ANSWER], "base/mmvu": [PUBLIC | {"official": 1.5}]},
            ["scores are shares"],
            [],
            id="a public suite's score above 1",
        ),
        pytest.param(
            {"base": [ANSWER], "base/mmvu": [PUBLIC | {"official": None, "official_rule": ""}]},
            ["an error has its kind and no score, an answer has a score or a reason"],
            [],
            id="a public suite's answer without score and reason",
        ),
        pytest.param(
            {
                "base": [ANSWER],
                "base/mmvu": [PUBLIC | {"official": None, "official_rule": "not scored: needs a judge"}],
            },
            [],
            [],
            id="not scored and told",
        ),
        pytest.param(
            {"base": [ANSWER], "base/mmvu": [PUBLIC | failed_row(benchmark="mmvu", protocol="official")]},
            [],
            ["at least half of each log was answered", "nearly all rows were answered"],
            id="a public suite without its clips stops nothing",
        ),
        pytest.param(
            {"base": [failed_row()]},
            ["at least half of the test split was answered"],
            ["at least half of each log was answered", "nearly all rows were answered"],
            id="a test split without its clips does",
        ),
        pytest.param(
            {"base": [ANSWER], "sft": [answer_row(model="sft")], "sft/mmvu": [PUBLIC | {"model": "sft"}]},
            ["models answered the same questions"],
            [],
            id="a model left a suite out",
        ),
        pytest.param(
            {"base": [ANSWER, FAILED]}, [], ["nearly all rows were answered"], id="an-error-is-not-a-wrong-answer"
        ),
        pytest.param(
            {"base": [ANSWER, FAILED | {"pipeline": 0.0}]},
            ["an error has its kind and no score, an answer has a score or a reason"],
            ["nearly all rows were answered"],
            id="an-error-scored-0",
        ),
        pytest.param(
            {"base": [ANSWER, RIGHT], "sft": [answer_row(model="sft")]},
            ["models answered the same questions"],
            [],
            id="a-model-left-a-question-out",
        ),
        pytest.param(
            {"base": [ANSWER, ANSWER]},
            ["one row per model and question as it was put", "key names one row of a model"],
            [],
            id="twice",
        ),
        pytest.param(
            {"sft": [ANSWER]}, ["log carries its model's and its suite's name"], [], id="log-of-another-model"
        ),
        pytest.param({"base": [ANSWER | {"pipeline": 1.5}]}, ["scores are shares"], [], id="score-above-1"),
        pytest.param({"base": [ANSWER | {"protocol": "mine"} | {"mine_rule": ""}]}, None, None, id="unknown field"),
        pytest.param(
            {"base": [ANSWER | {"pipeline_extracted": "A"}]},
            ["extracted text is the completion's first answer"],
            [],
            id="extracted-from-another-text",
        ),
        pytest.param(
            {"base": [ANSWER | {"pipeline_extracted": ""}]},
            ["score of an unread answer is 0"],
            [],
            id="unread-but-right",
        ),
        pytest.param({"base": [ANSWER | {"view": "reversed"}]}, ["view is known"], [], id="unknown-view"),
    ],
)
def test_predictions(logs, critical, warning):
    write_logs(**logs)
    if critical is None:
        with pytest.raises(TableError, match="mine_rule"):
            report("predictions")
        return
    checked = report("predictions")
    assert (checked["failed_critical"], checked["failed_warning"]) == (critical, warning)


def test_a_log_of_another_shape_names_file_and_row():
    write_logs(base=[ANSWER, {"model": "base"}])
    with pytest.raises(TableError, match=r"base/world.jsonl: row 1: columns missing \['answer'"):
        report("predictions")


def test_the_report_names_the_first_failing_rows():
    bad = [{**COT, "problem_id": i, "reward": 2.0} for i in range(30)]
    write_table(paths.COT, [COT | {"problem_id": 99}, *bad], COT_SCHEMA)
    result = next(r for r in report("cot")["results"] if r["check"] == "reward is a share")
    assert result["first_failing"] == [str(i) for i in range(20)]
    assert result["observed"] == {"element_count": 31, "missing_count": 0, "unexpected_count": 30}


def test_pieces_change_nothing():
    """Every check gives the same over a frame in one piece and in many, also where rows may be missing or exempt."""

    from tasks.core.schemas.expectations import Check
    from tasks.core.schemas.gx import run_checks

    kinds = ["a", "b", "a", "c", None, "a", "b", "b", "x"]
    frame = pd.DataFrame({"name": [f"r{i}" for i in range(9)], "kind": kinds, "n": [1, 2, 3, 4, 5, 60, 7, 80, 9]})
    checks = [
        Check("known", "f", "ExpectColumnValuesToBeInSet", {"column": "kind", "value_set": ["a", "b", "c"]}),
        Check("mostly", "f", "ExpectColumnValuesToBeInSet", {"column": "kind", "value_set": ["a", "b"], "mostly": 0.7}),
        Check("of b", "f", "ExpectColumnValuesToBeBetween", {"column": "n", "max_value": 10}, where=("kind", "b")),
        Check("text", "f", "ExpectColumnValuesToMatchRegex", {"column": "name", "regex": "r"}),
    ]
    whole = run_checks({"f": [frame]}, checks, {"f": "name"})
    assert [(result.success, result.failing) for result in whole] == [
        (False, ["r8"]),
        (True, []),
        (False, ["r7"]),
        (True, []),
    ]
    for size in (1, 2, 4):
        pieces = [frame.iloc[start : start + size] for start in range(0, 9, size)]
        assert run_checks({"f": pieces}, checks, {"f": "name"}) == whole


def test_checks_of_some_rows_see_only_the_columns_that_they_look_at(monkeypatch):
    """Selecting rows copies what it selects from."""

    from tasks.core.schemas.expectations import Check
    from tasks.core.schemas.gx import run_checks

    seen, query = [], pd.DataFrame.query
    monkeypatch.setattr(
        pd.DataFrame, "query", lambda frame, *args, **kwargs: seen.append([*frame]) or query(frame, *args, **kwargs)
    )
    frame = pd.DataFrame({"name": ["a", "b"], "kind": ["x", "y"], "n": [1, 2], "text": ["t", "u"]})
    checks = [
        Check("of x", "f", "ExpectColumnValuesToBeBetween", {"column": "n", "max_value": 0}, where=("kind", "x")),
        Check("text", "f", "ExpectColumnValuesToMatchRegex", {"column": "text", "regex": "t"}),
    ]
    assert [result.failing for result in run_checks({"f": [frame]}, checks, {"f": "name"})] == [["a"], ["b"]]
    assert {tuple(columns) for columns in seen} == {("name", "kind", "n")}


def test_what_no_check_needs_is_imported_when_it_is_used():
    code = (
        "import sys; import tasks.core.schemas.gx; print('altair.vegalite' in sys.modules, 'scipy.stats._stats_py' in"
        " sys.modules); import altair; from scipy import stats; print(altair.Chart.__name__, stats.norm.cdf(0.0));"
        " import altair.vegalite, scipy.stats; print(sys.modules['altair'].Chart is altair.Chart)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.split() == ["False", "False", "Chart", "0.5", "True"]


def test_a_check_that_compares_rows_is_refused_in_pieces():

    from tasks.core.schemas.expectations import Check
    from tasks.core.schemas.gx import CheckError, run_checks

    check = Check("enough", "f", "ExpectTableRowCountToBeBetween", {"min_value": 1})
    with pytest.raises(CheckError, match="piece by piece"):
        run_checks({"f": [pd.DataFrame({"n": [1]})] * 2}, [check], {"f": "n"})


def test_a_check_that_raises_is_an_error_not_bad_data():
    from tasks.core.schemas.expectations import Check
    from tasks.core.schemas.gx import CheckError, run_checks

    write_table(paths.COT, [COT], COT_SCHEMA)
    gate = open_gate("cot", max_quarantined_share=0.5, min_rows=1)
    check = Check("colour is known", "cot", "ExpectColumnValuesToBeInSet", {"column": "colour", "value_set": ["red"]})
    with pytest.raises(CheckError, match="'colour is known' on cot could not be made: .*colour"):
        run_checks(gate.frames, [check, *gate.checks], gate.keys)


def test_check_names_are_unique_and_severities_known():
    write_ingest(test=(OTHER,))
    gate = open_gate("records", max_quarantined_share=0.5, min_rows=1)
    assert len({check.name for check in gate.checks}) == len(gate.checks)
    assert CRITICAL in {check.severity for check in gate.checks}


class TestStage:
    def test_pass(self, monkeypatch, capsys):
        write_ingest(test=(OTHER,))
        assert run("records", monkeypatch) == 0
        assert paths.verdict("records").read_text() == "pass\n"
        assert "validate records: pass" in capsys.readouterr().out

    def test_fail_is_exit_1_and_names_the_check(self, monkeypatch, capsys):
        write_ingest(test=(OTHER, OTHER))
        assert run("records", monkeypatch) == 1
        assert paths.verdict("records").read_text() == "fail\n"
        assert "critical: not so: problem_id is unique (ids); first rows: test 1" in capsys.readouterr().out

    def test_the_report_says_the_same_every_time(self, monkeypatch):
        write_ingest()
        run("records", monkeypatch)
        first = paths.validation_report("records").read_bytes()
        run("records", monkeypatch)
        assert paths.validation_report("records").read_bytes() == first
        assert json.loads(first)["verdict"] == "pass"

    def test_an_old_verdict_does_not_outlive_its_table(self, monkeypatch):
        write_ingest(test=(OTHER,))
        run("records", monkeypatch)
        paths.TEST_RECORDS.unlink()
        with pytest.raises(TableError, match="run `dvc repro ingest` first"):
            run("records", monkeypatch)
        assert not paths.verdict("records").exists()

    @pytest.mark.parametrize("arguments", [[], ["records", "cot"], ["nothing"]])
    def test_unknown_gate_is_one_line_and_exit_2(self, arguments):
        root = Path(__file__).parents[3]
        command = [sys.executable, "-m", "tasks.validate", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root)}, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: python -m tasks.validate: ") and done.stderr.count("\n") == 1

    def test_no_logs(self, monkeypatch):
        with pytest.raises(TableError, match="run `dvc repro benchmark` first"):
            run("predictions", monkeypatch)


class TestTexts:
    def test_something_is_what_is_no_white_space_to_python(self):
        every = pd.Series([chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000], dtype="str")
        assert every.str.contains(expectations._SOMETHING).equals(every.str.contains(r"\S"))

    @pytest.mark.parametrize(
        ("text", "is_answer"),
        [
            pytest.param("<answer>B</answer>", True, id="a-letter"),
            pytest.param("<answer>\u3000\n B\nC </answer>", True, id="spaces-and-lines-around"),
            pytest.param("<answer>中</answer>", True, id="not-ascii"),
            pytest.param("<answer>\x0b\u2003\x1c</answer>", False, id="spaces-that-arrow-does-not-count-as-such"),
            pytest.param("<answer></answer>", False, id="empty"),
            pytest.param("<answer>B</answer>\n", False, id="a-line-behind"),
            pytest.param(" <answer>B</answer>", False, id="a-space-before"),
            pytest.param("<answer>B</answer> so <answer>C</answer>", True, id="two-answers-are-for-ingest-to-refuse"),
        ],
    )
    def test_a_tagged_answer_holds_something(self, text, is_answer):
        [matches] = pd.Series([text], dtype="str").str.contains(expectations._TAGGED_ANSWER)
        plain = re.search(r"(?s)\A<answer>\s*\S.*</answer>\Z", text) is not None
        assert matches == plain == is_answer
