"""The contest's statistics: every method against plain GRPO and against its placebo, over starts and seeds. Pure.

Runs are nested: seeds within starts. Intervals resample starts, then seeds within each (hierarchical bootstrap), and so
speak of other starts too; p-values flip the sign of whole starts' mean differences where there are at least six, else
of single runs' (exact up to 2^16 assignments), and are corrected by Holm over the methods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from measure.contest.methods import PLACEBOS, Counts, mean_of
from tasks.core.stats import holm, sign_flip

KEY = ("start", "method", "seed")
MEASURES = (
    "pair_accuracy",
    "mirror_accuracy",
    "invariance",
    "forward_accuracy",
    "static_on_moving",
    "temporal",
    "static",
    "frozen",
    "one_frame",
    "shuffled",
)
BEFORE = ("pair_accuracy", "temporal", "static", "static_on_moving")
"""Measures of a start that stand in its runs' rows."""
FIELDS = (
    *KEY,
    "learning_rate",
    "strength",
    "steps",
    "flops",
    "seconds",
    *MEASURES,
    *(f"{measure}_before" for measure in BEFORE),
)
"""Columns of runs.csv."""
CURVE_FIELDS = (*KEY, "steps", "flops", "pair_accuracy", "mirror_accuracy", "invariance", "forward_accuracy")
BASELINE = "grpo"
BEGAN = "pair_accuracy_before"
ESCAPED = 0.5
"""Pair accuracy from which a model has left its shortcut: a reader of colour has 0, guesses 1/16."""
DRAWS = 4000
LEVEL = 0.95
ENOUGH_STARTS = 6


class Compared(NamedTuple):
    """A measure of one method minus that of another, over the runs that both have."""

    runs: int
    starts: int
    difference: float
    low: float
    high: float
    p: float


def compared(rows: Sequence[Mapping[str, Any]], method: str, baseline: str, measure: str) -> Compared | None:
    """First minus second, paired by start and seed; None without a common run.

    A start that was made anew on another machine has other weights: only runs that began alike are a pair.
    """
    values: dict[str, dict[tuple[str, str, str], float]] = defaultdict(dict)
    for row in rows:
        values[row["method"]][row["start"], row["seed"], str(row[BEGAN])] = float(row[measure])
    common = sorted(values[method].keys() & values[baseline].keys())
    if not common:
        return None
    by_start: dict[str, list[float]] = defaultdict(list)
    for key in common:
        by_start[key[0]].append(values[method][key] - values[baseline][key])
    groups = [np.array(differences) for differences in by_start.values()]
    low, high = _bootstrap(groups)
    single = [value for group in groups for value in group]
    flipped = [float(group.mean()) for group in groups] if len(groups) >= ENOUGH_STARTS else single
    mean = float(np.mean([group.mean() for group in groups]))
    return Compared(len(common), len(groups), mean, low, high, sign_flip(flipped))


def _bootstrap(groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """95 % interval of the mean of starts' means under resampling of starts, then of seeds."""
    draw = np.random.default_rng(0)
    means = np.empty(DRAWS)
    for number in range(DRAWS):
        picked = draw.integers(len(groups), size=len(groups))
        means[number] = np.mean([draw.choice(groups[start], size=len(groups[start])).mean() for start in picked])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def escape(points: Sequence[Mapping[str, Any]]) -> float | None:
    """Operations after which a run's curve first reaches `ESCAPED`; None where it never does."""
    ordered = sorted(points, key=lambda point: float(point["flops"]))
    return next((float(p["flops"]) for p in ordered if float(p["pair_accuracy"]) >= ESCAPED), None)


def markdown(rows: Sequence[Mapping[str, Any]], methods: Sequence[str], counts: Counts) -> str:
    """Means by method, then differences to plain GRPO and of ours to its placebo."""
    present = [method for method in methods if any(row["method"] == method for row in rows)]
    if not present:
        return "No run has ended yet.\n"
    lacking = missing(rows, methods, counts)
    head = ("pair_accuracy", "invariance", "static_on_moving", "temporal", "static")
    lines = [
        f"{len(rows)} runs on {len({row['start'] for row in rows})} starts. "
        + ("The protocol's counts are reached." if not lacking else f"Incomplete; the protocol asks for {lacking}."),
        "",
        "Percent, means over runs; operations of training in 10^12, counted from its calls. `escaped`: runs whose "
        f"pair accuracy ended at {100 * ESCAPED:.0f} or more.",
        "",
        f"| method | runs | starts | operations | steps | escaped | {' | '.join(head)} |",
        f"|---|{'---|' * (5 + len(head))}",
    ]
    for method in present:
        own = [row for row in rows if row["method"] == method]
        cells = [f"{100 * mean_of(own, measure):.1f}" for measure in head]
        escaped = sum(float(row["pair_accuracy"]) >= ESCAPED for row in own)
        lines.append(
            f"| {method} | {len(own)} | {len({row['start'] for row in own})} | {mean_of(own, 'flops') / 1e12:.1f} | "
            f"{mean_of(own, 'steps'):.0f} | {escaped} | {' | '.join(cells)} |"
        )
    return "\n".join([*lines, *_against(rows, present), *_placebo(rows)]) + "\n"


def missing(rows: Sequence[Mapping[str, Any]], methods: Sequence[str], counts: Counts) -> str:
    """What the protocol's counts want beyond these runs, in words; "" where they are reached."""
    wants: dict[tuple[int, int], list[str]] = defaultdict(list)
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        runs = counts.of(method) - len(own)
        starts = counts.starts - len({row["start"] for row in own})
        if runs > 0 or starts > 0:
            wants[max(runs, 0), max(starts, 0)].append(method)
    return "; ".join(
        f"{runs} more runs and {starts} more starts of {', '.join(names)}" for (runs, starts), names in wants.items()
    )


def _against(rows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> list[str]:
    pairs = {m: compared(rows, m, BASELINE, "pair_accuracy") for m in methods if m != BASELINE}
    known = {method: pair for method, pair in pairs.items() if pair is not None}
    if not known:
        return []
    corrected = holm([pair.p for pair in known.values()])
    lines = [
        "",
        f"Pair accuracy minus that of {BASELINE} in points, paired by start and seed; static questions likewise, "
        "of the mixed split and on moving clips:",
        "",
        "| method | runs | starts | pair accuracy | p | p (Holm) | static | static on moving |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (method, pair), p in zip(known.items(), corrected, strict=True):
        static = [compared(rows, method, BASELINE, measure) for measure in ("static", "static_on_moving")]
        lines.append(
            f"| {method} | {pair.runs} | {pair.starts} | {_points(pair)} | {_chance(pair.p)} | {_chance(p)} | "
            f"{' | '.join(_points(known) if known else '' for known in static)} |"
        )
    return lines


def _placebo(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for method, placebo in PLACEBOS.items():
        known = compared(rows, method, placebo, "pair_accuracy")
        if known is not None:
            said = f"{_points(known)} points of pair accuracy; p, not corrected: {_chance(known.p)} ({known.runs} runs)"
            lines += ["", f"{method} minus its placebo {placebo}: {said}."]
    return lines


def _points(known: Compared) -> str:
    return f"{100 * known.difference:+.1f} ({100 * known.low:+.1f} to {100 * known.high:+.1f})"


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"
