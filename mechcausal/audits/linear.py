"""One number for each unit whose mean is an estimate, so that two answers about the same data are compared unit by unit.

Of a mean these are the values themselves. Of another statistic they are its linearization: the estimate, and to it what the
unit adds to first order, its influence (Hampel 1974). Their mean is the estimate, and the clustered standard error of that mean
is the standard error of the estimate to first order. The same holds of the difference of two such numbers, so that what two
models have in common (the same examples are hard for both) cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from mechcausal.data.splits import cluster_numbers

DRAWS = 400
"""How often clusters are drawn again for a number that no unit has a part of."""


def as_units(values: np.ndarray) -> tuple[float, ...]:
    """Return units as an answer holds them; none where a number is missing, because there is then no estimate."""
    return tuple(map(float, values)) if len(values) and np.isfinite(values).all() else ()


def of_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return the units of mean(above) / mean(below); NaN where there is no such ratio."""
    average = below.mean()
    if not average:
        return np.full(len(above), np.nan)
    ratio = above.mean() / average
    return ratio + (above - ratio * below) / average


def among(values: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Return units for all where only members have any: the others add nothing.

    Args:
        values: The units of the members, in their order.
        member: Which of all are members.
    """
    mean = float(values.mean()) if len(values) else float("nan")
    units = np.full(len(member), mean)
    units[member] += (values - mean) * len(member) / max(1, len(values))
    return units


def of_part(values: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Return the units of the mean over members, such as those of one group or of one environment.

    Args:
        values: A number for each unit, members or not.
        member: Which are members.
    """
    return among(np.asarray(values, dtype=float)[member], member)


def of_difference(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the units of the mean over some less the mean over others."""
    return of_part(values, first) - of_part(values, second)


def of_balanced(hits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the units of the balanced accuracy: the mean over classes of the share of hits."""
    return np.mean([of_part(hits, classes == name) for name in np.unique(classes)], axis=0)


def of_area(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the units of the chance that a positive scores above a negative (DeLong et al. 1988): their placements."""
    ranks, inner = stats.rankdata(score), np.empty(len(score))
    inner[positive], inner[~positive] = stats.rankdata(score[positive]), stats.rankdata(score[~positive])
    below = (ranks - inner) / np.where(positive, (~positive).sum(), positive.sum())  # the share of the other kind below
    placed = np.where(positive, below, 1 - below)
    return of_part(placed, positive) + of_part(placed, ~positive) - placed[positive].mean()


def of_caught(score: np.ndarray, positive: np.ndarray, fpr: float) -> np.ndarray:
    """Return the units of the share of positives above the cutoff that at most a share of negatives exceeds.

    A negative above the cutoff moves the cutoff, and with it the share of positives by the slope of the ROC curve there. The
    slope is taken over twice as many negatives, on either side, as chance moves the cutoff by: the root of their number.

    Args:
        score: The score of each.
        positive: Which are positive.
        fpr: The share of negatives.
    """
    negatives = np.append(np.sort(score[~positive])[::-1], -np.inf)
    count = len(negatives) - 1
    allowed = int(np.floor(fpr * count + 1e-9))

    def caught(accused: int) -> np.ndarray:
        return (score > negatives[accused]).astype(float)

    reach = int(np.ceil(2 * np.sqrt(allowed)))
    ends = max(0, allowed - reach), min(count, allowed + reach)
    rates = [float(caught(end)[positive].mean()) for end in ends]
    slope = (rates[1] - rates[0]) * count / max(1, ends[1] - ends[0])
    above = caught(allowed)
    accused = of_part(above, ~positive)
    return of_part(above, positive) - slope * (accused - accused.mean())


def of_correlation(first: np.ndarray, second: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the units of Pearson's correlation over groups, from the means of their members.

    Args:
        first: A number for each group.
        second: Another one.
        members: The number of the group of each unit; each group has some.
    """
    standard = [
        (values - values.mean()) / values.std() if values.std() else values * np.nan for values in (first, second)
    ]
    value = float(np.mean(standard[0] * standard[1]))
    influence = standard[0] * standard[1] - value * (standard[0] ** 2 + standard[1] ** 2) / 2
    share = np.bincount(members) / len(members) * len(first)  # how many units stand for a group
    return value + (influence / share)[members]


def named(clusters: Sequence[Any], rows: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """Return the clusters of units that are a part of the data; without any their rows, so that other parts are not taken for it.

    Args:
        clusters: The clusters of these units; empty where each is its own.
        rows: Which rows of the data they are.
    """
    return tuple(map(str, clusters)) if len(clusters) else tuple(f"row {row}" for row in rows)


def resampled(
    statistic: Callable[[np.ndarray], float], clusters: Sequence[Any] | np.ndarray, n: int, draws: int = DRAWS
) -> tuple[float, ...]:
    """Return a number under draws of the clusters, which are the same for all answers about the same units.

    For numbers that jump: a rank correlation over few sites stays as it is when most clusters are left out, so that no unit
    has a part of it and no straight line follows it (over a dozen heads one explains less than half of its variance).

    Args:
        statistic: Computes the number from how often each cluster was drawn, [cluster].
        clusters: The cluster of each unit; each is its own without them.
        n: How many units there are.
        draws: How many draws.
    """
    size, rng = int(cluster_numbers(clusters, n).max()) + 1, np.random.default_rng(59)
    return tuple(float(statistic(rng.multinomial(size, np.full(size, 1 / size)))) for _ in range(draws))
