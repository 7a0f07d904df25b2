"""How well a score tells two kinds of texts apart: areas and rates with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from mechcausal.audits.estimate import Estimate


def auc(score: np.ndarray, positive: np.ndarray, clusters: Sequence[Any] = (), level: float = 0.95) -> Estimate:
    """Return the chance that a positive scores above a negative, ties counted half, with DeLong's interval, clustered.

    Where the two do not overlap, DeLong's variance is zero; the interval is then the exact one of as many successes as
    the smaller side has units.

    Args:
        score: The score of each example.
        positive: Which examples are positive.
        clusters: The cluster of each example.
        level: The level of the interval.
    """
    ranks, m, n = stats.rankdata(score), int(positive.sum()), int((~positive).sum())
    if 0 in (m, n):
        return Estimate(float("nan"), n=len(score))
    inner = np.empty(len(score))  # the rank of each among its own kind
    inner[positive], inner[~positive] = stats.rankdata(score[positive]), stats.rankdata(score[~positive])
    above = (ranks - inner)[positive] / n  # the share of negatives below each positive
    below = 1 - (ranks - inner)[~positive] / m  # the share of positives above each negative
    if above.min() == 1 or above.max() == 0:
        exact = Estimate.share(int(above[0]) * min(m, n), min(m, n), level)
        return replace(exact, n=min(m, n))
    groups = np.asarray(clusters) if len(clusters) else np.arange(len(score))
    # DeLong: the variances of both placements add up, as they do for the difference of `above` and `-below`.
    both = Estimate.difference(above, -below, groups[positive], groups[~positive], level)
    shift = float(above.mean()) - both.value
    return replace(
        both, value=float(above.mean()), low=max(0.0, both.low + shift), high=min(1.0, both.high + shift), n=len(score)
    )


@dataclass(frozen=True)
class Operating:
    """How many members are caught where at most a share of nonmembers is accused.

    Attributes:
        fpr: The share that was asked for.
        caught: The share of members caught.
        accused: The share of nonmembers accused.
        eps_lower: What a differentially private training would need at least, by these rates.
        measurable: Whether there are nonmembers enough for such a share.
    """

    fpr: float
    caught: Estimate
    accused: Estimate
    eps_lower: float
    measurable: bool


def operating_point(score: np.ndarray, positive: np.ndarray, fpr: float, level: float = 0.95) -> Operating:
    """Return the operating point of a score where at most a share of negatives lies above the cutoff.

    Args:
        score: The score of each example.
        positive: Which are positive.
        fpr: The share.
        level: The level of the intervals (Clopper and Pearson).
    """
    negatives = np.sort(score[~positive])[::-1]
    allowed = int(np.floor(fpr * len(negatives) + 1e-9))
    # Above the cutoff lie at most as many negatives as are allowed, whatever the ties.
    cutoff = negatives[allowed] if allowed < len(negatives) else -np.inf
    caught = int((score[positive] > cutoff).sum())
    accused = int((negatives > cutoff).sum())
    m, n = int(positive.sum()), len(negatives)
    return Operating(
        fpr, Estimate.share(caught, m, level), Estimate.share(accused, n, level),
        eps_lower(caught, m, accused, n), allowed >= 1,
    )  # fmt: skip


def eps_lower(caught: int, members: int, accused: int, nonmembers: int, delta: float = 1e-5) -> float:
    """Return a lower bound of epsilon at 95 %: log((TPR_low - delta) / FPR_high), at least 0.

    A training that is (epsilon, delta)-private allows no attack with TPR > e^epsilon FPR + delta. Both ends are one-sided
    Clopper-Pearson bounds.

    Args:
        caught: How many members the attack names.
        members: How many there are.
        accused: How many nonmembers the attack names.
        nonmembers: How many there are.
        delta: The delta.

    Example:
        >>> round(eps_lower(900, 1000, 0, 1000), 2)
        5.69
    """
    low = Estimate.share(caught, members, 0.9).low
    high = Estimate.share(accused, nonmembers, 0.9).high
    return float(max(0.0, np.log((low - delta) / high))) if low > delta else 0.0
