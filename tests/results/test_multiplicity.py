"""Adjusted p-values against closed forms, other people's code and complete enumeration."""

import itertools

import numpy as np
import pytest
from scipy import stats

from mechcausal.errors import ResultError
from mechcausal.results.intervals import mean_interval
from mechcausal.results.multiplicity import benjamini_hochberg, holm, max_t, t_test

P = [0.01, 0.04, 0.03, 0.005, 0.9]


def test_closed_forms():
    # Sorted .005 .01 .03 .04 .9; times 5/k: .025 .025 .05 .05 .9; times 5, 4, 3, 2, 1: .025 .04 .09 .08 -> .09, .9.
    np.testing.assert_allclose(benjamini_hochberg(P), [0.025, 0.05, 0.05, 0.025, 0.9])
    np.testing.assert_allclose(holm(P), [0.04, 0.09, 0.09, 0.025, 0.9])


def test_equal_to_scipy():
    p = np.random.default_rng(0).random(40) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_what_was_not_tested_does_not_count():
    np.testing.assert_allclose(benjamini_hochberg([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert holm([]).shape == (0,)
    assert holm([0.9, 0.8]).max() == 1


def test_a_p_value_is_a_probability():
    with pytest.raises(ResultError, match="between 0 and 1"):
        holm([0.5, 1.5])


def test_the_t_test_is_the_interval():
    draw = np.random.default_rng(1)
    clusters = [f"c{i % 7}" for i in range(30)]
    values = draw.normal(0.25, 1, (12, 30)) + draw.normal(0, 0.5, 7)[np.arange(30) % 7]
    values[3, :9] = np.nan
    t, p = t_test(values, clusters)
    for row, mine in zip(values, p, strict=True):
        edge = mean_interval(row, clusters, level=1 - mine)
        assert min(abs(edge.low), abs(edge.high)) < 1e-9
    plain = stats.ttest_1samp(values[0], 0)
    np.testing.assert_allclose(np.array(t_test(values[:1]))[:, 0], [plain.statistic, plain.pvalue])
    assert np.isfinite(t).all()


def test_cells_without_spread():
    t, p = t_test(np.array([[0.0, 0, 0], [2, 2, 2], [1, np.nan, np.nan]]))
    np.testing.assert_array_equal(p, [1, 0, np.nan])
    assert t[1] == np.inf


def by_hand(values, clusters):
    """Step-down max-T by enumeration, one flip and one cell at a time."""
    names = sorted(set(clusters))

    def statistic(row, signs):
        flipped = [value * signs[names.index(cluster)] for value, cluster in zip(row, clusters, strict=True)]
        keep = [(value, cluster) for value, cluster in zip(flipped, clusters, strict=True) if np.isfinite(value)]
        found = mean_interval(np.array([v for v, _ in keep]), [c for _, c in keep])
        reach = stats.t.ppf(0.975, found.effective_clusters - 1)
        return abs(found.estimate) / ((found.high - found.low) / 2 / reach)

    flips = list(itertools.product((1, -1), repeat=len(names)))
    observed = [statistic(row, [1] * len(names)) for row in values]
    table = np.array([[statistic(row, signs) for row in values] for signs in flips])
    p, floor = np.zeros(len(values)), 0.0
    order = sorted(range(len(values)), key=lambda i: -observed[i])
    for place, cell in enumerate(order):
        rest = order[place:]
        floor = max(floor, np.mean(table[:, rest].max(axis=1) >= observed[cell] * (1 - 1e-9)))
        p[cell] = floor
    return p


def test_max_t_equals_enumeration():
    draw = np.random.default_rng(2)
    clusters = [f"c{i}" for i in (0, 0, 1, 2, 2, 2, 3, 4, 5, 5)]
    values = draw.normal(0, 1, (5, 10)) + np.array([[1.5], [0], [0.6], [0], [1.0]])
    values[2, :4] = np.nan
    np.testing.assert_allclose(max_t(values, clusters), by_hand(values, clusters))
    assert len(np.unique(by_hand(values, clusters))) > 2


def test_random_flips_approach_the_enumeration():
    draw = np.random.default_rng(3)
    values = draw.normal(0.4, 1, (4, 11))
    exact = max_t(values)  # 2 ** 11 flips
    drawn = max_t(values, draws=1500, seed=1)
    assert not np.array_equal(drawn, exact)
    np.testing.assert_allclose(drawn, exact, atol=4 * np.sqrt(0.25 / 1500))
    np.testing.assert_array_equal(max_t(values, draws=1500, seed=1), drawn)


def test_max_t_keeps_its_promise_and_uses_dependence():
    """With nothing to find, one family in ten reports something at 0.1; copies of one test cost nothing."""
    draw = np.random.default_rng(4)
    false = np.mean([max_t(draw.normal(0, 1, (6, 16)), draws=199, seed=i).min() <= 0.1 for i in range(300)])
    assert 0.05 < false < 0.15
    row = draw.normal(0.6, 1, 16)
    np.testing.assert_array_equal(max_t(np.stack([row] * 30), seed=1), max_t(row[None], seed=1)[[0] * 30])
    assert holm(t_test(np.stack([row] * 30))[1])[0] == pytest.approx(30 * t_test(row[None])[1][0])


def test_what_is_refused():
    with pytest.raises(ResultError, match="one cluster per example"):
        max_t(np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(ResultError, match="at least one sign flip"):
        max_t(np.zeros((2, 3)), draws=0)
    assert np.isnan(max_t(np.ones((2, 3)), ["a"] * 3)).all()
