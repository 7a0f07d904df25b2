import numpy as np
import pytest
from scipy import stats

from mechcausal.audits.estimate import Estimate
from mechcausal.errors import ResultError
from mechcausal.results.intervals import mean_interval


def test_a_mean_is_that_of_results():
    values, clusters = np.random.default_rng(0).normal(size=40), [f"c{i % 7}" for i in range(40)]
    mine, theirs = Estimate.mean(values, clusters), mean_interval(values, clusters)
    assert (mine.value, mine.low, mine.high, mine.n_clusters) == pytest.approx(
        (theirs.estimate, theirs.low, theirs.high, theirs.n_clusters)
    )


def test_tails_are_those_of_the_one_sample_t_test():
    values = np.random.default_rng(1).normal(0.3, 1, size=25)
    mine = Estimate.mean(values)
    assert mine.at_most(0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="greater").pvalue)
    assert mine.at_least(0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="less").pvalue)
    assert mine.zero() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_a_share_is_exact():
    mine, theirs = Estimate.share(9, 40), stats.binomtest(9, 40)
    ends = theirs.proportion_ci(method="exact")
    assert (mine.low, mine.high) == pytest.approx((ends.low, ends.high))
    assert mine.at_most(0.1) == pytest.approx(stats.binomtest(9, 40, 0.1, alternative="greater").pvalue)
    assert mine.at_least(0.4) == pytest.approx(stats.binomtest(9, 40, 0.4, alternative="less").pvalue)
    assert Estimate.share(0, 10).low == 0
    assert Estimate.share(10, 10).high == 1
    with pytest.raises(ResultError, match="at least one trial"):
        Estimate.share(1, 0)


def test_a_difference_of_independent_sets_is_like_welch():
    random = np.random.default_rng(2)
    first, second = random.normal(1, 1, size=400), random.normal(0, 2, size=300)
    mine = Estimate.difference(first, second)
    error = np.sqrt(first.var(ddof=1) / 400 + second.var(ddof=1) / 300)
    assert mine.value == pytest.approx(first.mean() - second.mean())
    assert mine.error == pytest.approx(error, rel=0.01)


def test_a_difference_within_clusters_is_paired():
    random = np.random.default_rng(3)
    base = random.normal(0, 5, size=30)
    first, second = base + 1 + random.normal(0, 0.1, size=30), base
    names = [str(i) for i in range(30)]
    paired = Estimate.difference(first, second, names, names)
    assert paired.value == pytest.approx((first - second).mean())
    assert paired.error == pytest.approx((first - second).std(ddof=1) / np.sqrt(30), rel=0.02)
    assert np.isnan(Estimate.difference(first, []).value)


def test_a_ratio_counts_the_denominator():
    random = np.random.default_rng(4)
    below = random.normal(2, 0.2, size=50)
    mine = Estimate.ratio(below / 2, below)
    assert mine.value == pytest.approx(0.5)
    assert mine.error == pytest.approx(0, abs=1e-9)


def test_a_number_without_error_is_judged_by_itself():
    assert Estimate.exact(3.0).at_most(2.0) == 0
    assert Estimate.exact(3.0).at_most(3.0) == 1
    assert np.isnan(Estimate(3.0).at_most(2.0))


def test_an_interval_from_elsewhere():
    mine = Estimate.interval(1.0, 0.0, 2.0, 50)
    assert mine.at_most(0.0) == pytest.approx(0.025, abs=1e-6)
    assert str(mine) == "1 [0, 2]"
    assert str(Estimate(1.0)) == "1"
    assert mine.within(-1, 3)
    assert not mine.within(0.5, 3)


def test_intervals_of_differences_cover():
    """Of 400 clustered simulations 92 to 98 of a hundred hold the truth."""
    random, hits = np.random.default_rng(5), 0
    for _ in range(400):
        effects = random.normal(0, 1, size=12)
        names = np.repeat(np.arange(12), 10).astype(str)
        side = random.random(120) < 0.5
        values = np.repeat(effects, 10) + random.normal(0, 1, size=120) + 0.5 * side
        mine = Estimate.difference(values[side], values[~side], names[side], names[~side])
        hits += mine.low <= 0.5 <= mine.high
    assert 0.92 <= hits / 400 <= 0.985


def test_the_size_of_a_difference_counts_both_directions():
    values = np.random.default_rng(0).normal(0.2, 1.0, 200)
    both = Estimate.mean(values), Estimate.mean(-values)
    sizes = [estimate.size() for estimate in both]
    assert sizes[0] == sizes[1]
    assert sizes[0].zero() == pytest.approx(both[0].zero())
    assert sizes[0].at_most(0.1) > both[0].at_most(0.1)  # the truth may be -0.1 as well
    assert sizes[0].at_most(0.1) + sizes[0].at_least(0.1) == pytest.approx(1.0)
    assert sizes[0].at_most(-0.1) == 0.0
    none = Estimate.mean(values - values.mean() + 0.01).size()
    assert none.low == 0.0
    assert none.high > 0.1


def test_a_rate_of_nothing_is_not_known_exactly():
    """No flip among 60 clusters leaves up to 6 %, as in an exact binomial; a rate that varies is the mean."""
    nothing = Estimate.rate(np.zeros(120), np.repeat(np.arange(60), 2))
    assert (nothing.value, nothing.n, nothing.n_clusters) == (0.0, 120, 60)
    assert nothing.high == pytest.approx(Estimate.share(0, 60).high)
    assert nothing.at_least(0.05) == pytest.approx(0.95**60)
    assert nothing.at_most(0.05) == pytest.approx(1.0)
    some = np.r_[np.ones(3), np.zeros(57)]
    assert Estimate.rate(some) == Estimate.mean(some)


def test_the_smallest_of_several_is_adjusted_for_them():
    low, high = Estimate.share(3, 30), Estimate.share(20, 30)
    smallest = Estimate.smallest([high, low])
    assert smallest.value == low.value
    assert smallest.low < low.low
    assert smallest.at_least(0.3) == pytest.approx(min(1.0, 2 * low.at_least(0.3)))


def test_what_the_truth_could_be_is_drawn_from_the_uncertainty():
    draws, rng = 40_000, np.random.default_rng(0)
    mean = Estimate.mean(np.random.default_rng(1).normal(0.3, 1, size=25))
    drawn = mean.drawn(draws, rng)
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([mean.low, mean.high], abs=0.02)
    assert (drawn < 0).mean() == pytest.approx(mean.at_most(0), abs=0.005)
    share = Estimate.share(9, 40).drawn(draws, rng)
    assert np.quantile(share, [0.025, 0.975]) == pytest.approx(stats.beta(9.5, 31.5).ppf([0.025, 0.975]), abs=0.005)
    assert 0 < Estimate.share(0, 40).drawn(draws, rng).mean() < 0.05  # none of 40 is not none of all
    assert (mean.size().drawn(draws, rng) >= 0).all()
    assert np.unique(Estimate.exact(16.6).drawn(5, rng)).tolist() == [16.6]
    given = Estimate(1.0, 0.0, 2.0).drawn(draws, rng)
    assert np.quantile(given, [0.025, 0.975]) == pytest.approx([0, 2], abs=0.03)
    assert np.unique(Estimate(1.0).drawn(5, rng)).tolist() == [1.0]
