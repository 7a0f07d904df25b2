"""Areas and operating points: closed forms, coverage, and bounds of epsilon."""

import numpy as np
import pytest
from scipy import stats

from mechcausal.audits.privacy.curves import auc, eps_lower, operating_point
from mechcausal.probes.held_out import area


def test_the_area_is_that_of_all_pairs():
    draw = np.random.default_rng(0)
    score, positive = draw.integers(0, 6, 40).astype(float), draw.random(40) < 0.5
    pairs = np.sign(score[positive][:, None] - score[~positive][None]) / 2 + 0.5
    found = auc(score, positive)
    assert found.value == pytest.approx(pairs.mean(), abs=1e-12)
    assert found.value == pytest.approx(area(score, positive))


def test_the_interval_is_delongs():
    draw = np.random.default_rng(1)
    positive = np.arange(300) < 150
    score = draw.normal(size=300) + positive
    pairs = (score[positive][:, None] > score[~positive][None]).astype(float)
    error = np.sqrt(pairs.mean(1).var(ddof=1) / 150 + pairs.mean(0).var(ddof=1) / 150)
    assert auc(score, positive).error == pytest.approx(error, rel=0.02)


def test_intervals_cover_with_clusters():
    truth, hits, draw = stats.norm.cdf(1 / np.sqrt(2) / np.sqrt(1.5)), 0, np.random.default_rng(2)
    for _ in range(200):
        positive = np.repeat(np.arange(60) < 30, 4)
        score = positive + draw.normal(size=240) + np.repeat(draw.normal(size=60), 4) * np.sqrt(0.5)
        found = auc(score, positive, np.repeat(np.arange(60), 4).tolist())
        hits += found.low <= truth <= found.high
    assert 0.9 <= hits / 200 <= 0.99


def test_sets_that_do_not_overlap_have_an_exact_interval():
    found = auc(np.arange(20.0), np.arange(20) >= 10)
    assert found.value == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 10))
    assert auc(-np.arange(20.0), np.arange(20) >= 10).value == 0.0


def test_one_kind_alone_has_no_area():
    assert np.isnan(auc(np.arange(3.0), np.ones(3, dtype=bool)).value)


def test_an_operating_point_accuses_at_most_its_share():
    score = np.r_[np.arange(100.0), np.arange(50, 150.0)]
    positive = np.arange(200) >= 100
    point = operating_point(score, positive, 0.05)
    assert point.accused.value <= 0.05
    assert point.caught.value == pytest.approx((score[positive] > 94).mean())
    assert point.measurable
    assert not operating_point(score, positive, 0.001).measurable
    assert operating_point(score, positive, 0.001).accused.value == 0


def test_ties_do_not_raise_the_share_of_accused():
    score = np.zeros(40)
    point = operating_point(score, np.arange(40) < 20, 0.1)
    assert point.accused.value == 0
    assert point.caught.value == 0


def test_epsilon():
    assert eps_lower(900, 1000, 0, 1000) == pytest.approx(5.69, abs=0.005)
    assert eps_lower(50, 1000, 50, 1000) == 0.0
    assert eps_lower(0, 1000, 0, 1000) == 0.0
