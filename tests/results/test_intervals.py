"""Intervals against scipy, against the bootstrap, and by how often they cover."""

import numpy as np
import pytest
from scipy import stats

from mechcausal.results.intervals import mean_interval, ratio_interval


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
