"""Double machine learning: the effect of a concept of two values on a number, adjusted for columns that were cross-fitted.

With d the concept (1 and 0), y the outcome, m = E[d | x] and l = E[y | x] as expected by learners that did not see the
example's fold (Chernozhukov et al. 2018, equations 4.4 and 5.3):

    partially linear   y = theta d + g(x) + noise       theta = mean((d - m) (y - l)) / mean((d - m)^2)
    interactive        y = g(d, x) + noise              theta = mean(g1 - g0 + d (y - g1) / m - (1 - d) (y - g0) / (1 - m))

The first is the more precise. Where the effect differs between texts, it is a mean over them in which texts count by how
undecided the concept is, (d - m)^2; the second is the plain mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.explaining.nuisances import Expected, expected
from mechcausal.probes.held_out import area, folds_of

SURE = 0.05
"""A concept whose chance is below this, or above 1 less this, is counted as nearly certain."""
_CLIP = 0.01  # chances nearer to 0 or 1 are moved here, so that no example weighs more than a hundred others


@dataclass(frozen=True, eq=False)
class Double:
    """An effect, estimated in two ways, with all that it rests on.

    Attributes:
        concept: 1 and 0.
        outcome: The number that it acts on.
        x: The columns that are adjusted for.
        fold: The fold of each example.
        clusters: The cluster of each example; each is its own without them.
        level: The level of the intervals.
        chance: What is expected of the concept.
        mean: What is expected of the outcome.
        seed: The seed of the forests.
    """

    concept: np.ndarray
    outcome: np.ndarray
    x: np.ndarray
    fold: np.ndarray
    clusters: Sequence[Any]
    level: float
    chance: Expected
    mean: Expected
    seed: int = 0

    @property
    def left(self) -> tuple[np.ndarray, np.ndarray]:
        """What is left of the concept, and of the outcome, when what was expected is taken away."""
        return self.concept - self.chance.values, self.outcome - self.mean.values

    @property
    def naive(self) -> Estimate:
        """The difference of the means, adjusted for nothing."""
        return self._difference(self.outcome)

    @property
    def explained(self) -> Estimate:
        """The difference of the means of what is expected of the outcome without looking at the concept."""
        return self._difference(self.mean.values)

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """The numerator and the denominator of the partially linear estimate, of each example."""
        concept, outcome = self.left
        return concept * outcome, concept**2

    @property
    def partially_linear(self) -> Estimate:
        """The effect, if it is the same in all texts."""
        return Estimate.ratio(*self.parts, self.clusters, self.level)

    @cached_property
    def scores(self) -> np.ndarray:
        """The numbers whose mean is the interactive estimate, of each example."""
        means = [
            expected(self.x, self.outcome, self.fold, self.concept == side, seed=self.seed).values for side in (0, 1)
        ]
        chance = np.clip(self.chance.values, _CLIP, 1 - _CLIP)
        errors = [self.outcome - mean for mean in means]
        return (
            means[1] - means[0] + self.concept * errors[1] / chance - (1 - self.concept) * errors[0] / (1 - chance)
        )  # fmt: skip

    @property
    def interactive(self) -> Estimate:
        """The mean effect, which may differ between texts."""
        return Estimate.mean(self.scores, self.clusters, self.level)

    @property
    def auc(self) -> float:
        """How well the columns tell the concept in folds that the learner did not see: 0.5 is not at all, 1 is always."""
        folds = [self.fold == number for number in np.unique(self.fold)]
        areas = np.array([area(self.chance.values[inside], self.concept[inside] == 1) for inside in folds])
        return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")

    @property
    def nearly_certain(self) -> float:
        """The share of examples whose concept is nearly certain from the columns."""
        return float(np.mean((self.chance.values < SURE) | (self.chance.values > 1 - SURE)))

    @property
    def alone(self) -> float:
        """The share of examples whose concept is certain from the columns: what the other value would do there is unseen."""
        return float(np.mean((self.chance.values < _CLIP) | (self.chance.values > 1 - _CLIP)))

    @property
    def robustness(self) -> float:
        """What an omitted cause must explain of what is left of both concept and outcome to bring the estimate to zero.

        The robustness value of Cinelli and Hazlett (2020), as a share of the variance: near 0 a weak cause would do, near
        1 none.
        """
        concept, outcome = self.left
        share = float((concept @ outcome) ** 2 / max(float((concept @ concept) * (outcome @ outcome)), 1e-300))
        if share >= 1 - 1e-12:
            return 1.0
        strength = share / (1 - share)
        return float((np.sqrt(strength**2 + 4 * strength) - strength) / 2)

    def weighted(self, effects: np.ndarray) -> Estimate:
        """Return the mean of known effects of the same examples, weighted as the partially linear estimate weights them."""
        weights = self.parts[1]
        return Estimate.ratio(weights * effects, weights, self.clusters, self.level)

    def _difference(self, values: np.ndarray) -> Estimate:
        sides = [self.concept == side for side in (1, 0)]
        names = [np.asarray(self.clusters)[side] for side in sides] if len(self.clusters) else [(), ()]
        return Estimate.difference(values[sides[0]], values[sides[1]], names[0], names[1], self.level)


def double(
    concept: np.ndarray,
    outcome: np.ndarray,
    x: np.ndarray,
    units: np.ndarray,
    *,
    clusters: Sequence[Any] = (),
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Double:
    """Cross-fit what is expected of the concept and of the outcome.

    Args:
        concept: 1 and 0.
        outcome: The number that it acts on.
        x: The columns that are adjusted for, [example column].
        units: The unit of each example, a number; none is split between folds.
        clusters: What intervals are clustered by; each example is its own without them.
        folds: How many folds.
        seed: The seed of folds and forests.
        level: The level of the intervals.
    """
    fold = folds_of(concept.astype(int), units, folds, seed)
    chance = expected(x, concept.astype(float), fold, classes=True, seed=seed)
    mean = expected(x, outcome, fold, seed=seed)
    return Double(concept.astype(float), outcome, x, fold, clusters, level, chance, mean, seed)


def median_of_splits(fits: Sequence[Double]) -> tuple[Double, Estimate]:
    """Return the fit with the median of the interactive estimates, and that estimate with what splits add to its error.

    How examples fall into folds is chance; a median over splits depends on it less (Chernozhukov et al. 2018, definition 3.3).

    Args:
        fits: An odd number of fits that differ in their folds alone.
    """
    estimates = [fit.interactive for fit in fits]
    values = np.array([estimate.value for estimate in estimates])
    chosen = int(np.argsort(values, kind="stable")[len(values) // 2])
    middle = estimates[chosen]
    errors = np.array([estimate.error for estimate in estimates])
    error = float(np.sqrt(np.median(errors**2 + (values - middle.value) ** 2)))
    reach = (middle.high - middle.low) / 2 * error / middle.error if middle.error > 0 else 0.0
    return fits[chosen], replace(middle, low=middle.value - reach, high=middle.value + reach, error=error)
