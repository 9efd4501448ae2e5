"""Two models on the same questions: the difference, its significance, and the answers that changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.benchmark.base import Row
from tasks.benchmark.suites import REGISTRY
from tasks.benchmark.totals import Condition, conditions, difference, matched, rounded
from tasks.core.io.errors import StageError
from tasks.core.stats import holm, mcnemar

FLIPS_SHOWN = 5


def compare(first: Sequence[Row], second: Sequence[Row], names: tuple[str, str]) -> dict[str, Any]:
    """First minus second, on ordered frames, for every condition that is in both logs.

    Holm's correction is over the suites of one protocol and frame cap. McNemar's exact test uses the questions on
    which both scores are 0 or 1, as if they were independent; the paired difference uses all, by clusters.

    Raises:
        StageError: the logs have nothing in common.
    """
    firsts, seconds = conditions(first), conditions(second)
    made = [
        row
        for condition, rows in firsts.items()
        if condition in seconds and (row := _compared(condition, rows, seconds[condition])) is not None
    ]
    if not made:
        raise StageError(f"{names[0]} and {names[1]} have no scored question on ordered frames in common")
    families: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in made:
        if row["p"] is not None:
            families[row["protocol"], row["frames"]].append(row)
    for family in families.values():
        for row, adjusted in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = round(adjusted, 6)
    return {"first": names[0], "second": names[1], "comparisons": made}


def _compared(condition: Condition, first: Sequence[Row], second: Sequence[Row]) -> dict[str, Any] | None:
    benchmark, subset, protocol, frames, view = condition
    pairs = matched(first, second, protocol)
    if view != "ordered" or not pairs:
        return None
    binary = [(row, other) for row, other in pairs if {row[protocol], other[protocol]} <= {0.0, 1.0}]
    gained, lost, p = mcnemar([row[protocol] == 1 for row, _ in binary], [row[protocol] == 1 for _, row in binary])
    return {
        "benchmark": benchmark,
        "subset": subset,
        "protocol": protocol,
        "frames": frames,
        **rounded(difference(REGISTRY[benchmark], pairs, protocol))._asdict(),
        "p_holm": None,
        "only_first": len({row["sample_id"] for row in first}) - len(pairs),
        "only_second": len({row["sample_id"] for row in second}) - len(pairs),
        "mcnemar": {"n": len(binary), "first_only_right": gained, "second_only_right": lost, "p": round(p, 6)},
        "flips": [_flip(row, other, protocol) for row, other in pairs if row[protocol] != other[protocol]],
    }


def _flip(first: Row, second: Row, protocol: str) -> dict[str, Any]:
    return {
        "sample_id": first["sample_id"],
        "question": first["question"],
        "answer": first["answer"],
        "scores": [first[protocol], second[protocol]],
        "extracted": [first[f"{protocol}_extracted"], second[f"{protocol}_extracted"]],
        "completions": [first["completion"], second["completion"]],
    }


def lines(made: Mapping[str, Any]) -> list[str]:
    """The comparison for a terminal; differences in points."""
    text = [f"{made['first']} minus {made['second']}, points with 95 % interval; ordered frames, same questions"]
    for row in made["comparisons"]:
        name = row["benchmark"] + (f" {row['subset']}" if row["subset"] else "")
        text.append(f"\n{name}, {row['protocol']}, {row['frames']} frames: {_points(row)} on {row['n']} questions")
        if row["p"] is None:
            text.append("  one cluster only: no interval")
        else:
            text.append(
                f"  clusters {row['clusters']}; p {row['p']:.4f}, Holm {row['p_holm']:.4f}; "
                f"smallest detectable difference {100 * row['detectable']:.1f} (80 % power)"
            )
        test = row["mcnemar"]
        text.append(
            f"  McNemar on {test['n']} right-or-wrong answers: {test['first_only_right']} : "
            f"{test['second_only_right']}, p {test['p']:.4f}"
        )
        if row["only_first"] or row["only_second"]:
            text.append(f"  not compared: {row['only_first']} and {row['only_second']} questions of one log alone")
        text += [_flip_line(flip) for flip in row["flips"][:FLIPS_SHOWN]]
        if len(row["flips"]) > FLIPS_SHOWN:
            text.append(f"  .. and {len(row['flips']) - FLIPS_SHOWN} more changed answers in the file")
    return text


def _points(row: Mapping[str, Any]) -> str:
    value = f"{100 * row['difference']:+.1f}"
    return value if row["low"] is None else f"{value} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def _flip_line(flip: Mapping[str, Any]) -> str:
    first, second = (text or "-" for text in flip["extracted"])
    return f"  {flip['sample_id']}: {first!r} -> {second!r}, true {flip['answer']!r}"
