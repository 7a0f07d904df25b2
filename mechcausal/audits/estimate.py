"""An estimate with what it rests on: its interval, its clusters, and the chance of it where a bound is kept.

    Estimate.mean(flips, clusters)        # cluster-robust t-interval (CR2)
    Estimate.share(9, 1000)               # exact binomial interval of independent trials (Clopper and Pearson 1934)
    Estimate.exact(16.6, n=1)             # a number without sampling error, such as the rank of one canary

`at_most(bound)` and `at_least(bound)` are p-values of "the truth is no more (no less) than this".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mechcausal.errors import ResultError
from mechcausal.results.intervals import Means, cluster_sums, clustered_means, ratio_means

Law = Literal["t", "size", "binomial", "exact", "none"]


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is.

    Attributes:
        value: The number.
        low: The lower end of its interval; NaN where there is none.
        high: The upper end.
        n: How many units it rests on.
        n_clusters: How many independent clusters they form.
        level: The level of the interval.
        law: How its error is distributed: Student's t, the size of such a number (`size`), binomial, none because the number
            is exact, or not known.
        error: The standard error, of a t.
        freedom: The degrees of freedom, of a t.
        tests: Of how many estimates this one is the largest; its interval and its p-values are adjusted for them.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0
    n_clusters: int = 0
    level: float = 0.95
    law: Law = "none"
    error: float = float("nan")
    freedom: float = float("nan")
    tests: int = 1

    @classmethod
    def mean(cls, values: ArrayLike, clusters: Sequence[Any] | np.ndarray = (), level: float = 0.95) -> Estimate:
        """Return the mean of the finite values, with an interval that is clustered."""
        means = clustered_means(*cluster_sums(np.asarray(values, dtype=float)[None], clusters))
        return cls._of(float(means.mean[0]), means, level)

    @classmethod
    def rate(cls, values: ArrayLike, clusters: Sequence[Any] | np.ndarray = (), level: float = 0.95) -> Estimate:
        """Return the mean of zeros and ones with its interval.

        Where all of them are the same, their spread says nothing; then the interval is the exact binomial one of as many
        trials as there are clusters.
        """
        mean = cls.mean(values, clusters, level)
        if mean.error == 0 and mean.value in (0.0, 1.0):
            exact = cls.share(round(mean.value) * mean.n_clusters, mean.n_clusters, level)
            return replace(exact, n=mean.n)
        return mean

    @classmethod
    def ratio(
        cls,
        above: ArrayLike,
        below: ArrayLike,
        clusters: Sequence[Any] | np.ndarray = (),
        level: float = 0.95,
    ) -> Estimate:
        """Return mean(above) / mean(below), with the uncertainty of both."""
        ratio, spread = ratio_means(np.asarray(above, float)[None], np.asarray(below, float), clusters)
        return cls._of(float(ratio[0]), spread, level)

    @classmethod
    def difference(
        cls,
        first: ArrayLike,
        second: ArrayLike,
        first_clusters: Sequence[Any] | np.ndarray = (),
        second_clusters: Sequence[Any] | np.ndarray = (),
        level: float = 0.95,
    ) -> Estimate:
        """Return mean(first) - mean(second) of two sets, as one linear contrast; a cluster may have units in both."""
        left, right = (np.asarray(values, dtype=float) for values in (first, second))
        clusters = (
            np.array([*first_clusters, *second_clusters]) if len(first_clusters) else np.arange(len(left) + len(right))
        )
        member = np.r_[np.ones(len(left)), np.zeros(len(right))]
        values = np.r_[left, right]
        keep = np.isfinite(values)
        share = [float((member[keep] == side).mean()) for side in (1, 0)]
        if 0 in share:
            return cls(float("nan"), n=int(keep.sum()))
        means = [values[keep & (member == side)].mean() for side in (1, 0)]
        residual = np.where(member == 1, (values - means[0]) / share[0], -(values - means[1]) / share[1])
        spread = clustered_means(*cluster_sums(residual[None], clusters))
        return cls._of(float(means[0] - means[1]), replace(spread, mean=np.zeros(1)), level)

    @classmethod
    def share(cls, successes: int, n: int, level: float = 0.95) -> Estimate:
        """Return a share of independent trials, with the exact binomial interval."""
        if not 0 <= successes <= n or n < 1:
            raise ResultError("a share is of at least one trial", got=f"{successes} of {n}")
        tail = (1 - level) / 2
        low = float(stats.beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
        high = float(stats.beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
        return cls(successes / n, low, high, n, n, level, "binomial")

    @classmethod
    def exact(cls, value: float, n: int = 1) -> Estimate:
        """Return a number that has no sampling error."""
        return cls(float(value), float(value), float(value), n, n, law="exact")

    @classmethod
    def largest(cls, estimates: Sequence[Estimate]) -> Estimate:
        """Return the largest of several estimates, with an interval that holds for all of them at once (Bonferroni)."""
        return cls._extreme(estimates, 1)

    @classmethod
    def smallest(cls, estimates: Sequence[Estimate]) -> Estimate:
        """Return the smallest of several estimates, with an interval that holds for all of them at once (Bonferroni)."""
        return cls._extreme(estimates, -1)

    @classmethod
    def _extreme(cls, estimates: Sequence[Estimate], sign: int) -> Estimate:
        count = len(estimates)
        wide = [_widened(estimate, count) for estimate in estimates if np.isfinite(estimate.value)]
        if not wide:
            raise ResultError("there is no estimate among those of which the largest or the smallest was asked for")
        first = max(wide, key=lambda estimate: sign * estimate.value)
        low, high = (
            sign * max((sign * getattr(each, end) for each in wide if np.isfinite(getattr(each, end))), default=np.nan)
            for end in ("low", "high")
        )
        return replace(first, low=low, high=high, tests=count)

    @classmethod
    def interval(
        cls, value: float, low: float, high: float, n: int, n_clusters: int | None = None, level: float = 0.95
    ) -> Estimate:
        """Return a number with an interval from elsewhere; its tail is taken to be normal."""
        error = (high - low) / 2 / float(stats.norm.ppf(0.5 + level / 2))
        return cls(value, low, high, n, n if n_clusters is None else n_clusters, level, "t", error, float("inf"))

    @classmethod
    def _of(cls, value: float, means: Means, level: float) -> Estimate:
        low, high = (float(end[0]) - float(means.mean[0]) + value for end in means.interval(level))
        return cls(
            value, low, high, int(means.n[0]), int(means.n_clusters[0]), level, "t",
            float(means.error[0]), float(means.freedom[0]),
        )  # fmt: skip

    def size(self) -> Estimate:
        """Return the size of a difference whose direction nobody declared; its tests count both directions."""
        nearest, farthest = sorted((abs(self.low), abs(self.high)))
        low = 0.0 if self.low <= 0 <= self.high else nearest
        return replace(self, value=abs(self.value), low=low, high=farthest, law="size" if self.law == "t" else self.law)

    def at_most(self, bound: float) -> float:
        """Return the p-value of "the truth is at most this"; small where the estimate is clearly above."""
        return float(np.minimum(1.0, self.tests * self._tail(bound, 1)))  # of an unknown law it stays unknown

    def at_least(self, bound: float) -> float:
        """Return the p-value of "the truth is at least this"; small where the estimate is clearly below."""
        return min(1.0, self.tests * self._tail(bound, -1))

    def zero(self) -> float:
        """Return the two-sided p-value of "the truth is zero"."""
        return self.equals(0.0)

    def equals(self, value: float) -> float:
        """Return the two-sided p-value of "the truth is this"; of the size of a difference, of "it is no more"."""
        if self.law == "size":
            return self.at_most(value)
        return float(np.minimum(1.0, 2 * np.minimum(self.at_most(value), self.at_least(value))))

    def drawn(self, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Return numbers that the truth could be, drawn from the uncertainty of the estimate; equal ones where there is none.

        Args:
            draws: How many.
            rng: Where they come from.
        """
        match self.law:
            case "t" | "size" if np.isfinite(self.error):
                spread = rng.standard_t(self.freedom, draws) if np.isfinite(self.freedom) else rng.normal(size=draws)
                values = self.value + self.error * spread
                return np.abs(values) if self.law == "size" else values
            case "binomial":
                successes = round(self.value * self.n_clusters)
                return rng.beta(successes + 0.5, self.n_clusters - successes + 0.5, draws)  # Jeffreys
            case "none" if np.isfinite([self.low, self.high]).all():
                error = (self.high - self.low) / 2 / float(stats.norm.ppf(0.5 + self.level / 2))
                return self.value + error * rng.normal(size=draws)
        return np.full(draws, self.value)

    def within(self, low: float, high: float) -> bool:
        """Say whether the whole interval lies between two bounds."""
        return bool(self.low >= low and self.high <= high)

    def _tail(self, bound: float, sign: int) -> float:
        match self.law:
            case "exact":
                return 0.0 if sign * (self.value - bound) > 0 else 1.0
            case "t" | "size" if self.error == 0:
                return 0.0 if sign * (self.value - bound) > 0 else 1.0
            case "t":
                return float(stats.t.sf(sign * (self.value - bound) / self.error, self.freedom))
            case "size":
                law = stats.t(self.freedom, scale=self.error)
                if bound < 0:
                    return 0.0 if sign > 0 else 1.0
                above = float(law.sf(self.value - bound) + law.sf(self.value + bound))
                return above if sign > 0 else 1.0 - above
            case "binomial":
                successes, chance = round(self.value * self.n_clusters), min(max(bound, 0.0), 1.0)
                law = stats.binom(self.n_clusters, chance)
                return float(law.sf(successes - 1) if sign > 0 else law.cdf(successes))
        return float("nan")

    def __str__(self) -> str:
        """Print as `0.12 [0.08, 0.16]`."""
        text = f"{self.value:.3g}"
        return f"{text} [{self.low:.3g}, {self.high:.3g}]" if np.isfinite(self.low) and np.isfinite(self.high) else text


def _widened(estimate: Estimate, count: int) -> Estimate:
    """Return an estimate with the interval that it needs as one of several."""
    level = 1 - (1 - estimate.level) / count
    match estimate.law:
        case "t" if np.isfinite(estimate.error):
            reach = float(stats.t.ppf(0.5 + level / 2, estimate.freedom)) * estimate.error if estimate.error else 0.0
            return replace(estimate, low=estimate.value - reach, high=estimate.value + reach)
        case "binomial":
            exact = Estimate.share(round(estimate.value * estimate.n_clusters), estimate.n_clusters, level)
            return replace(estimate, low=exact.low, high=exact.high)
    return estimate
