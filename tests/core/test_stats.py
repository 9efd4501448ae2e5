"""Intervals, comparisons and corrections, held against scipy and against published formulas."""

import numpy as np
import pytest
from scipy import stats as reference

from tasks.core.stats import estimate, holm, mcnemar, paired, sign_flip


def world(seed, clusters=60, size=5, groups=("a", "b", "c")):
    """Scores that agree within clusters, in groups of unequal size."""
    random = np.random.default_rng(seed)
    rates = random.beta(2, 2, clusters)
    names = [f"c{i}" for i in range(clusters) for _ in range(size)]
    values = (random.random(clusters * size) < np.repeat(rates, size)).astype(float)
    kinds = random.choice(groups, clusters * size, p=[0.7, 0.2, 0.1][: len(groups)])
    return values, names, [str(kind) for kind in kinds]


def test_se_of_a_macro_average_is_the_cluster_bootstraps():
    values, names, kinds = world(0)
    found = estimate(values, names, kinds)
    places = {name: np.flatnonzero(np.asarray(names) == name) for name in set(names)}
    order = sorted(places)

    def macro(drawn):
        rows = np.concatenate([places[order[int(i)]] for i in drawn])
        kind = np.asarray(kinds)[rows]
        return np.mean([values[rows][kind == one].mean() for one in ("a", "b", "c")])

    boot = reference.bootstrap(
        (np.arange(len(order)),),
        macro,
        n_resamples=600,
        vectorized=False,
        rng=np.random.default_rng(1),
        method="percentile",
    )
    assert found.value == pytest.approx(macro(np.arange(len(order))))
    assert found.se == pytest.approx(boot.standard_error, rel=0.15)
    assert found.low == pytest.approx(boot.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(boot.confidence_interval.high, abs=0.02)


def test_macro_intervals_cover():
    covered = 0
    for seed in range(300):
        values, names, kinds = world(seed)
        found = estimate(values, names, kinds)
        covered += found.low <= 0.5 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_paired_without_clusters_is_the_t_test():
    one, two = np.random.default_rng(0).random((2, 40))
    found = paired(one, two, [str(i) for i in range(40)])
    expected = reference.ttest_rel(one, two)
    interval = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, interval.low, interval.high))


def test_paired_does_not_count_copies_as_evidence():
    one, two = np.random.default_rng(0).random((2, 20))
    once = paired(one, two, [str(i) for i in range(20)])
    thrice = paired(np.repeat(one, 3), np.repeat(two, 3), [str(i) for i in range(20) for _ in range(3)])
    assert thrice.p == pytest.approx(once.p)


def test_detectable_difference_is_found_four_times_in_five():
    random, hits, rounds = np.random.default_rng(3), 0, 400
    for _ in range(rounds):
        base = random.normal(0, 1, 50)
        wanted = paired(base, np.zeros(50), [str(i) for i in range(50)]).detectable
        sample = random.normal(wanted, 1, 50)
        hits += paired(sample, np.zeros(50), [str(i) for i in range(50)]).p < 0.05
    assert 0.74 <= hits / rounds <= 0.86


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        pytest.param([1.0] * 6, ["a", "a", "b", "b", "c", "c"], id="all right"),
        pytest.param([0.0] * 6, ["a", "a", "b", "b", "c", "c"], id="all wrong"),
        pytest.param([1.0, 0.0], ["a", "a"], id="one cluster"),
    ],
)
def test_interval_without_spread_stays_open(values, clusters):
    found = estimate(values, clusters)
    assert 0 <= found.low < found.high <= 1
    assert found.high - found.low > 0.3


def test_nothing_is_nothing():
    assert estimate([], []).value is None


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        pytest.param(np.random.default_rng(0).normal(0.3, 1, 12), None, id="all assignments: scipy's permutation test"),
        pytest.param([0.1] * 18, 1 / (2**16 + 1), id="drawn ones and the observed one: never 0"),
        pytest.param([-0.1] * 18, 1 / (2**16 + 1), id="two-sided"),
    ],
)
def test_sign_flip(differences, p):
    if p is None:
        zeros = np.zeros(len(differences))
        p = reference.permutation_test(
            (differences, zeros), lambda a, b: np.sum(a - b), permutation_type="samples", n_resamples=np.inf
        ).pvalue
    assert sign_flip(differences) == pytest.approx(p)


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemar_is_the_exact_sign_test():
    first = [True] * 8 + [False] * 2 + [True] * 5
    second = [False] * 8 + [True] * 2 + [True] * 5
    assert mcnemar(first, second) == (8, 2, pytest.approx(reference.binomtest(8, 10).pvalue))
    assert mcnemar([True], [True]) == (0, 0, 1.0)
