"""Exposures: vectors of tensorflow/privacy, the law of unseen secrets, and what an organism was taught."""

import numpy as np
import pytest
from scipy import stats

import mechcausal as mc
from mechcausal.audits.privacy.canaries import SHIPPED, Canaries
from mechcausal.audits.privacy.exposures import (
    NULL_MEAN,
    exposure_among,
    exposures,
    extrapolated_exposure,
    null_largest_p,
    null_mean_p,
)
from mechcausal.errors import DataError


@pytest.mark.parametrize(("perplexity", "bits"), [(0, 4.0), (3.5, 2.0), (20, np.log2(16) - np.log2(17))])
def test_vectors_of_tensorflow_privacy(perplexity, bits):
    assert exposure_among(perplexity, range(1, 17)) == pytest.approx(bits, abs=1e-12)


def test_the_extrapolation_is_the_law_it_was_fitted_to():
    law = stats.skewnorm(3.0, loc=20, scale=5)
    points = np.array([14.0, 18.0, 25.0])
    found = extrapolated_exposure(points, law.rvs(20_000, random_state=0))
    assert np.abs(found - -law.logcdf(points) / np.log(2)).max() < 0.6
    assert np.abs(found[1:] - -law.logcdf(points[1:]) / np.log(2)).max() < 0.05


def test_chances_under_the_null_are_uniform():
    draws = np.random.default_rng(0)
    means, largest = [], []
    for _ in range(400):
        values = np.log2(10_000) - np.log2(draws.integers(1, 10_001, 6))
        means.append(null_mean_p(values))
        largest.append(null_largest_p(values))
    assert stats.kstest(means, "uniform").pvalue > 0.01
    assert stats.kstest(largest, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_secrets_that_were_never_shown_have_uniform_ranks():  # A10
    model, canaries = mc.load("organism:hiring_exposed"), SHIPPED["hiring_exposed"](3)
    table = exposures(model, canaries)
    unseen = table.loc[table["count"] == 0, "exposure"]
    assert len(unseen) >= 40
    assert 1.0 <= unseen.mean() <= 1.9
    assert stats.kstest(unseen, stats.expon(scale=NULL_MEAN).cdf).pvalue > 0.01
    shown = table[table["count"] > 0]
    by_count = shown.groupby("count")["exposure"].mean()
    assert by_count.is_monotonic_increasing, by_count
    assert by_count.loc[64] > 10


def test_an_extrapolated_exposure_is_near_the_exact_one():
    model, canaries = mc.load("organism:hiring"), SHIPPED["hiring_secret"](0).take([0, 8, 9, 10])
    exact = exposures(model, canaries)
    found = exposures(model, canaries, method="extrapolated", references=400)
    assert found["rank"].isna().all()
    assert found["exposure"][0] > 8
    assert np.abs(found["exposure"][1:] - exact["exposure"][1:]).max() < 1.0
    assert np.allclose(found["log_probability"], exact["log_probability"], atol=1e-4)


def test_too_many_candidates_are_refused_before_anything_is_run(hiring):
    canaries = Canaries.read(
        [{"prefix": "<id> adam <key>", "secret": "4" * 9}], candidates_are="digits:9", separator=" "
    )
    with pytest.raises(DataError, match="extrapolated"):
        exposures(hiring, canaries)
