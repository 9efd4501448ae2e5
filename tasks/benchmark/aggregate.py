"""The benchmark's numbers from its per-sample log: pure, and always from the whole log."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import NormalDist, fmean
from typing import Any

Row = Mapping[str, Any]
LEVEL = 0.95


def aggregate(model: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything reported about one model: `{"model", "rows", "errors", "views": {view: numbers}}`."""
    return {
        "model": model,
        "rows": len(rows),
        "errors": sum(failed(row) for row in rows),
        "views": {view: numbers(of_view) for view, of_view in split(rows, lambda row: row["view"]).items()},
    }


def numbers(rows: Sequence[Row]) -> dict[str, Any]:
    """Numbers of one view. Rows that failed are counted under `errors` and take part in nothing else.

    `temporal` and `static` leave out questions of which it is not known whether only frame order answers them.
    """
    answered = [row for row in rows if not failed(row)]
    return {
        "overall": estimate(answered),
        "temporal": estimate([row for row in answered if row["temporal"] is True]),
        "static": estimate([row for row in answered if row["temporal"] is False]),
        "by_type": {kind: estimate(some) for kind, some in split(answered, lambda row: row["problem_type"]).items()},
        "by_skill": {
            skill: estimate(some) for skill, some in split(answered, lambda row: row["skill"]).items() if skill
        },
        "well_formed": mean([float(row["well_formed"]) for row in answered]),
        "parsed": mean([float(row["parsed"]) for row in answered]),
        "truncated": mean([float(row["finish_reason"] == "length") for row in answered]),
        "tokens": mean([float(row["tokens"]) for row in answered]),
        "errors": len(rows) - len(answered),
    }


def failed(row: Row) -> bool:
    """Whether the question could not be put to the model."""
    return row["reward"] is None


def estimate(rows: Sequence[Row]) -> dict[str, Any]:
    """`n`, mean reward as `accuracy`, and a 95 % interval that treats questions about one clip as one cluster."""
    values = [float(row["reward"]) for row in rows]
    low, high = interval(values, [row["path"] for row in rows])
    return {"n": len(values), "accuracy": mean(values), "low": low, "high": high}


def interval(values: Sequence[float], clusters: Sequence[str]) -> tuple[float | None, float | None]:
    """95 % Wilson score interval of a mean in [0, 1], at the effective sample size of clustered values.

    The effective size is m (1 - m) / v, where v is the cluster-robust variance of the mean; it is the number of
    values when each cluster holds one 0/1 value, less when answers about one clip agree, more when values are graded.
    With one cluster, or no spread, it is the number of clusters.

    Source: Wilson (1927); design-effect adjustment as in Dean and Pagano, J. Surv. Stat. Methodol. 3 (2015).
    """
    if not values:
        return None, None
    m = min(1.0, max(0.0, fmean(values)))
    sums: dict[str, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value - m
    count = len(sums)
    spread = sum(s * s for s in sums.values()) / len(values) ** 2
    size = float(count)
    if count > 1 and spread > 0 and 0 < m < 1:
        size = m * (1 - m) / (spread * count / (count - 1))
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    centre = (m + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(m * (1 - m) / size + z * z / (4 * size * size))
    return rounded(max(0.0, centre - half)), rounded(min(1.0, centre + half))


def split(rows: Iterable[Row], name: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by name, names sorted."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[name(row)].append(row)
    return dict(sorted(groups.items()))


def mean(values: Sequence[float]) -> float | None:
    """Mean to six decimals; None of nothing."""
    return rounded(fmean(values)) if values else None


def rounded(value: float) -> float:
    """Six decimals: more than the data carries, few enough to read and to compare."""
    return round(value, 6)
