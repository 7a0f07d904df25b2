"""A9, A13, A14 and A15: data that are drawn from a known law, and what the tests, intervals and adversaries make of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats
from scipy.special import expit

from mechcausal.audits.accuracy.calibration import calibration_slope, expected_error, simulated
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.logistic import interacts
from mechcausal.audits.privacy.adversaries import readers
from mechcausal.audits.selftest.checks import Check, above, below, between, checks_of, near
from mechcausal.results.multiplicity import benjamini_hochberg, max_t

AGREEMENT = {"a": 0.95, "b": 0.5, "c": 0.1}
"""How often gender and label agree in each environment."""


def world(draw: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return profession, gender, label and environment: the profession causes the label alike everywhere, gender goes along."""
    environment = np.repeat(list(AGREEMENT), n)
    profession = draw.normal(size=len(environment))
    label = (draw.random(len(environment)) < expit(1.5 * profession)).astype(float)
    agrees = draw.random(len(environment)) < np.repeat(list(AGREEMENT.values()), n)
    return profession, np.where(agrees, label, 1 - label), label, environment


def decided(draw: np.random.Generator, n: int, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-odds of decisions that are too sure by a factor, and whether they are right."""
    log_odds = np.abs(draw.normal(0, 2, size=n))
    return factor * log_odds, (draw.random(n) < expit(log_odds)).astype(float)


def two_classes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return classes and six coordinates that have nothing to do with them."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 2, n), draw.normal(size=(n, 6))


def exclusive_or(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return classes that the product of two coordinates tells, and neither of them alone; all four cases are as frequent."""
    draw = np.random.default_rng(0)
    order = draw.permutation(n)
    y, first = (np.arange(n) % 2)[order], (1 - 2 * (np.arange(n) // 2 % 2))[order]
    x = draw.normal(size=(n, 6))
    x[:, 0] = 3 * first + 0.3 * x[:, 0]
    x[:, 1] = 3 * first * (2 * y - 1) + 0.3 * x[:, 1]
    return y, x


@checks_of("A9", "causes are invariant, correlates are not")
def invariance(quick: bool) -> Iterator[Check]:
    """Test both relations in three environments, and how often the test rejects a cause."""
    profession, gender, label, environment = world(np.random.default_rng(1), 1500)
    yield above("p of the profession, a cause", interacts(profession, label, environment)[2], 0.01)
    yield below("p of gender, a correlate", interacts(gender, label, environment)[2], 1e-6)
    rejected = []
    for seed in range(60):
        profession, _, label, environment = world(np.random.default_rng([seed, 7]), 200 if quick else 300)
        rejected.append(interacts(profession, label, environment)[2] <= 0.05)
    yield between("share of 60 draws in which a cause is rejected at .05", float(np.mean(rejected)), 0.01, 0.12, "0.05")


@checks_of("A13", "what an adversary can read")
def adversaries(quick: bool) -> Iterator[Check]:
    """Read a planted difference, an exclusive or, and nothing."""
    for delta in (0.0, 1.0, 2.0, 4.0):
        y, x = two_classes(4000)
        x[:, 2] += delta * y
        strongest = readers({"here": x}, y, np.arange(len(y)), ("linear",), folds=2)[0]
        yield near(
            f"accuracy where the means differ by {delta:g}",
            float(stats.norm.cdf(delta / 2)),
            strongest.estimate.value,
            0.02,
        )
    y, x = exclusive_or(1600)
    kinds = {
        reader.adversary: reader for reader in readers({"here": x}, y, np.arange(len(y)), ("linear", "mlp"), folds=2)
    }
    yield below("linear adversary on an exclusive or", kinds["linear"].estimate.value, 0.53, "0.5")
    yield above("an MLP on the same", kinds["mlp"].estimate.value, 0.9)
    chances = []
    for seed in range(8 if quick else 16):
        y, x = two_classes(120, seed)
        chances.append(readers({"here": x}, y, np.arange(120), ("linear", "quadratic"), folds=2, seed=seed)[0].p)
    flagged = float(np.mean(np.array(chances) <= 0.01))
    yield below("share of draws with nothing to read that are flagged at .01", flagged, 0.13, "0.01")


@checks_of("A14", "calibration")
def calibration(quick: bool) -> Iterator[Check]:
    """Measure the calibration error of a calibrated simulator against its null band, and the slope of one that is too sure."""
    inside, runs = 0, 100 if quick else 200
    for seed in range(runs):
        log_odds, right = decided(np.random.default_rng(seed), 200)
        sure = expit(log_odds)
        inside += expected_error(sure, right) <= simulated(sure, draws=199, seed=seed).quantile
    yield between("share of calibrated samples inside the null band", inside / runs, 0.9, 1.0, "0.95")
    draw, sizes = np.random.default_rng(0), {200: 0.088, 1000: 0.040, 10_000: 0.013}
    for n, error in sizes.items():
        yield near(
            f"calibration error of a calibrated model, n = {n:,}",
            error,
            simulated(draw.random(n), draws=200).mean,
            0.012,
        )
    slope = calibration_slope(*decided(np.random.default_rng(3), 4000, 2.0))
    yield near("slope of a model that is twice too sure", 0.5, slope.value, 0.04)


@checks_of("A15", "error rates and coverage")
def error_rates(quick: bool) -> Iterator[Check]:
    """Count false discoveries, false alarms and intervals that miss, over simulations."""
    draw, shares, powers = np.random.default_rng(2), [], []
    for _ in range(50 if quick else 200):
        z = draw.normal(size=2000)
        z[:40] += 3.8 * draw.choice([-1, 1], 40)
        discoveries = benjamini_hochberg(2 * stats.norm.sf(np.abs(z))) <= 0.1
        shares.append(discoveries[40:].sum() / max(1, discoveries.sum()))
        powers.append(discoveries[:40].mean())
    yield below("false discoveries among 2,000 features, 40 real, q = .1", float(np.mean(shares)), 0.12, "0.098")
    yield above("real ones that are found", float(np.mean(powers)), 0.5)
    alarms, runs = 0, 150 if quick else 300
    for seed in range(runs):
        draw = np.random.default_rng([seed, 3])
        shared = draw.normal(size=24)
        heads = draw.normal(size=(36, 24)) + shared  # all heads of a pair move together
        alarms += bool((max_t(heads, draws=499, seed=seed) <= 0.05).any())
    yield below("family-wise false alarms of max-T among dependent heads", alarms / runs, 0.08, "0.05")
    hits = {"clusters": 0, "rows": 0}
    runs = 300 if quick else 600
    for seed in range(runs):
        draw = np.random.default_rng([seed, 5])
        template = np.repeat(np.arange(12), 30)
        values = draw.normal(0, 0.4, 12)[template] + draw.normal(size=360)
        for how, clusters in (("clusters", template), ("rows", ())):
            estimate = Estimate.mean(values, clusters)
            hits[how] += estimate.low <= 0 <= estimate.high
    yield between("coverage of 95 % intervals, 12 templates of 30", hits["clusters"] / runs, 0.92, 0.98, "0.95")
    yield below("coverage of intervals that count rows", hits["rows"] / runs, 0.7)
