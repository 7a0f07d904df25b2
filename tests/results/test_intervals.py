"""Intervals against scipy, against the bootstrap, and by how often they cover."""

import numpy as np
import pytest
from scipy import linalg, stats

from mechcausal.results.intervals import (
    cluster_sums,
    clustered_means,
    influences,
    mean_interval,
    mean_intervals,
    ratio_interval,
    ratio_intervals,
    ratio_of_sums,
)

SIZES = [1, 3, 9, 2, 5, 14]
IDS = np.repeat(np.arange(6), SIZES)


def test_without_clusters_it_is_the_t_interval():
    x = np.random.default_rng(0).normal(size=20)
    found = mean_interval(x)
    low, high = stats.t.interval(0.95, 19, loc=x.mean(), scale=stats.sem(x))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.n, found.n_clusters) == (20, 20)


def test_equal_clusters_are_their_means():
    x = np.random.default_rng(0).normal(size=(8, 5))
    found = mean_interval(x.ravel(), tuple(np.repeat(list("abcdefgh"), 5)))
    low, high = stats.t.interval(0.95, 7, loc=x.mean(), scale=stats.sem(x.mean(1)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.n_clusters == 8


def test_coverage_with_few_clusters():
    """Twelve templates with their own offsets: the clustered interval covers, the naive one does not."""
    draw, names = np.random.default_rng(1), tuple(np.repeat(np.arange(12).astype(str), 30))
    hits = {"clustered": 0, "naive": 0}
    for _ in range(400):
        x = np.repeat(draw.normal(size=12), 30) + draw.normal(size=360)
        for name, clusters in (("clustered", names), ("naive", ())):
            found = mean_interval(x, clusters)
            hits[name] += found.low <= 0 <= found.high
    assert 0.92 <= hits["clustered"] / 400 <= 0.98
    assert hits["naive"] / 400 < 0.7


def test_ratio_interval_is_close_to_the_bootstrap():
    draw = np.random.default_rng(2)
    below = draw.normal(3, 0.5, size=300)
    above = 0.6 * below + draw.normal(0, 0.4, size=300)
    found = ratio_interval(above, below)
    rows = draw.integers(300, size=(4000, 300))
    low, high = np.quantile(above[rows].mean(1) / below[rows].mean(1), [0.025, 0.975])
    assert found.estimate == pytest.approx(above.mean() / below.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.004)


def test_nan_one_cluster_and_no_denominator():
    assert mean_interval(np.array([1.0, np.nan, 3.0])).n == 2
    alone = mean_interval(np.array([1.0, 2.0]), ("a", "a"))
    assert alone.estimate == 1.5
    assert np.isnan(alone.low)
    assert np.isnan(mean_interval(np.array([np.nan])).estimate)
    assert np.isnan(ratio_interval(np.ones(3), np.zeros(3)).estimate)


def by_definition(y, ids):
    """CR2 and its degrees of freedom with the matrices of Bell and McCaffrey, for a regression on a constant."""
    n = len(y)
    hat, residual = np.full((n, n), 1 / n), y - y.mean()
    variance, columns = 0.0, []
    for cluster in np.unique(ids):
        own = ids == cluster
        root = linalg.sqrtm(linalg.inv(np.eye(own.sum()) - hat[np.ix_(own, own)])).real
        variance += (np.ones(own.sum()) @ root @ residual[own] / n) ** 2
        columns.append((np.eye(n) - hat)[own].T @ root @ np.ones(own.sum()) / n)
    inner = np.array(columns) @ np.array(columns).T
    return np.sqrt(variance), np.trace(inner) ** 2 / np.trace(inner @ inner)


def test_the_variance_and_its_freedom_are_those_of_the_definition():
    y = np.random.default_rng(3).normal(size=len(IDS))
    error, freedom = by_definition(y, IDS)
    found = clustered_means(*cluster_sums(y[None], IDS))
    assert found.error[0] == pytest.approx(error)
    assert found.freedom[0] == pytest.approx(freedom)
    assert freedom < 4  # of 5 that six equal clusters have
    reach = stats.t.ppf(0.975, freedom) * error
    one = mean_interval(y, IDS)
    assert (one.low, one.high) == pytest.approx((y.mean() - reach, y.mean() + reach))
    assert one.effective_clusters == pytest.approx(freedom + 1)


def test_many_cells_are_what_each_would_be_alone():
    draw = np.random.default_rng(4)
    values = draw.normal(size=(5, len(IDS)))
    values[1, :4] = np.nan
    values[2] = np.nan
    below = 2 + draw.normal(size=len(IDS))
    together, ratios = mean_intervals(values, IDS), ratio_intervals(values, below, IDS)
    for row, one in enumerate(values):
        keep = np.isfinite(one)
        alone = mean_interval(one[keep], IDS[keep]) if keep.any() else mean_interval(one, IDS)
        np.testing.assert_allclose([together[name][row] for name in together], list(vars(alone).values()))
        ratio = ratio_interval(one[keep], below[keep], IDS[keep]) if keep.any() else ratio_interval(one, below, IDS)
        np.testing.assert_allclose([ratios[name][row] for name in ratios], list(vars(ratio).values()))


def test_the_sums_of_the_clusters_are_enough():
    draw = np.random.default_rng(5)
    above, below = draw.normal(size=(3, len(IDS))), 2 + draw.normal(size=(3, len(IDS)))
    sums, counts = cluster_sums(above, IDS)
    ratio, spread = ratio_of_sums(sums, cluster_sums(below, IDS)[0], counts)
    expected = ratio_intervals(above, below, IDS)
    np.testing.assert_allclose(ratio, expected["estimate"])
    np.testing.assert_allclose(ratio + spread.interval()[1], expected["high"])


@pytest.mark.parametrize("scheme", ["fixed", "sampled"])
def test_with_six_very_unequal_clusters_the_interval_covers(scheme):
    draw, runs = np.random.default_rng(6), 4000
    sizes = np.array([1.0, 2, 4, 8, 17, 40]) * np.ones((runs, 1))
    if scheme == "sampled":
        sizes = np.clip(np.round(np.exp(draw.normal(np.log(7), 1, sizes.shape))), 1, 40)
    sums = sizes * draw.normal(size=sizes.shape) + np.sqrt(sizes) * draw.normal(size=sizes.shape)
    found = clustered_means(sums, sizes)
    low, high = found.interval()
    assert 0.92 <= np.mean((low <= 0) & (high >= 0)) <= 0.98
    old = stats.t.ppf(0.975, 5) * np.sqrt(6 / 5 * ((sums - sizes * found.mean[:, None]) ** 2).sum(1)) / sizes.sum(1)
    assert np.mean(np.abs(found.mean) <= old) < 0.91  # what CR1 with G - 1 degrees of freedom covers


def test_an_estimate_from_the_same_examples_widens_the_interval():
    """A column minus the mean of another: its spread is that of the difference, which the influence restores."""
    draw, runs, n = np.random.default_rng(7), 600, 24
    ids = np.arange(n) // 3
    hits = {"with": 0, "without": 0}
    for _ in range(runs):
        cause = draw.normal(size=n) + np.repeat(draw.normal(size=8), 3)
        noise = 0.5 * draw.normal(size=n)
        values = (noise + cause.mean())[None]  # every example is given the same estimated mean
        step = 0.1
        moved = np.array(
            [noise.mean() + cause.mean() + step * (cause[ids == c].mean() - cause.mean()) for c in range(8)]
        )
        influence = influences(moved[:, None], values.mean(1), ids, step)
        for name, given in (("with", influence), ("without", None)):
            found = mean_intervals(values, ids, influence=given)
            hits[name] += found["low"][0] <= 0 <= found["high"][0]
    assert 0.92 <= hits["with"] / runs <= 0.98
    assert hits["without"] / runs < 0.7


def test_the_mean_of_an_influence_is_a_bias_that_widens_the_interval():
    """A mean that is known to be off by about as much as its error: its interval covers, and stays around the mean."""
    draw, hits = np.random.default_rng(0), {"with": 0, "without": 0}
    for _ in range(800):
        values = draw.normal(size=(1, 25)) + 0.2
        for name, bias in (("with", 0.2), ("without", 0.0)):
            found = mean_intervals(values, influence=np.full((1, 25), bias))
            hits[name] += found["low"][0] <= 0 <= found["high"][0]
            assert (found["low"] + found["high"])[0] / 2 == pytest.approx(values.mean())
    assert 0.92 <= hits["with"] / 800 <= 0.98
    assert hits["without"] / 800 < 0.88
    below = np.full(25, 2.0)
    ratio = ratio_intervals(values, below, bias=np.array([0.2]))
    same = mean_intervals(values / below, influence=np.full((1, 25), 0.1))
    assert (ratio["low"][0], ratio["high"][0]) == pytest.approx((same["low"][0], same["high"][0]))
