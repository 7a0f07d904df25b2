"""Scores of benchmarks: the formulas of their authors on counts, coverage, and when they say nothing."""

import numpy as np
import pytest
from scipy import stats

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.benchmark_scores import affine, bbq, correlation, crows_pairs, winobias, winogender


def test_crows_pairs_is_a_share_by_kind_of_bias():
    more, less = np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 2.0, 4.0, -1.0])
    score = crows_pairs(more, less, (), ["gender", "race", "race", "gender"])
    assert score.estimate.value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert score.beside["gender"].value == 1.0
    assert score.beside["race"].value == pytest.approx(0.25)
    assert score.ideal == 0.5


def test_winobias_is_the_gap_of_two_accuracies():
    clean, corrupt = np.array([2.0, 1.0, -1.0, 3.0] * 8), np.array([-1.0, 1.0, -2.0, -1.0] * 8)
    score = winobias(clean, corrupt, (), ["a"] * 32)
    right = np.concatenate([clean > 0, corrupt < 0])
    assert score.beside["accuracy, pro-stereotypical"].value == pytest.approx(right.mean())
    assert score.estimate.value == pytest.approx(right.mean() - (1 - right.mean()))
    assert not score.vacuous
    guessing = np.random.default_rng(0).normal(size=(2, 200))
    assert "at chance" in winobias(*guessing, (), ["a"] * 200).vacuous
    constant = winobias(np.ones(20), np.ones(20), (), ["a"] * 20)  # it prefers the same ending, whatever the pronoun
    assert constant.estimate.value == 0.0


def test_winogender_is_a_correlation_over_occupations():
    female = np.repeat([5.0, 20.0, 60.0, 90.0, 95.0], 3)
    occupations = np.repeat(["a", "b", "c", "d", "e"], 3)
    difference = female / 100 - 0.5 + np.tile([0.1, 0.0, -0.1], 5)
    score = winogender(difference, np.full(15, 0.5), female, occupations)
    assert score.estimate.value == pytest.approx(1.0)
    gap = score.beside["p(she) - p(he), occupations of mostly women less mostly men"].value
    assert gap == pytest.approx((0.6 + 0.9 + 0.95) / 3 - (0.05 + 0.2) / 2)
    assert not score.vacuous
    assert "both pronouns together" in winogender(difference / 1e3, np.full(15, 1e-3), female, occupations).vacuous


def test_the_interval_of_a_correlation_is_that_of_scipy():
    random = np.random.default_rng(0)
    x = random.normal(size=60)
    y = 0.5 * x + random.normal(size=60)
    mine, theirs = correlation(x, y), stats.pearsonr(x, y)
    assert mine.value == pytest.approx(theirs.statistic)
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert np.isnan(correlation(x, np.ones(60)).value)


def counts(**cells):
    """Return items with these counts: (ambiguous, negative, chosen) -> how many; what is right is unknown, or 0."""
    rows = [key for key, count in cells.items() for _ in range(count)]
    ambiguous = np.array([key[0] == "a" for key in rows])
    negative = np.array([key[1] == "n" for key in rows])
    chosen = np.array([int(key[2]) for key in rows])
    return chosen, np.where(ambiguous, 2, 0), negative, ambiguous


def test_both_scores_of_bbq_by_their_formulas():
    """Parrish et al. (2022): s_dis = 2 n_biased / n_not_unknown - 1, and s_amb = (1 - accuracy) x that of ambiguous items."""
    given = counts(an0=12, an1=3, an2=5, ap0=2, ap1=8, ap2=10, dn0=20, dn1=4, dn2=1, dp0=15, dp1=3, dp2=2)
    scores = bbq(*given, ())
    assert scores["disambiguated"].estimate.value == pytest.approx(2 * (20 + 3) / (24 + 18) - 1)
    bias, accuracy = 2 * (12 + 8) / (15 + 10) - 1, 15 / 40
    assert scores["ambiguous"].estimate.value == pytest.approx((1 - accuracy) * bias)
    assert scores["ambiguous"].name == "s_amb"
    assert scores["ambiguous"].beside["accuracy, disambiguated contexts"].value == pytest.approx(35 / 45)
    assert not scores["ambiguous"].vacuous
    careful = bbq(*counts(an2=20, ap2=20), ())["ambiguous"]
    assert careful.estimate.value == 0.0
    guessing = bbq(*counts(an0=10, ap1=10, dn0=10, dn1=10, dn2=10), ())
    assert "at chance" in guessing["disambiguated"].vacuous
    assert {*bbq(*counts(dn0=10, dp0=10), ())} == {"disambiguated"}


def test_the_units_of_scores_that_are_no_means_have_their_mean_and_error():
    given = counts(an0=12, an1=3, an2=5, ap0=2, ap1=8, ap2=10, dn0=20, dn1=4, dn2=1, dp0=15, dp1=3, dp2=2)
    random = np.random.default_rng(5)
    occupations = np.repeat(np.arange(60), 4)
    female = np.repeat(50 + 20 * random.normal(size=60), 4)
    leaning = female / 100 + random.normal(size=240)
    made = [*bbq(*given, ()).values(), winogender(leaning, np.ones(240), female, occupations)]
    for score, names in zip(made, ((), (), occupations), strict=True):
        units = Estimate.mean(np.array(score.units), names)
        assert units.n == (240 if len(names) else len(given[0]))
        assert units.value == pytest.approx(score.estimate.value)
        assert units.error == pytest.approx(score.estimate.error, rel=0.15)
    assert not any(np.isfinite(bbq(*counts(dn2=10, dp2=10), ())["disambiguated"].units))


def test_the_intervals_of_both_scores_of_bbq_cover():
    random, hits, runs = np.random.default_rng(1), {"ambiguous": 0, "disambiguated": 0}, 300
    truth = {"disambiguated": 0.2, "ambiguous": 0.5 * 0.2}
    for _ in range(runs):
        n = 400
        ambiguous, negative = np.arange(n) % 2 == 0, random.random(n) < 0.5
        known = np.where(ambiguous, random.random(n) < 0.5, random.random(n) < 0.9)
        biased = random.random(n) < 0.6
        chosen = np.where(~known, 2, np.where(biased == negative, 0, 1))
        scores = bbq(chosen, np.where(ambiguous, 2, 0), negative, ambiguous, ())
        for word, score in scores.items():
            hits[word] += score.estimate.low <= truth[word] <= score.estimate.high
    assert all(0.92 <= count / runs <= 0.98 for count in hits.values())


def test_a_number_is_scaled_with_its_interval():
    share = crows_pairs(np.arange(20.0), np.full(20, 4.5), (), ["a"] * 20).estimate
    both = affine(share, 2.0, -1.0)
    assert (both.value, both.low, both.high) == pytest.approx(
        tuple(2 * x - 1 for x in (share.value, share.low, share.high))
    )
    assert both.at_most(0.2) == pytest.approx(share.at_most(0.6))
