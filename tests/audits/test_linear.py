"""Units of statistics: their mean is the statistic, and their standard error that of a bootstrap over clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from mechcausal.audits import linear
from mechcausal.audits.accuracy.calibration import expected_error, signed
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.explaining.validity import spearman
from mechcausal.audits.fairness.benchmark_scores import correlation
from mechcausal.audits.privacy.curves import auc, operating_point
from mechcausal.probes.held_out import area

N_CLUSTERS, IN_EACH = 150, 4


def clustered(draw, rows=N_CLUSTERS):
    """Return noise of which half is common to a cluster."""
    return (np.repeat(draw.normal(size=rows), IN_EACH) + draw.normal(size=rows * IN_EACH)) / np.sqrt(2)


def ratio(draw):
    below = 2 + clustered(draw)
    columns = np.c_[0.6 * below + clustered(draw), below]
    return columns, lambda rows: rows[:, 0].mean() / rows[:, 1].mean(), lambda rows: linear.of_ratio(*rows.T)


def part(draw):
    columns = np.c_[clustered(draw), draw.random(N_CLUSTERS * IN_EACH) < 0.3]
    return (
        columns,
        lambda rows: rows[rows[:, 1] == 1, 0].mean(),
        lambda rows: linear.of_part(rows[:, 0], rows[:, 1] == 1),
    )


def difference(draw):
    columns = np.c_[clustered(draw), draw.choice(3, N_CLUSTERS * IN_EACH, p=[0.3, 0.5, 0.2])]

    def apart(rows):
        return rows[rows[:, 1] == 0, 0].mean() - rows[rows[:, 1] == 2, 0].mean()

    return columns, apart, lambda rows: linear.of_difference(rows[:, 0], rows[:, 1] == 0, rows[:, 1] == 2)


def balanced(draw):
    classes = draw.choice(3, N_CLUSTERS * IN_EACH, p=[0.6, 0.3, 0.1])
    hits = (clustered(draw) < np.array([1.0, 0.0, -0.5])[classes]).astype(float)

    def accuracy(rows):
        return np.mean([rows[rows[:, 1] == name, 0].mean() for name in range(3)])

    return np.c_[hits, classes], accuracy, lambda rows: linear.of_balanced(*rows.T)


def the_area(draw):
    positive = np.repeat(np.arange(N_CLUSTERS) < 60, IN_EACH)
    columns = np.c_[np.round(positive + 1.3 * clustered(draw), 1), positive]  # with ties
    return (
        columns,
        lambda rows: area(rows[:, 0], rows[:, 1] == 1),
        lambda rows: linear.of_area(rows[:, 0], rows[:, 1] == 1),
    )


def caught(draw):
    positive = np.repeat(np.arange(N_CLUSTERS) < 60, IN_EACH)
    columns = np.c_[1.5 * positive + clustered(draw), positive]

    def share(rows):
        others = np.sort(rows[rows[:, 1] == 0, 0])[::-1]
        return (rows[rows[:, 1] == 1, 0] > others[int(0.05 * len(others))]).mean()

    return columns, share, lambda rows: linear.of_caught(rows[:, 0], rows[:, 1] == 1, 0.05)


def calibrated(draw):
    log_odds = np.abs(1.5 * clustered(draw)) + 0.2
    columns = np.c_[expit(3 * log_odds), draw.random(len(log_odds)) < expit(log_odds)]  # much too sure in every bin
    return columns, lambda rows: expected_error(*rows.T, bins=5), lambda rows: signed(*rows.T, bins=5)


STATISTICS = [ratio, part, difference, balanced, the_area, caught, calibrated]


@pytest.mark.parametrize("made", STATISTICS)
def test_units_have_the_mean_and_the_error_of_the_statistic(made):
    """Within a tenth of a bootstrap over clusters (of a cutoff, whose slope is rough, within 15 %)."""
    draw, clusters = np.random.default_rng(3), np.repeat(np.arange(N_CLUSTERS), IN_EACH)
    ratios = []
    for _ in range(4):
        columns, statistic, units_of = made(draw)
        units = units_of(columns)
        estimate = Estimate.mean(units, clusters)
        assert estimate.value == pytest.approx(statistic(columns), abs=1e-12)
        assert (estimate.n, estimate.n_clusters) == (len(columns), N_CLUSTERS)
        rows = np.arange(len(columns)).reshape(N_CLUSTERS, IN_EACH)
        again = [statistic(columns[rows[draw.integers(N_CLUSTERS, size=N_CLUSTERS)].ravel()]) for _ in range(250)]
        ratios.append(estimate.error / np.std(again))
    assert np.mean(ratios) == pytest.approx(1, abs=0.15 if made is caught else 0.1), ratios


def test_the_units_of_an_area_have_the_error_of_its_own_interval():
    draw = np.random.default_rng(4)
    (score, positive), clusters = the_area(draw)[0].T, np.repeat(np.arange(N_CLUSTERS), IN_EACH)
    own, units = auc(score, positive == 1, clusters.tolist()), linear.of_area(score, positive == 1)
    assert Estimate.mean(units, clusters).error == pytest.approx(own.error)


def test_the_units_of_a_cutoff_are_about_its_own_operating_point():
    (score, positive) = caught(np.random.default_rng(8))[0].T
    for fpr in (0.01, 0.05, 0.999):
        units = linear.of_caught(score, positive == 1, fpr)
        assert units.mean() == pytest.approx(operating_point(score, positive == 1, fpr).caught.value)


def test_the_units_of_a_correlation_have_fishers_error():
    draw = np.random.default_rng(5)
    members = np.repeat(np.arange(80), draw.integers(1, 6, 80))
    first = draw.normal(size=80)
    second = 0.6 * first + 0.8 * draw.normal(size=80)
    own, units = correlation(first, second), Estimate.mean(linear.of_correlation(first, second, members), members)
    assert units.value == pytest.approx(own.value)
    assert units.error == pytest.approx((own.high - own.low) / 2 / 1.96, rel=0.15)
    assert units.n_clusters == 80


def test_where_there_is_no_number_there_are_no_units():
    assert linear.as_units(linear.of_ratio(np.ones(3), np.array([1.0, -1.0, 0.0]))) == ()
    assert linear.as_units(linear.of_part(np.ones(3), np.zeros(3, dtype=bool))) == ()
    assert linear.as_units(linear.of_correlation(np.ones(4), np.arange(4.0), np.arange(4))) == ()
    assert linear.as_units(np.array([])) == ()
    assert linear.as_units(np.array([1, 0])) == (1.0, 0.0)


def test_parts_of_data_are_named_by_their_rows():
    assert linear.named((), [3, 5]) == ("row 3", "row 5")
    assert linear.named((1, "a"), [3, 5]) == ("1", "a")


def test_resamples_are_the_same_draws_for_everyone():
    draw, clusters = np.random.default_rng(6), np.repeat(np.arange(30), 3)
    values = draw.normal(size=90)
    sums = values.reshape(30, 3).sum(1)
    drawn = linear.resampled(lambda weight: weight @ sums / 90, clusters, 90)
    assert np.std(drawn) == pytest.approx(Estimate.mean(values, clusters).error, rel=0.1)
    shifted = linear.resampled(lambda weight: weight @ sums / 90 + 1, clusters, 90)
    assert np.subtract(shifted, drawn) == pytest.approx(1)


def test_ranks_of_few_sites_jump():
    """Why a rank correlation has draws and no units: what is left out of it cluster by cluster changes nothing."""
    draw = np.random.default_rng(7)
    sites = np.arange(6.0)[:, None] + 5 * draw.normal(size=(6, 40))
    whole = spearman(sites.mean(1), np.arange(6.0))
    left_out = [spearman(np.delete(sites, pair, 1).mean(1), np.arange(6.0)) for pair in range(40)]
    assert np.mean(np.array(left_out) == whole) > 0.5
