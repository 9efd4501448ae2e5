"""How the contest judges: measures of a quadruple, differences and their tests, the table."""

import pytest

from measure.contest.evaluate import Result, pair_scores
from measure.contest.methods import METHODS, Counts
from measure.contest.quadruples import Asked
from measure.contest.table import FIELDS, MEASURES, compared, escape, markdown, missing
from tasks.core.schemas.records import Record
from tasks.core.stats import holm


def scores(*scenes):
    """Of scenes given as (answers, truths) of forward, reversed, recoloured, mirrored."""
    record = quadruple_record()
    asked, results = [], []
    for number, (told, truths) in enumerate(scenes):
        for name, answer, truth in zip(("forward", "reversed", "recoloured", "mirrored"), told, truths, strict=True):
            asked.append(Asked(number, name, record))
            results.append(Result(answer == truth, answer))
    return pair_scores(asked, results)


def quadruple_record():
    return Record(0, "?", "video", "multiple choice", ["A. a", "B. b"], "", "<answer>A</answer>", "x")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param("ABAB", (1, 1, 1), id="a reader of motion"),
        pytest.param("AACA", (0, 0, 0), id="a reader of colour says the same backwards and another when recoloured"),
        pytest.param("AAAA", (0, 0, 1), id="always the same letter"),
    ],
)
def test_measures_of_a_scene(answers, expected):
    told = scores((answers, "ABAB"))
    assert tuple(told[name] for name in ("pair_accuracy", "mirror_accuracy", "invariance")) == expected


# How it is judged.


def rows(method, by_start):
    """Runs of a method: pair accuracies by start."""
    return [
        dict.fromkeys(FIELDS, 0.5) | {"start": start, "method": method, "seed": str(seed), "pair_accuracy": value}
        for start, values in by_start.items()
        for seed, value in enumerate(values)
    ]


def test_differences_weigh_starts_alike_and_seeds_within_them():
    runs = rows("grpo", {"a": [0.0, 0.0, 0.0], "b": [0.0]}) + rows("taro", {"a": [0.3, 0.3, 0.3], "b": [0.1]})
    told = compared(runs, "taro", "grpo", "pair_accuracy")
    assert (told.runs, told.starts, told.difference) == (4, 2, pytest.approx(0.2))
    assert told.low == pytest.approx(0.1) and told.high == pytest.approx(0.3), "starts are what varies"
    assert compared(runs, "exchange", "grpo", "pair_accuracy") is None


def test_only_runs_that_began_alike_are_a_pair():
    runs = rows("grpo", {"a": [0.0, 0.0]}) + rows("taro", {"a": [0.3, 0.5]})
    runs[3]["pair_accuracy_before"] = 0.4
    told = compared(runs, "taro", "grpo", "pair_accuracy")
    assert (told.runs, told.difference) == (1, pytest.approx(0.3)), "the second start was made anew in between"


@pytest.mark.parametrize(
    ("starts", "p"),
    [pytest.param(6, 2 / 2**6, id="six starts: their means"), pytest.param(2, 2 / 2**4, id="fewer: single runs")],
)
def test_sign_flips(starts, p):
    names = [f"s{number}" for number in range(starts)]
    runs = rows("grpo", {name: [0.0, 0.0] for name in names}) + rows("taro", {name: [0.4, 0.5] for name in names})
    assert compared(runs, "taro", "grpo", "pair_accuracy").p == pytest.approx(p)


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_escape_is_the_first_point_that_reaches_half():
    points = [
        {"flops": 3, "pair_accuracy": 0.6},
        {"flops": 1, "pair_accuracy": 0.1},
        {"flops": 2, "pair_accuracy": 0.5},
    ]
    assert escape(points) == 2
    assert escape(points[1:2]) is None


def test_the_table_says_what_was_run_and_what_it_beat():
    runs = rows("grpo", {"a": [0.1, 0.1]}) + rows("exchange", {"a": [0.6, 0.7]}) + rows("permuted", {"a": [0.2, 0.1]})
    table = markdown(runs, list(METHODS), Counts())
    assert "| exchange | 2 | 1 | 0.0 | 0 | 2 | 65.0 |" in table
    assert "| exchange | 2 | 1 | +55.0" in table
    assert "exchange minus its placebo permuted: +50.0" in table and "grpo_pairs minus" not in table
    assert "| taro |" not in table and markdown([], list(METHODS), Counts()) == "No run has ended yet.\n"
    assert set(MEASURES) <= set(FIELDS)


def test_a_table_without_the_protocols_counts_says_that_it_is_incomplete(monkeypatch):
    monkeypatch.setattr("measure.contest.table.DRAWS", 20)
    runs = [row for method in METHODS for row in rows(method, {name: [0.1] * 4 for name in "abcde"})]
    assert missing(runs, list(METHODS), Counts()) == "" and "The protocol's counts are reached." in markdown(
        runs, list(METHODS), Counts()
    )
    few = [row for row in runs if (row["method"], row["start"]) != ("ktr", "e") and row["method"] != "tgrpo"]
    asked = "8 more runs and 5 more starts of tgrpo; 0 more runs and 1 more starts of ktr"
    assert missing(few, list(METHODS), Counts()) == asked
    assert missing(few, ["ktr"], Counts(others=16, starts=4)) == "", "a protocol's own counts"
    assert "Incomplete; the protocol asks for 8 more runs" in markdown(few, list(METHODS), Counts())
