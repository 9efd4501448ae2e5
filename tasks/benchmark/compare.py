"""Two models on the same questions: what differs, whether it is more than chance, and which answers changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark import suite_log
from tasks.benchmark.suites import REGISTRY
from tasks.benchmark.totals import Slot, matched, pair_dict, paired_rows, slots
from tasks.core.io.errors import StageError
from tasks.core.stats import holm, mcnemar

Row = Mapping[str, Any]
PIPELINE = "pipeline"
"""Stands in a protocol's place for the test split that the pipeline itself scores."""
FLIPS_SHOWN = 5


def compare(first: Sequence[Row], second: Sequence[Row], names: tuple[str, str]) -> dict[str, Any]:
    """First minus second in every slot that both logs hold on ordered frames.

    Holm's correction is over the benchmarks of one protocol and frame cap. McNemar's exact test takes the questions on
    which both scores are 0 or 1, as if they were independent; the paired difference takes all, by clusters.

    Raises:
        StageError: the logs have nothing in common.
    """
    ones, twos = slots(first), slots(second)
    made = [row for slot in sorted(ones) if slot in twos and (row := _slot(slot, ones[slot], twos[slot])) is not None]
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


def _slot(slot: Slot, first: Sequence[Row], second: Sequence[Row]) -> dict[str, Any] | None:
    benchmark, subset, protocol, frames, view = slot
    if view != "ordered":
        return None
    found = paired_rows(REGISTRY[benchmark], first, second, protocol)
    if found is None:
        return None
    pairs = matched(first, second, protocol)
    binary = [(one, two) for one, two in pairs if {one[protocol], two[protocol]} <= {0.0, 1.0}]
    gained, lost, p = mcnemar([one[protocol] == 1 for one, _ in binary], [two[protocol] == 1 for _, two in binary])
    return {
        "benchmark": benchmark,
        "subset": subset,
        "protocol": protocol,
        "frames": frames,
        **pair_dict(found),
        "p_holm": None,
        "only_first": len({row["sample_id"] for row in first}) - len(pairs),
        "only_second": len({row["sample_id"] for row in second}) - len(pairs),
        "mcnemar": {"n": len(binary), "first_only_right": gained, "second_only_right": lost, "p": round(p, 6)},
        "flips": [_flip(one, two, protocol) for one, two in pairs if one[protocol] != two[protocol]],
    }


def _flip(one: Row, two: Row, protocol: str) -> dict[str, Any]:
    return {
        "sample_id": one["sample_id"],
        "question": one["question"],
        "answer": one["answer"],
        "scores": [one[protocol], two[protocol]],
        "extracted": [one[f"{protocol}_extracted"], two[f"{protocol}_extracted"]],
        "completions": [one["completion"], two["completion"]],
    }


def rows_of(folder: Path, pipeline_log: Sequence[Row], solutions: Mapping[int, tuple[str, str]]) -> list[Row]:
    """A model's rows: its logs of the public benchmarks, and the test split's log in their form.

    Args:
        folder: the model's log folder.
        pipeline_log: rows of PREDICTION_SCHEMA.
        solutions: problem id -> question and true answer.
    """
    rows: list[Row] = [row for path in suite_log.logs_in(folder) for row in suite_log.read(path).values()]
    for row in pipeline_log:
        question, answer = solutions.get(row["problem_id"], ("", ""))
        rows.append(
            {
                "benchmark": "world",
                "subset": "",
                "protocol": PIPELINE,
                "frames": 0,
                "view": row["view"],
                "sample_id": str(row["problem_id"]),
                "cluster": row["path"],
                "categories": {},
                "question": question,
                "answer": answer,
                "completion": row["completion"],
                PIPELINE: row["reward"],
                f"{PIPELINE}_extracted": row["extracted"],
            }
        )
    return rows


def lines(made: Mapping[str, Any]) -> list[str]:
    """The comparison for a terminal; differences in points."""
    said = [f"{made['first']} minus {made['second']}, points with 95 % interval; ordered frames, same questions"]
    for row in made["comparisons"]:
        name = row["benchmark"] + (f" {row['subset']}" if row["subset"] else "")
        cap = f", {row['frames']} frames" if row["frames"] else ""
        said.append(f"\n{name}, {row['protocol']}{cap}: {_points(row)} on {row['n']} questions")
        if row["p"] is None:
            said.append("  one cluster only: no interval")
        else:
            said.append(
                f"  clusters {row['clusters']}; p {row['p']:.4f}, Holm {row['p_holm']:.4f}; "
                f"smallest detectable difference {100 * row['detectable']:.1f} (80 % power)"
            )
        test = row["mcnemar"]
        said.append(
            f"  McNemar on {test['n']} right-or-wrong answers: {test['first_only_right']} : "
            f"{test['second_only_right']}, p {test['p']:.4f}"
        )
        if row["only_first"] or row["only_second"]:
            said.append(f"  not compared: {row['only_first']} and {row['only_second']} questions of one log alone")
        said += [_flip_line(flip) for flip in row["flips"][:FLIPS_SHOWN]]
        if len(row["flips"]) > FLIPS_SHOWN:
            said.append(f"  .. and {len(row['flips']) - FLIPS_SHOWN} more changed answers in the file")
    return said


def _points(row: Mapping[str, Any]) -> str:
    value = f"{100 * row['difference']:+.1f}"
    return value if row["low"] is None else f"{value} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def _flip_line(flip: Mapping[str, Any]) -> str:
    one, two = (text or "-" for text in flip["extracted"])
    return f"  {flip['sample_id']}: {one!r} -> {two!r}, true {flip['answer']!r}"
