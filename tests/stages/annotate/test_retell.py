"""annotate.retell: completions about clips played backwards are the forward ones retold, and nobody is asked."""

import dataclasses
import json

import pytest

from tasks import params, paths
from tasks.annotate import __main__ as stage
from tasks.annotate.retell import Told, retold_completions
from tasks.core.io.tables import read_table, write_table
from tasks.core.schemas.mapping import Mapped, mapped
from tasks.core.schemas.records import COT_SCHEMA, RECORD_SCHEMA, Record
from tests.support.infer_project import RECORDS, FakeEngine, make_project, write_params

SAMPLING = {"sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": 8}}
RIGHT = "<think>It goes right. right is B.</think><answer>B</answer>"


@pytest.fixture
def engine(tmp_path, tiny_model, monkeypatch):
    """A project of the readable rows, with pairs retold, and the engine that answers it: 4 is the reverse of 1."""
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model, annotate=SAMPLING | {"pairs": True, "retell": True})
    rows = [dataclasses.asdict(row) for row in RECORDS if row.problem_id != 3]
    write_table(paths.TRAIN_RECORDS, rows, RECORD_SCHEMA)
    made = FakeEngine()
    monkeypatch.setattr(stage, "open_engine", lambda **_: made)
    return made


def outputs():
    rows = read_table(paths.COT, COT_SCHEMA)
    return {row["problem_id"]: row for row in rows}, json.loads(paths.metrics("annotate").read_text())


def test_a_reversed_clip_has_the_forward_completion_retold(engine, capsys):
    engine.answer = RIGHT
    stage.main()
    by_id, summary = outputs()
    assert list(by_id) == [1, 2, -2, 5, 6, 7]
    assert by_id[-2]["completion"] == "<think>It goes left. left is A.</think>\n<answer>A</answer>"
    assert (by_id[-2]["solution"], by_id[-2]["reward"], by_id[-2]["finish_reason"]) == (
        "<answer>A</answer>",
        1.0,
        "stop",
    )
    assert len(engine.seen) == summary["asked"] == 5, "all but the reversed one"
    assert (summary["rows"], summary["pairs"], summary["retold"], summary["not_retold"]) == (6, 1, 1, {})
    output = capsys.readouterr().out
    assert "5 completions wanted, 0 kept" in output and "1 completions about them are retold" in output


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("B", "the forward completion is not one think and one answer block", id="no-blocks"),
        pytest.param(
            "<think>It goes left, then right.</think><answer>B</answer>",
            "the reasoning tells a sequence",
            id="sequence",
        ),
    ],
)
def test_what_is_not_retold_costs_its_row_with_the_reason(engine, answer, reason):
    engine.answer = answer
    stage.main()
    by_id, summary = outputs()
    assert (by_id[-2]["finish_reason"], by_id[-2]["error"]) == ("error", f"not retold: {reason}")
    assert (summary["errors"], summary["retold"], summary["not_retold"]) == (1, 0, {reason: 1})


def test_a_wrong_completion_stays_wrong(engine):
    engine.answer = "<think>It goes left.</think><answer>A</answer>"
    stage.main()
    by_id, _ = outputs()
    assert (by_id[1]["reward"], by_id[-2]["reward"]) == (0.0, 0.0)
    assert by_id[-2]["answer"] == "B", "the truth of the reversed clip is A"


def test_a_second_run_asks_nobody_and_writes_the_same(engine):
    engine.answer = RIGHT
    stage.main()
    first = outputs()
    engine.seen.clear()
    stage.main()
    assert outputs() == first and engine.seen == []


def test_a_reversed_clip_whose_answer_stays_is_asked_about(engine):
    question = {"problem": "Which colour comes before the last?", "problem_type": "free-form", "options": []}
    truth = {"solution": "<answer>red</answer>"}
    rows = [dataclasses.asdict(dataclasses.replace(row, **question, **truth)) for row in (RECORDS[0], RECORDS[3])]
    write_table(paths.TRAIN_RECORDS, rows, RECORD_SCHEMA)
    stage.main()
    by_id, summary = outputs()
    assert list(by_id) == [1, -2] and len(engine.seen) == 2
    assert (summary["retold"], by_id[-2]["problem"]) == (0, "Which colour comes after the first?")


def test_every_sample_is_retold():
    record = Record(4, "Which way?", "video", "multiple choice", ["A. up", "B. down"], "", "<answer>A</answer>", "x")
    backwards = mapped(record, "reversed")
    assert isinstance(backwards, Mapped)
    logged = {"finish_reason": "stop", "tokens": 3, "prompt_tokens": 9, "error": ""}
    said = ["<think>Up, so A.</think><answer>A</answer>", "<think>Down.</think><answer>B</answer>", ""]
    kept = {("forward", n): logged | {"completion": text} for n, text in enumerate(said)}
    kept["forward", 2] |= {"finish_reason": "error"}
    rows = retold_completions([Told("back", record, "forward", backwards)], kept, 3)
    texts = [rows["back", sample]["completion"] for sample in range(3)]
    assert texts == ["<think>Down, so B.</think>\n<answer>B</answer>", "<think>Up.</think>\n<answer>A</answer>", ""]
    assert rows["back", 2]["error"] == "not retold: the forward clip has no completion"
    assert {row["prompt_tokens"] for row in rows.values()} == {0}, "no prompt was read"


def test_retelling_wants_pairs(engine, tiny_model):
    write_params(tiny_model, annotate=SAMPLING | {"retell": True})
    with pytest.raises(params.ParamsError, match="retell: there are no clips played backwards to retell; pairs: true"):
        params.load()
