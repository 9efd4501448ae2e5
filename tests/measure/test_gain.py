"""What RL adds to SFT: rows of a trial, what a row of the table holds, and the table."""

import pytest

from measure import gain
from measure.contest.evaluate import Result
from tasks.core.io.errors import StageError
from tasks.core.schemas.records import Record
from tasks.params import Grpo

LAST, FIRST = "Which colour appears last?", "Which colour appears first?"


def question(number, skill="order", problem=LAST):
    kind = ("video", "multiple choice", ["A. red", "B. blue"], "", "<answer>B</answer>")
    return Record(number, problem, *kind, f"clip {number}", temporal=skill == "order", skill=skill)


QUESTIONS = [
    question(0),
    question(1, problem=FIRST),
    question(2, "describe", "Describe."),
    question(3, "describe", "?"),
]


def results(accuracies):
    return [Result(value > 0.5, "B", well_formed=value > 0, accuracy=value) for value in accuracies]


def test_a_row_holds_what_the_benchmark_counts_and_the_gain_paired_by_question():
    row = gain.summary(results([0.0, 1.0, 0.7, 0.5]), QUESTIONS, [0.0, 0.0, 0.7, 0.5])
    assert row["accuracy"] == pytest.approx(0.55) and row["gain"] == pytest.approx(0.25)
    assert row["gain_low"] < 0.25 < row["gain_high"]
    assert (row["first"], row["last"], row["order"], row["describe"]) == (1.0, 0.0, 0.5, pytest.approx(0.6))
    assert (row["temporal"], row["static"], row["well_formed"]) == (0.5, pytest.approx(0.6), 0.75)


def test_a_trial_names_only_fields_of_the_section_and_keeps_the_rest_of_params():
    settings = gain.settings_of(gain.TRIALS["refill"], Grpo(epsilon=0.3))
    assert (settings.refill, settings.epsilon_high, settings.epsilon, settings.steps) == (1, 0.28, 0.3, 100)
    assert all(set(trial.settings or {}) <= set(gain.BASE) <= set(Grpo.model_fields) for trial in gain.TRIALS.values())


def test_rows_of_a_skill_end_at_its_number(monkeypatch):
    monkeypatch.setattr(gain, "OTHERS", 1)
    assert [row.problem_id for row in gain.at_most(QUESTIONS, {"order": 2})] == [0, 1, 2]


@pytest.mark.parametrize(("easy", "others"), [(0.0, 0), (0.5, 1), (9.0, 2)])
def test_harder_rows_are_the_wrong_ones_and_a_share_of_right_ones(easy, others):
    kept = [row.problem_id for row in gain.harder(QUESTIONS, [False, True, False, True], easy)]
    assert kept[:2] == [0, 2] and len(kept) == 2 + others and set(kept[2:]) <= {1, 3}


def test_the_command_writes_a_row_a_trial_and_skips_those_that_have_one(tmp_path, monkeypatch):
    asked = []

    def score(_, trial, seed, __):
        asked.append((trial.what, seed))
        return results([0.0, 1.0, 1.0, 0.5 + seed]), {"flops": 2e12 if trial.settings else 0, "seconds": 1.0}

    monkeypatch.setattr(gain, "split", lambda *_: QUESTIONS)
    monkeypatch.setattr(gain, "score", score)
    monkeypatch.setattr(gain, "load", lambda: type("P", (), {"ingest": type("I", (), {"workers": 1})})())
    assert gain.main(["refill", "sft", "--out", str(tmp_path)]) == 0
    assert gain.main(["refill", "--out", str(tmp_path)]) == 0
    assert len(asked) == 3
    table = (tmp_path / "gain.md").read_text().splitlines()[4:]
    assert [line.split(" | ")[0] for line in table] == [f"| {gain.TRIALS[name].what}" for name in ("sft", "refill")]
    assert " 62.5 (" in table[0] and "0.0 (" in table[1]


def test_a_trial_that_is_not_there_is_named():
    with pytest.raises(StageError, match="no trial nosuch; trials: sft,"):
        gain.main(["nosuch"])
