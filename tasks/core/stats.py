"""The one interval and the one paired difference of scores whose samples come in clusters.

A cluster is whatever was drawn together: questions about one clip, or everything of one training seed.

Everything rests on one linearisation: an overall number is a weighted sum of group means, T = sum_g w_g S_g / n_g,
and each cluster's share in it is z_c = sum_g w_g (S_gc - m_g n_gc) / n_g. The z_c sum to 0, and C / (C - 1) sum_c
z_c^2 is the variance of T under resampling of clusters: for a plain mean the usual cluster-robust one, for a macro
average the delta method. `tests/core/test_stats.py` holds it against scipy's bootstrap over clusters.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
POWER = 0.8
EXACT_UP_TO = 16
"""Differences up to which `sign_flip` tries every assignment of signs."""
Coefficients = Callable[[Sequence[str]], Mapping[str, float]]


class Estimate(NamedTuple):
    """A number with its uncertainty; every field but `n` and `clusters` is None where there is nothing to say."""

    n: int
    clusters: int
    value: float | None
    se: float | None
    low: float | None
    high: float | None


class Paired(NamedTuple):
    """A difference of two runs on the same samples."""

    n: int
    clusters: int
    difference: float
    se: float | None
    low: float | None
    high: float | None
    p: float | None
    """Two-sided, t distribution with clusters - 1 degrees of freedom."""
    detectable: float | None
    """Smallest true difference that such a comparison finds with 80 % power at the 5 % level."""


def estimate(
    values: Sequence[float],
    clusters: Sequence[str],
    groups: Sequence[str] | None = None,
    coefficients: Coefficients | None = None,
) -> Estimate:
    """Weighted sum of group means in [0, 1] with a 95 % interval.

    Args:
        values: scores in [0, 1].
        clusters: cluster of each score.
        groups: group of each score; None puts all in one.
        coefficients: group names present -> weights that sum to 1; None weighs them alike.
    """
    if not len(values):
        return Estimate(0, 0, None, None, None, None)
    value, shares = _linear(np.asarray(values, dtype=float), clusters, groups, coefficients)
    count = len(shares)
    variance = _variance(shares)
    low, high = _wilson(value, variance, count)
    se = None if count < 2 else math.sqrt(variance)
    return Estimate(len(values), count, value, se, low, high)


def paired(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[str],
    groups: Sequence[str] | None = None,
    coefficients: Coefficients | None = None,
) -> Paired:
    """First minus second on the same samples, weighted like `estimate`.

    Raises:
        ValueError: no samples, or not as many of one as of the other.
    """
    if not len(first) or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} scores are not pairs")
    gaps = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    value, shares = _linear(gaps, clusters, groups, coefficients)
    count = len(shares)
    if count < 2:
        return Paired(len(gaps), count, value, None, None, None, None, None)
    stats = _scipy_stats()
    se = math.sqrt(_variance(shares))
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, count - 1))
    p = float(2 * stats.t.sf(abs(value) / se, count - 1)) if se > 0 else float(value == 0)
    detectable = (reach + float(stats.t.ppf(POWER, count - 1))) * se
    return Paired(len(gaps), count, value, se, value - reach * se, value + reach * se, p, detectable)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> tuple[int, int, float]:
    """(right only in the first, only in the second, exact two-sided p of an even split).

    It takes samples as independent; beside it stands the clustered comparison, which does not.
    """
    gained = sum(a and not b for a, b in zip(first, second, strict=True))
    lost = sum(b and not a for a, b in zip(first, second, strict=True))
    if not gained + lost:
        return gained, lost, 1.0
    return gained, lost, float(_scipy_stats().binomtest(gained, gained + lost, 0.5).pvalue)


def sign_flip(differences: Sequence[float]) -> float:
    """Exact two-sided sign-flip test of paired differences: no assumption on their distribution, at best 2 / 2**n.

    Returns:
        Share of the assignments of signs (all of them up to 16 differences, beyond that 2**16 drawn ones and the
        observed one, so that it is never 0) whose absolute sum is at least the observed one.
    """
    sizes = np.abs(np.asarray(differences, dtype=float))
    observed = abs(float(np.sum(differences)))
    if len(sizes) <= EXACT_UP_TO:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(sizes))))
    else:
        signs = np.random.default_rng(0).choice((-1, 1), size=(2**EXACT_UP_TO, len(sizes)))
        signs = np.vstack([signs, np.where(np.asarray(differences, dtype=float) < 0, -1, 1)])
    return float(np.mean(np.abs(signs @ sizes) >= observed - 1e-12))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given.

    Source: S. Holm, Scand. J. Stat. 6 (1979).
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted = [0.0] * len(values)
    worst = 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = worst
    return adjusted


def clustered_stderr(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Standard error of a mean as lmms-eval gives it: plain variance plus the covariances within clusters.

    Source: Miller, "Adding Error Bars to Evals" (arXiv 2411.00640), equation 4.
    """
    data = np.asarray(values, dtype=float)
    n = len(data)
    if n < 2:
        return 0.0
    sums: dict[str, float] = defaultdict(float)
    for gap, cluster in zip(data - data.mean(), clusters, strict=True):
        sums[cluster] += float(gap)
    within = sum(s * s for s in sums.values()) - float(((data - data.mean()) ** 2).sum())
    return math.sqrt(max(0.0, float(data.var(ddof=1)) / n + within / n**2))


def _linear(
    values: np.ndarray, clusters: Sequence[str], groups: Sequence[str] | None, coefficients: Coefficients | None
) -> tuple[float, np.ndarray]:
    """(the weighted sum of group means, each cluster's share in it)."""
    present, group = _codes([""] * len(values) if groups is None else groups)
    weights = coefficients(present) if coefficients else {name: 1 / len(present) for name in present}
    sizes = np.bincount(group, minlength=len(present))
    means = np.bincount(group, weights=values, minlength=len(present)) / sizes
    weight = np.array([weights[name] for name in present])
    shares = np.bincount(_codes(clusters)[1], weights=(weight / sizes)[group] * (values - means[group]))
    return float(weight @ means), shares


def _codes(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """(distinct names in order, the place of each name among them)."""
    distinct, codes = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    return [str(name) for name in distinct], codes


def _variance(shares: np.ndarray) -> float:
    count = len(shares)
    return 0.0 if count < 2 else float(count / (count - 1) * (shares**2).sum())


def _scipy_stats() -> Any:
    """Imported when first used: most commands that import this module make no interval, and it takes half a second."""
    from scipy import stats

    return stats


def _wilson(value: float, variance: float, clusters: int) -> tuple[float, float]:
    """95 % Wilson interval at the effective size m (1 - m) / variance; with no spread, at the number of clusters.

    Source: Wilson (1927); effective size as in Dean and Pagano, J. Surv. Stat. Methodol. 3 (2015).
    """
    m = min(1.0, max(0.0, value))
    size = m * (1 - m) / variance if variance > 1e-12 and 0 < m < 1 else float(clusters)
    z = float(_scipy_stats().norm.ppf(0.5 + LEVEL / 2))
    centre = (m + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(m * (1 - m) / size + z * z / (4 * size * size))
    return max(0.0, centre - half), min(1.0, centre + half)
