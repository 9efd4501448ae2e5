import json
from pathlib import Path

import pytest
import yaml

from tasks import paths
from tasks.core.io.tables import TableError, read_table, write_table
from tasks.core.schemas.records import COT_SCHEMA, REJECTED_SCHEMA, SFT_SCHEMA, CotRow, cot_from_row
from tasks.filter import __main__ as stage
from tasks.filter.filter import filter_rows, summarise
from tasks.filter.rules import ascii_share, build_rules, repeat_share

RULES = build_rules(min_reward=0.6, min_think_chars=10, max_think_chars=200, max_repeat_share=0.6, min_ascii_share=0.9)
THINK = "The ball starts left and ends right."


def row(completion, *, problem_type="multiple choice", solution="<answer>B</answer>", problem_id=0, finish="stop"):
    options = ["A. left", "B. right"] if problem_type == "multiple choice" else []
    return CotRow(
        problem_id=problem_id,
        problem="Which way?",
        data_type="video",
        problem_type=problem_type,
        options=options,
        process="",
        solution=solution,
        path="a.mp4",
        completion=completion,
        answer="",
        reward=0.0,
        finish_reason=finish,
    )


def said(think=THINK, answer="B"):
    return f"<think>{think}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("given", "broken"),
    [
        pytest.param(row(said()), [], id="good"),
        pytest.param(row(said(answer="(B) right")), [], id="robust-reward"),
        pytest.param(row(said() + "\n"), [], id="trailing-newline"),
        pytest.param(row(said(answer="A")), ["reward"], id="wrong"),
        pytest.param(
            row(said(answer="3"), problem_type="regression", solution="<answer>5</answer>"),
            ["reward"],
            id="0.6-is-not-more",
        ),
        pytest.param(
            row(said(answer="4"), problem_type="regression", solution="<answer>5</answer>"),
            [],
            id="0.8-is-more-than-0.6",
        ),
        pytest.param(row(f"Well. {said()}"), ["format"], id="text-before"),
        pytest.param(row(f"{said()}<answer>A</answer>"), ["format"], id="two-answers"),
        pytest.param(row("<answer>B</answer>"), ["format", "length"], id="no-reasoning"),
        pytest.param(row(said("left")), ["length"], id="too-short"),
        pytest.param(row(said(" ".join(f"w{i}" for i in range(100)))), ["length"], id="too-long"),
        pytest.param(row(said("球从左边开始,在右边结束,所以它向右移动")), ["language"], id="chinese"),
        pytest.param(row(said("The ball goes → right, 2 × 3 = 6, a café.")), [], id="signs-and-an-accent"),
        pytest.param(row(said("it goes right and " * 8)), ["repetition"], id="loop"),
        pytest.param(row("", finish="error"), ["unanswered", "reward", "format", "length"], id="no-answer-at-all"),
        pytest.param(row(f"<think>{THINK}", finish="length"), ["reward", "format", "length"], id="cut-off"),
    ],
)
def test_rules(given, broken):
    result = filter_rows([given], RULES)
    assert [rejected["rules"] for rejected in result.rejected] == ([broken] if broken else [])
    assert len(result.kept) == (not broken)
    if broken:
        assert result.rejected[0]["rule"] == broken[0]


def test_a_kept_row_has_the_reasoning_and_the_true_answer():
    kept = filter_rows([row(f"<think>\n{THINK} </think> <answer>(b) right</answer>")], RULES).kept[0]
    assert kept["process"] == f"<think>{THINK}</think>"
    assert kept["solution"] == "<answer>B</answer>"
    assert kept["reward"] == 1.0
    assert set(kept) == set(SFT_SCHEMA.names)


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 1), ("1 + 2 = 3", 1), ("abc", 1), ("abcд", 0.75), ("球", 0)],
)
def test_ascii_share(text, share):
    assert ascii_share(text) == share


@pytest.mark.parametrize(
    ("text", "share"),
    [
        pytest.param("", 0, id="empty"),
        pytest.param("a b c", 0, id="shorter-than-one-4-gram"),
        pytest.param("a b c d e", 0, id="all-new"),
        pytest.param("a b c d A B C D", 1 / 5, id="case-does-not-count"),
        pytest.param("a a a a a", 1 / 2, id="one-word"),
    ],
)
def test_repeat_share(text, share):
    assert repeat_share(text) == pytest.approx(share)


def test_counts_add_up():
    result = filter_rows([row(said()), row(said(answer="A")), row("", finish="error"), row("x")], RULES)
    counted = summarise(result, RULES)
    assert (counted["rows"], counted["kept"], counted["rejected_rows"]) == (4, 1, 3)
    assert counted["rejected_share"] == 0.75
    assert counted["rejected"] == {
        "unanswered": 1,
        "reward": 2,
        "format": 0,
        "length": 0,
        "language": 0,
        "repetition": 0,
    }
    assert counted["breaking"]["format"] == 2
    assert summarise(filter_rows([], RULES), RULES)["rejected_share"] is None


def test_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = {"sources": [{"name": "w", "format": "world", "split": "train", "rows": 1}]}
    params = {"models": {"base": "b"}, "ingest": sources, "filter": {"min_think_chars": 5}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(TableError, match="run `dvc repro annotate` first"):
        stage.main()
    rows = [row(said(), problem_id=0), row(said(answer="A"), problem_id=1)]
    write_table(paths.COT, [{name: getattr(r, name) for name in COT_SCHEMA.names} for r in rows], COT_SCHEMA)
    stage.main()
    assert [kept["problem_id"] for kept in read_table(paths.SFT_ROWS, SFT_SCHEMA)] == [0]
    rejected = read_table(paths.REJECTED_ROWS, REJECTED_SCHEMA)
    assert [(cot_from_row(r).problem_id, r["rule"]) for r in rejected] == [(1, "reward")]
    assert json.loads(paths.metrics("filter").read_text())["kept"] == 1
    assert "kept 1 of 2 rows; rejected by rule: reward 1" in capsys.readouterr().out
