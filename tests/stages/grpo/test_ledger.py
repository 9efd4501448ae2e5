"""The payment ledger: every alarm fires on a run made to have its pattern, and on no other."""

import pandas as pd
import pytest

from tasks.grpo.ledger import ledger, lines, pay_by_term

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


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (contradict, "reasoning contradicts a paid letter"),
        (push_down, "a sound completion is pushed down"),
        (pay_a_noun, "pay is explained by one word"),
        (grow, "completions drift in length"),
        (collapse, "answers collapse to a letter"),
        (lose_format, "reward rises while the format falls"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_an_alarm_fires_on_its_pattern_alone(change, name):
    assert firing(run(change)) == [name]


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
