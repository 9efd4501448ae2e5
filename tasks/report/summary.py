"""What the report needs from one model's benchmark numbers (`reports/benchmark/<model>.json`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tasks.core.io.errors import StageError


class ReportError(StageError):
    """An input of the report is missing or not what its stage writes; the text names file and field."""


class Estimate(NamedTuple):
    """Mean accuracy in [0, 1] over `n` answers, with its 95 % interval where one was computed."""

    n: int
    accuracy: float
    low: float | None = None
    high: float | None = None


class View(NamedTuple):
    """One model's numbers on one view of the test clips."""

    overall: Estimate
    temporal: Estimate
    static: Estimate
    by_type: dict[str, Estimate]
    by_skill: dict[str, Estimate]
    well_formed: float
    """Share of answers of the form `<think>..</think><answer>..</answer>`; NaN without answers."""
    tokens: float
    """Mean completion length, tokens; NaN without answers."""
    errors: int
    """Questions that could not be put to the model (decode error and the like): not counted as wrong answers."""


NOTHING = Estimate(0, math.nan)


class Summary(NamedTuple):
    """One model's benchmark: view name -> numbers. A view that was not run is absent."""

    model: str
    views: dict[str, View]


def summary_of(raw: dict[str, Any], where: str) -> Summary:
    """Check and type one benchmark report.

    Args:
        raw: The JSON object.
        where: File name, for errors.

    Raises:
        ReportError: a field is absent or of the wrong type.
    """
    try:
        return Summary(str(raw["model"]), {name: _view(view) for name, view in raw["views"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"{where}: not a benchmark report: {type(error).__name__}: {error}") from error


def headline(summary: Summary) -> dict[str, float]:
    """The few numbers of a model that `dvc metrics show` sets side by side: accuracies and a share in [0, 1].

    A view that was not run, or a kind of question that was not asked, has no key.
    """
    found: dict[str, float] = {}
    if ordered := summary.views.get("ordered"):
        found |= {name: getattr(ordered, name).accuracy for name in ("overall", "temporal", "static")}
        found["well_formed"] = ordered.well_formed
    if shuffled := summary.views.get("shuffled"):
        found["temporal_shuffled"] = shuffled.temporal.accuracy
    if blind := summary.views.get("no_video"):
        found["no_video"] = blind.overall.accuracy
    return {name: round(value, 4) for name, value in found.items() if math.isfinite(value)}


def in_order(summaries: Sequence[Summary], models: Sequence[str]) -> list[Summary]:
    """Summaries in the order of `models`; others after them by name."""
    rank = {model: i for i, model in enumerate(models)}
    return sorted(summaries, key=lambda s: (rank.get(s.model, len(rank)), s.model))


def _view(raw: dict[str, Any]) -> View:
    return View(
        overall=_estimate(raw["overall"]),
        temporal=_estimate(raw.get("temporal")),
        static=_estimate(raw.get("static")),
        by_type={name: _estimate(group) for name, group in raw.get("by_type", {}).items()},
        by_skill={name: _estimate(group) for name, group in raw.get("by_skill", {}).items()},
        well_formed=_number(raw.get("well_formed")),
        tokens=_number(raw.get("tokens")),
        errors=int(raw.get("errors", 0)),
    )


def _estimate(raw: dict[str, Any] | None) -> Estimate:
    if not raw or not raw["n"]:
        return NOTHING
    return Estimate(int(raw["n"]), _number(raw["accuracy"]), _bound(raw.get("low")), _bound(raw.get("high")))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _bound(value: Any) -> float | None:
    number = _number(value)
    return number if math.isfinite(number) else None
