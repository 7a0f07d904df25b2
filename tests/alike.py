"""Made-up answers of two models that are wrong about the same examples, where the true difference is known."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import stats
from scipy.special import expit

from mechcausal.audits import linear
from mechcausal.audits.accuracy.calibration import expected_error, signed
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.explaining.validity import spearman
from mechcausal.audits.finding import Answer
from mechcausal.audits.privacy.curves import auc, operating_point

N_CLUSTERS, IN_EACH = 120, 3
N = N_CLUSTERS * IN_EACH
CLUSTERS = tuple(f"template {number // IN_EACH:03}" for number in range(N))
OWN = 0.2  # the noise that a model does not share with the other, beside 1 of what it does


def noise(draw):
    """Return what is hard for both models: half of it is common to a cluster."""
    return (np.repeat(draw.normal(size=N_CLUSTERS), IN_EACH) + draw.normal(size=N)) / np.sqrt(2)


def answered(estimate, units, clusters=CLUSTERS, resamples=()):
    return Answer(
        estimate, f"it is {estimate}", units=linear.as_units(units), unit_clusters=clusters, resamples=resamples
    )


def _two(draw):
    shared = noise(draw)
    return [shared + OWN * draw.normal(size=N) for _ in range(2)]


SD = np.sqrt(1 + OWN**2)


def shares_kept(draw, change=-0.1):
    """Faithfulness: a ratio of what a circuit keeps to the behavior."""
    behavior = 3 + noise(draw)
    kept = [share * behavior + each for share, each in zip((0.7, 0.7 + change), _two(draw), strict=True)]
    return [
        answered(Estimate.ratio(each, behavior, CLUSTERS), linear.of_ratio(each, behavior)) for each in kept
    ], change


def areas(draw, change=-0.15):
    """Membership: an AUC, of texts that are likely or not for both models."""
    member = np.repeat(np.arange(N_CLUSTERS) % 2 == 0, IN_EACH)
    apart = 1.0, 1.0 + change
    scores = [each + far * member for each, far in zip(_two(draw), apart, strict=True)]
    truth = np.subtract(*(stats.norm.cdf(far / (np.sqrt(2) * SD)) for far in reversed(apart)))
    return [answered(auc(score, member, CLUSTERS), linear.of_area(score, member)) for score in scores], truth


def shares_caught(draw):
    """Membership: the share of members that are caught while 10 % of nonmembers are accused."""
    member = np.repeat(np.arange(N_CLUSTERS) % 2 == 0, IN_EACH)
    apart = 1.4, 1.1
    scores = [each + far * member for each, far in zip(_two(draw), apart, strict=True)]
    truth = np.subtract(*(stats.norm.sf(stats.norm.ppf(0.9) - far / SD) for far in reversed(apart)))
    made = [(operating_point(score, member, 0.1).caught, linear.of_caught(score, member, 0.1)) for score in scores]
    return [answered(*each) for each in made], truth


def balanced_accuracies(draw):
    """Attribute inference: classes of unequal size."""
    classes = (draw.random(N) < 0.3).astype(int)
    limits = np.array([[0.8, 0.0], [0.7, -0.2]])
    hits = [(each < limit[classes]).astype(float) for each, limit in zip(_two(draw), limits, strict=True)]
    truth = float(np.diff(stats.norm.cdf(limits / SD).mean(1))[0])
    weights = 1 / (2 * np.bincount(classes) / N)[classes]
    return [
        answered(Estimate.mean(each * weights, CLUSTERS), linear.of_balanced(each, classes)) for each in hits
    ], truth


def falls(draw, worst=(2, 2)):
    """Environments: the largest fall of accuracy, in environments that need not be the same for both models."""
    where = np.arange(N) % 3
    limits = [np.array([1.2, 0.8, 0.8]) for _ in range(2)]
    for limit, name, fall in zip(limits, worst, (0.2, 0.0), strict=True):
        limit[name] = fall
    hits = [(each < limit[where]).astype(float) for each, limit in zip(_two(draw), limits, strict=True)]
    names = np.array(CLUSTERS)
    answers = []
    for each in hits:
        found = [
            Estimate.difference(*(each[where == side] for side in (0, other)), *(names[where == side] for side in (0, other)))
            for other in (1, 2)
        ]  # fmt: skip
        low = 1 + int(np.argmax([fall.value for fall in found]))
        answers.append(answered(Estimate.largest(found), linear.of_difference(each, where == 0, where == low)))
    rates = [stats.norm.cdf(limit / SD) for limit in limits]
    return answers, (rates[1][0] - rates[1].min()) - (rates[0][0] - rates[0].min())


def other_falls(draw):
    """Environments: the same, where another environment is the worst for the second model."""
    return falls(draw, worst=(1, 2))


@cache
def _too_sure():
    log_odds = 0.5 + np.abs(stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000))
    return float((expit(2.5 * log_odds) - expit(2 * log_odds)).mean())


def errors_of_calibration(draw):
    """Calibration: both models are too sure, of the same decisions."""
    log_odds = 0.5 + np.abs(noise(draw))
    right = (draw.random(N) < expit(log_odds)).astype(float)
    answers = []
    for factor in (2, 2.5):
        sure = expit(factor * log_odds)
        moved = signed(sure, right, 5)
        spread = Estimate.mean(moved, CLUSTERS)
        assert np.isclose(spread.value, expected_error(sure, right, 5))
        answers.append(answered(spread, moved))
    return answers, _too_sure()


def rank_correlations(draw, sites=20):
    """Interventional validity: predictions of two models of the same effects; the second predicts less well."""
    effects = np.linspace(-1, 1, sites)
    measured = effects[:, None] + 2 * noise(draw) * draw.choice([-1, 1], sites)[:, None]
    answers, truths = [], []
    for wrong in (0.3, 0.8):
        predicted = effects + wrong * np.resize([1, -1, 0.4, -0.3, -0.7], sites)
        sums = measured.reshape(sites, N_CLUSTERS, IN_EACH).sum(2)

        def correlation(weight, sums=sums, predicted=predicted):
            return spearman(predicted, sums @ weight)

        drawn = linear.resampled(correlation, CLUSTERS, N, draws=200)
        value = correlation(np.ones(N_CLUSTERS))
        low, high = np.quantile(drawn, [0.025, 0.975])
        answers.append(
            answered(Estimate.interval(value, min(low, value), max(high, value), N), np.array([]), resamples=drawn)
        )
        truths.append(spearman(predicted, effects))
    return answers, truths[1] - truths[0]


KINDS = {
    "faithfulness": shares_kept, "membership": areas, "tpr": shares_caught, "attribute_inference": balanced_accuracies,
    "environments": falls, "other environments": other_falls, "calibration": errors_of_calibration,
}  # fmt: skip
