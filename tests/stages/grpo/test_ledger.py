"""The payment ledger: every alarm fires on a run made to have its pattern, and on no other."""

import random

import pandas as pd
import pytest
import torch

from tasks import paths
from tasks.core.io.errors import StageError
from tasks.grpo.ledger import concluded, ledger, lines, main, pay_by_term
from tasks.grpo.scoring import advantages

STEPS, GROUP = 10, 4


def said(letter, reasoned=None, words="it moves up"):
    return f"<think>{words}. up is {reasoned or letter}.</think><answer>{letter}</answer>"


def run(change=lambda step, copy, row: None):
    """A run in which nothing is wrong: half of each group right, all well formed, letters even."""
    rows = []
    for step in range(1, STEPS + 1):
        for problem in range(2):
            for copy in range(GROUP):
                right = copy % 2 == 0
                row = {"step": step, "attempt": 0, "problem_id": problem, "problem_type": "multiple choice"}
                row |= {"perturbed": False, "completion": said("AB"[(copy + problem) % 2]), "tokens": 20, "format": 1.0}
                row |= {"accuracy": float(right), "length_reward": 0.0, "temporal_bonus": 0.0, "reward": 1.0 + right}
                row |= {"advantage": 1.0 if right else -1.0}
                change(step, copy, row)
                rows.append(row)
    return pd.DataFrame(rows)


def firing(rollouts):
    return [alarm["name"] for alarm in ledger(rollouts)["alarms"] if alarm["fires"]]


def test_a_sound_run_is_quiet():
    assert firing(run()) == []


def contradict(step, copy, row):
    if copy == 0 and step > 5:
        row["completion"] = said(row["completion"][-10], reasoned="D")


def push_down(step, copy, row):
    if copy == 2 and step > 5:
        row["advantage"] = -0.4


def pay_a_noun(step, copy, row):
    row |= {"accuracy": 1.0, "advantage": 0.1}
    row["completion"] = said("A", words=("the square" if copy % 2 else "the cross") + " moves up")
    row["temporal_bonus"] = 0.4 if copy % 2 else -0.4


def grow(step, copy, row):
    row["tokens"] = 20 + 5 * step


def collapse(step, copy, row):
    if step > 7:
        row["completion"] = said("C")


def lose_format(step, copy, row):
    if step > 7:
        row |= {"format": 0.5, "reward": row["reward"] + 0.5}


