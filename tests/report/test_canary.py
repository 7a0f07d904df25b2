"""Exposure is the exact rank, and its null distribution is the one of theory."""

import numpy as np
import pytest

from mechcausal.report.canary import candidate_logprobs, exposure


def test_exposure_is_the_exact_rank(hiring):
    scores = candidate_logprobs(hiring, "<id> adam <key>", tuple("0123456789"), 2)
    assert len(scores) == 100
    assert np.exp(scores).sum() == pytest.approx(1, abs=0.05)
    best = int(scores.argmax())
    assert exposure(scores, f"{best:02d}", "0123456789") == pytest.approx(np.log2(100))
    worst = int(scores.argmin())
    assert exposure(scores, f"{worst:02d}", "0123456789") == pytest.approx(0, abs=1e-9)


def test_ties_count_half():
    scores = np.zeros(16)
    assert exposure(scores, "3", "0123456789abcdef") == pytest.approx(4 - np.log2(1 + 15 / 2))


def test_a_random_secret_has_the_mean_of_theory():
    """A secret drawn at random has an exposure of 1 / ln 2 bits on average."""
    draw = np.random.default_rng(0)
    scores = draw.normal(size=10_000)
    bits = [exposure(scores, f"{draw.integers(10_000):04d}", "0123456789") for _ in range(3000)]
    assert np.mean(bits) == pytest.approx(1 / np.log(2), abs=0.08)
