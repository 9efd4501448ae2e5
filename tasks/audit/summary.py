"""From rows of completions to tags, shares with intervals, and how well tags agree with what is known. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.audit.evidence import DIFFICULTY, EVIDENCE, FORWARD, TEXT, VIEWS, agreement, chance, difficulty, evidence
from tasks.core.io.seeds import derive_seed
from tasks.core.schemas.records import Record
from tasks.core.stats import estimate

RIGHT_ABOVE = 0.9
"""A completion is right when its reward is greater; a description with the wrong direction has most words right."""


def tagged(records: Sequence[Record], rows: Iterable[Mapping[str, Any]], samples: int) -> list[dict[str, Any]]:
    """Rows of the tag table, one a question, in order.

    `right_<view>` is the share of right completions, None where the view has none; `error` the first reason why a view
    has none. A question with an error has the tag "error" and no difficulty.
    """
    rewards: dict[tuple[int, str], list[float]] = defaultdict(list)
    errors: dict[int, str] = {}
    for row in rows:
        if row["error"]:
            errors.setdefault(row["problem_id"], row["error"])
        else:
            rewards[row["problem_id"], row["view"]].append(float(row["reward"] > RIGHT_ABOVE))
    return [_tagged(record, rewards, errors.get(record.problem_id, ""), samples) for record in records]


def _tagged(record: Record, rewards: Mapping[tuple[int, str], list[float]], error: str, samples: int) -> dict[str, Any]:
    present = {view: rewards[record.problem_id, view] for view in VIEWS if (record.problem_id, view) in rewards}
    right = {view: sum(values) / len(values) for view, values in present.items()}
    known = not error and FORWARD in right and TEXT in right
    return {
        "problem_id": record.problem_id,
        "path": record.path,
        "problem": record.problem,
        "problem_type": record.problem_type,
        "data_type": record.data_type,
        "evidence": evidence(right) if known else "error",
        "difficulty": difficulty(right[FORWARD]) if known else "",
        **{f"right_{view}": right.get(view) for view in VIEWS},
        "chance": chance(len(record.options), samples),
        "temporal": record.temporal,
        "error": error if not known else "",
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers of a tag table: accuracy by view, shares of tags with intervals clustered by clip, agreement."""
    asked = [row for row in rows if row["evidence"] != "error"]
    clusters = [row["path"] for row in asked]
    views = {}
    for view in VIEWS:
        some = [(row[f"right_{view}"], row["path"]) for row in asked if row[f"right_{view}"] is not None]
        views[view] = _estimated([value for value, _ in some], [path for _, path in some])
    return {
        "questions": len(rows),
        "errors": dict(Counter(row["error"] for row in rows if row["evidence"] == "error")),
        "accuracy": views,
        "evidence": {tag: _estimated([float(row["evidence"] == tag) for row in asked], clusters) for tag in EVIDENCE},
        "difficulty": {
            tag: _estimated([float(row["difficulty"] == tag) for row in asked], clusters) for tag in DIFFICULTY
        },
        "by_guessing": sum(row["chance"] for row in asked) / len(asked) if asked else None,
        "order_tag": _agreement(asked),
        "examples": [_example(row) for row in examples(asked)],
    }


def examples(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One question of every tag, on a video where there is one; which it is a hash decides."""
    ranked = sorted(rows, key=lambda row: (row["data_type"] != "video", derive_seed(row["problem_id"], "example")))
    first = {tag: next((row for row in ranked if row["evidence"] == tag), None) for tag in EVIDENCE}
    return [row for row in first.values() if row is not None]


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    right = {view: row[f"right_{view}"] for view in VIEWS if row[f"right_{view}"] is not None}
    return {name: row[name] for name in ("problem_id", "path", "data_type", "problem", "evidence")} | {"right": right}


def _estimated(values: Sequence[float], clusters: Sequence[str]) -> dict[str, Any]:
    share = estimate(values, clusters)
    return {"n": share.n, "clips": share.clusters, "value": share.value, "low": share.low, "high": share.high}


def _agreement(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """None where nothing is known of the questions."""
    if all(row["temporal"] is None for row in rows):
        return None
    matching = agreement([row["evidence"] for row in rows], [row["temporal"] for row in rows])
    return {**matching._asdict(), "precision": matching.precision, "recall": matching.recall}


def lines(name: str, numbers: Mapping[str, Any]) -> list[str]:
    """The summary as the command prints it."""
    out = [f"audit: {name}: {numbers['questions']} questions, {sum(numbers['errors'].values())} with errors"]
    for title in ("accuracy", "evidence", "difficulty"):
        shares = {key: part for key, part in numbers[title].items() if part["value"] is not None}
        out += [f"  {title}", *(f"    {key:<10} {_percent(part)}" for key, part in shares.items())]
    if (matching := numbers["order_tag"]) is not None:
        precision, recall = (
            f"{100 * v:.1f} %" if v is not None else "-" for v in (matching["precision"], matching["recall"])
        )
        out.append(f"  tag `order` against the known truth: precision {precision}, recall {recall}")
    return out


def _percent(part: Mapping[str, Any]) -> str:
    """A share with its interval, where there is one."""
    bounds = "" if part["low"] is None else f" ({100 * part['low']:.1f} to {100 * part['high']:.1f})"
    return f"{100 * part['value']:.1f} %{bounds}"
