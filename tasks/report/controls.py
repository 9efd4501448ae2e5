"""What a model loses when frames are shuffled or left out, measured on the same questions.

Images have no order to shuffle, so the views of a benchmark log do not hold the same questions, and their means must
not be subtracted. Everything here is paired: only video questions that were answered on every view take part.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

GROUPS = {"temporal": True, "static": False}
Z = 1.959964
"""Two-sided 95 % point of the normal distribution."""

Row = Mapping[str, Any]


class Loss(NamedTuple):
    """Mean of ordered minus control, as a share; its 95 % interval where there are two clips or more."""

    value: float
    low: float | None = None
    high: float | None = None


class Control(NamedTuple):
    """One model on one group of questions."""

    model: str
    group: str
    """"temporal" or "static"."""
    n: int
    """Video questions answered on every view that was run."""
    accuracy: dict[str, float]
    """View -> mean reward on those questions."""
    loss: dict[str, Loss]
    """Control view -> what it costs."""


def all_controls(logs: Mapping[str, Sequence[Row]], models: Sequence[str]) -> list[Control]:
    """Paired comparisons of every model that has a log."""
    return [control for model in models for control in controls_of(model, logs.get(model, []))]


def controls_of(model: str, rows: Sequence[Row]) -> list[Control]:
    """Compare the views of one benchmark log; no entry for a group without common questions, or without controls."""
    views: dict[str, dict[Any, Row]] = defaultdict(dict)
    for row in rows:
        if row["data_type"] == "video" and row["reward"] is not None:
            views[row["view"]][row["problem_id"]] = row
    if "ordered" not in views or len(views) < 2:
        return []
    common = sorted(set.intersection(*(set(answered) for answered in views.values())))
    found = []
    for group, temporal in GROUPS.items():
        ids = [i for i in common if views["ordered"][i]["temporal"] is temporal]
        if not ids:
            continue
        rewards = {view: [float(answered[i]["reward"]) for i in ids] for view, answered in views.items()}
        clips = [views["ordered"][i]["path"] for i in ids]
        losses = {
            view: loss([a - b for a, b in zip(rewards["ordered"], values, strict=True)], clips)
            for view, values in rewards.items()
            if view != "ordered"
        }
        found.append(Control(model, group, len(ids), {v: sum(r) / len(r) for v, r in rewards.items()}, losses))
    return found


def gain(rows: Sequence[Row], others: Sequence[Row], temporal: bool) -> tuple[int, Loss] | None:
    """How much better the first model's log is than the other's on ordered frames, question by question.

    Returns:
        Common questions of the kind wanted, and the mean difference; None without any.
    """
    mine, theirs = (
        {
            r["problem_id"]: r
            for r in log
            if r["view"] == "ordered" and r["reward"] is not None and r["temporal"] is temporal
        }
        for log in (rows, others)
    )
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        return None
    differences = [float(mine[i]["reward"]) - float(theirs[i]["reward"]) for i in common]
    return len(common), loss(differences, [mine[i]["path"] for i in common])


def loss(differences: Sequence[float], clips: Sequence[str]) -> Loss:
    """Mean difference with a normal 95 % interval that treats the questions about one clip as one cluster."""
    mean = sum(differences) / len(differences)
    sums: dict[str, float] = defaultdict(float)
    for difference, clip in zip(differences, clips, strict=True):
        sums[clip] += difference - mean
    if len(sums) < 2:
        return Loss(mean)
    spread = math.sqrt(sum(s * s for s in sums.values()) * len(sums) / (len(sums) - 1)) / len(differences)
    return Loss(mean, max(-1.0, mean - Z * spread), min(1.0, mean + Z * spread))
