"""Statistics of the runs: means with intervals over seeds, and tests paired by seed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tasks.core import stats

FIELDS = (
    "method",
    "seed",
    "temporal_accuracy",
    "static_accuracy",
    "temporal_accuracy_shuffled",
    "rollouts",
    "seconds",
)
"""Columns of runs.csv."""
SKILL_FIELDS = ("method", "seed", "skill", "questions", "accuracy", "accuracy_shuffled")
"""Columns of skills.csv; the last is empty where frame order does not matter."""
QUESTIONS = (
    ("What does `tuned` add to GRPO with as many rollouts?", "tgrpo_tuned", "grpo_equal_compute"),
    ("What does the paper's own rule add to GRPO?", "tgrpo_reward", "grpo"),
    ("What does it add to GRPO with as many rollouts?", "tgrpo_reward", "grpo_equal_compute"),
)
"""Answered in words below the tables: question, method, baseline."""


class Interval(NamedTuple):
    """A mean over seeds with its Student interval; the bounds are None for a single seed."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        bounds = "" if self.low is None else f" ({100 * self.low:.1f} to {100 * (self.high or 0.0):.1f})"
        return f"{100 * self.mean:.1f}{bounds}"


class Paired(NamedTuple):
    """Difference of two methods over the seeds that both have."""

    seeds: int
    difference: Interval
    p_t: float | None
    """Paired t test, two-sided; None with fewer than two seeds or without any variation."""
    p_sign_flip: float | None
    """Exact sign-flip test, two-sided: no assumption on the distribution, at best 2 / 2**seeds."""


def interval(values: Sequence[float]) -> Interval:
    """Mean over seeds and 95 % Student interval."""
    return _interval(stats.paired(values, [0.0] * len(values), _names(range(len(values)))))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired | None:
    """First minus second, values by seed; None without a common seed."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    firsts, seconds = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
    gap = stats.paired(firsts, seconds, _names(seeds))
    if gap.se is None:
        return Paired(1, _interval(gap), None, None)
    differences = [one - other for one, other in zip(firsts, seconds, strict=True)]
    return Paired(len(seeds), _interval(gap), gap.p if gap.se > 0 else None, stats.sign_flip(differences))


def _interval(gap: stats.Paired) -> Interval:
    return Interval(gap.difference, gap.low, gap.high)


def _names(seeds: Iterable[int]) -> list[str]:
    return [str(seed) for seed in seeds]


def by_seed(rows: Sequence[Mapping[str, Any]], method: str, value: str) -> dict[int, float]:
    """One method's values by seed; `value` is a column, or `drop`, what shuffling the frames costs."""
    found = {}
    for row in rows:
        if row["method"] == method:
            whole = float(row["temporal_accuracy"])
            found[int(row["seed"])] = (
                whole - float(row["temporal_accuracy_shuffled"]) if value == "drop" else float(row[value])
            )
    return found


def markdown(rows: Sequence[Mapping[str, Any]], methods: Sequence[str], baselines: Sequence[str]) -> str:
    """The result table: every method's means, then its paired differences to each baseline.

    Args:
        rows: of runs.csv.
        methods: in the order shown; those without a run are left out.
        baselines: methods that the others are compared with, on temporal accuracy.
    """
    present = [method for method in methods if by_seed(rows, method, "temporal_accuracy")]
    lines = [
        "Accuracy in percent on the unbiased test split: mean over seeds (95 % Student interval); rollouts and "
        "seconds of a run.",
        "",
        "| method | seeds | temporal questions | drop when shuffled | static questions | rollouts | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in present:
        cells = [
            str(interval(list(by_seed(rows, method, value).values())))
            for value in ("temporal_accuracy", "drop", "static_accuracy")
        ]
        rollouts, seconds = (np.mean(list(by_seed(rows, method, value).values())) for value in ("rollouts", "seconds"))
        count = len(by_seed(rows, method, "seconds"))
        lines.append(f"| {method} | {count} | {' | '.join(cells)} | {rollouts:.0f} | {seconds:.0f} |")
    for baseline in baselines:
        if baseline in present:
            lines += ["", *_comparison(rows, present, baseline)]
    lines += ["", *(_in_words(rows, *asked) for asked in QUESTIONS if set(asked[1:]) <= set(present))]
    return "\n".join(lines).rstrip() + "\n"


def _in_words(rows: Sequence[Mapping[str, Any]], question: str, method: str, baseline: str) -> str:
    found = paired(by_seed(rows, method, "temporal_accuracy"), by_seed(rows, baseline, "temporal_accuracy"))
    if found is None or found.p_t is None:
        return f"- {question} Too few seeds in common to tell."
    answer = (
        "No difference beyond chance"
        if found.p_t >= 1 - stats.LEVEL
        else "A gain"
        if found.difference.mean > 0
        else "A loss"
    )
    return (
        f"- {question} {answer}: {found.difference} points on temporal questions, {found.seeds} seeds, "
        f"t test: p {'' if found.p_t < 0.001 else '= '}{_p(found.p_t)} ({method} against {baseline})."
    )


def _comparison(rows: Sequence[Mapping[str, Any]], methods: Sequence[str], baseline: str) -> list[str]:
    lines = [
        f"Difference to {baseline} in percentage points, paired by seed:",
        "",
        "| method | seeds | temporal questions | p (t test) | p (sign flip) | drop when shuffled | p (t test) |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        if method == baseline:
            continue
        found = {v: paired(by_seed(rows, method, v), by_seed(rows, baseline, v)) for v in ("temporal_accuracy", "drop")}
        accuracy, drop = found["temporal_accuracy"], found["drop"]
        if accuracy and drop:
            cells = [accuracy.difference, _p(accuracy.p_t), _p(accuracy.p_sign_flip), drop.difference, _p(drop.p_t)]
            lines.append(f"| {method} | {accuracy.seeds} | {' | '.join(map(str, cells))} |")
    return lines


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