def collapse_unspoken(step, copy, row):
    row["completion"] = f"<think>it moves</think><answer>({'C' if step > 7 else row['completion'][-10]})</answer>"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (contradict, "reasoning contradicts a paid letter"),
        (push_down, "a sound completion is pushed down"),
        (pay_a_noun, "pay is explained by one word"),
        (grow, "completions drift in length"),
        (collapse, "answers collapse to a letter"),
        (collapse_unspoken, "answers collapse to a letter"),
        (lose_format, "reward rises while the format falls"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_an_alarm_fires_on_its_pattern_alone(change, name):
    assert firing(run(change)) == [name]


@pytest.mark.parametrize(
    ("reasoning", "letter"),
    [
        pytest.param("it moves up. up is C.", "C", id="as the mini world says it"),
        pytest.param("So the correct answer is **B**.", "B", id="bold"),
        pytest.param("Answer: D", "D", id="a colon"),
        pytest.param("the answer is (A)", "A", id="in brackets"),
        pytest.param(r"\boxed{B}", "B", id="boxed"),
        pytest.param("It must be option C because it rises", "C", id="a modal verb and a reason"),
        pytest.param("Option B is correct, not C.", "B", id="the letter comes first"),
        pytest.param("Red is A. No: red is B.", "B", id="the last one counts"),
        pytest.param("If it is B, it would rise. It falls, so A.", "A", id="a case that is dropped"),
        pytest.param("left => C", "C", id="an arrow"),
        pytest.param("It rises, so I think of none.", None, id="a pronoun"),
        pytest.param("The answer is A. This rules out option B.", "A", id="another is ruled out behind it"),
        pytest.param("The answer is A; it is not option C.", "A", id="another is denied behind it"),
        pytest.param("What I see is A ball, and what it is I know.", None, id="words of one letter"),
        pytest.param("The ball goes left.", None, id="none"),
    ],
)
def test_letter_that_reasoning_settles_on(reasoning, letter):
    assert concluded(reasoning) == letter


def all_alike(step, copy, row):
    """All of a group right, with the length reward of the published run: nothing to tell them apart."""
    row |= {"accuracy": 1.0, "length_reward": 0.2, "reward": 2.2, "completion": said("A")}
    row["advantage"] = advantages(torch.tensor([[2.2] * 12]), "group")[0, 0].item()


def other_questions(step, copy, row):
    if step > 4:
        row |= {"problem_type": "free-form", "tokens": 80}


def by_chance(step, copy, row):
    row["completion"] = said("B" if step in (2, 10) or (step == 9 and row["problem_id"]) else "A")


def few_and_wordy(step, copy, row):
    """Three right completions in each of five prompts, of two hundred words each: some word is with the bonus."""
    draw = random.Random(f"{step} {row['problem_id']} {copy}")
    words = "".join(f" {a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst" if draw.random() < 0.5)
    row |= {"accuracy": float(copy < 3 and row["problem_id"] == 0 and step < 6), "temporal_bonus": draw.gauss(0, 0.3)}
    row |= {"completion": said("A", words=words), "advantage": 1.0}


@pytest.mark.parametrize(
    "change", [all_alike, other_questions, by_chance, few_and_wordy], ids=lambda change: change.__name__
)
def test_what_only_looks_like_a_pattern_is_quiet(change):
    assert firing(run(change)) == []


def test_a_type_that_the_run_began_without_does_not_hide_a_drift():
    def change(step, copy, row):
        if step > 7:
            row |= {"tokens": 60} if row["problem_id"] else {"problem_type": "free-form", "tokens": 20}

    assert firing(run(change)) == ["completions drift in length"]


def test_of_words_that_explain_as_much_the_same_is_named_always():
    (told,) = [alarm for alarm in ledger(run(pay_a_noun))["alarms"] if alarm["fires"]]
    assert told["value"] == pytest.approx(1.0) and told["example"] == "cross", "`square` says as much"


def test_the_command_prints_the_last_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "ROLLOUTS", tmp_path / "rollouts.parquet")
    with pytest.raises(StageError, match="no such table"):
        main()
    paths.ROLLOUTS.write_text("torn")
    with pytest.raises(StageError, match="rollouts.parquet"):
        main()
    run(collapse).to_parquet(paths.ROLLOUTS)
    assert main() == 0
    assert "ALARM  answers collapse to a letter: 1.000" in capsys.readouterr().out


def test_pay_is_what_moves_within_groups():
    rollouts = run()
    paid = rollouts.assign(group=list(zip(rollouts.step, rollouts.problem_id, strict=True)))
    assert pay_by_term(paid) == {"accuracy": 1.0, "format": 0.0, "length_reward": 0.0, "temporal_bonus": 0.0}


def test_perturbed_and_replaced_completions_are_no_pay():
    rollouts = run()
    rollouts.loc[rollouts.step == 1, "perturbed"] = True
    rollouts.loc[rollouts.step == 2, "advantage"] = None
    assert ledger(rollouts)["completions"] == 64


def test_a_run_without_pay_has_no_alarm():
    rollouts = run()
    rollouts["advantage"] = None
    told = ledger(rollouts)
    assert told["completions"] == 0 and "0 completions" in lines(told)[0]


@pytest.mark.parametrize(
    "values",
    [{"accuracy": 0.0}, {"completion": "no tags at all"}, {"problem_type": "free-form", "temporal_bonus": None}],
    ids=["nobody is right", "nothing can be read", "no letters and no bonus"],
)
def test_what_cannot_be_measured_is_quiet(values):
    rollouts = run().assign(**values)
    told = ledger(rollouts)
    assert told["completions"] == 80 and not any(alarm["fires"] for alarm in told["alarms"])
    assert len(lines(told)) == 7
