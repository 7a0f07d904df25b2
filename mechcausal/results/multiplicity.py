"""Many tests at once: q-values, family-wise p-values, and the largest statistic under sign flips of whole clusters.

Benjamini-Hochberg (1995) bounds the share of false findings among those reported. Holm (1979) and max-T bound the chance
of a single one. Max-T (Westfall and Young 1993, step-down) takes into account that the tests depend on each other, as those
of the heads of one model do: it flips the signs of whole clusters, in all tests alike, and counts how often the largest
statistic gets as large as the one observed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from mechcausal.errors import ResultError
from mechcausal.results.intervals import cluster_sums, clustered_means, t_tail

_NUMBERS = 2**18  # statistics that are held at a time: they stay in the cache
_MOST_COMPLETE = 40  # with more clusters the sign flips cannot all be made


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return q-values: reporting every test with q <= 0.1 keeps the expected share of false findings below 0.1.

    Tests without a p-value (NaN) are not counted.
    """

    def adjusted(ascending: np.ndarray) -> np.ndarray:
        m = len(ascending)
        scaled = ascending * m / np.arange(1, m + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _ranked(p, adjusted)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values adjusted for the chance of even one false finding, whatever the dependence of the tests."""

    def adjusted(ascending: np.ndarray) -> np.ndarray:
        m = len(ascending)
        return np.maximum.accumulate(ascending * np.arange(m, 0, -1))

    return _ranked(p, adjusted)


def t_test(values: np.ndarray, clusters: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return t and the two-sided p of "the mean is zero" for each cell, by the cluster-robust t-test.

    It rejects at 5 % where the 95 % interval of `mean_interval` leaves out zero. A cell that is zero throughout has
    p = 1; with fewer than two clusters there is no test (NaN).

    Args:
        values: One number per cell and example, [cell example]; NaN where a cell lacks the example.
        clusters: The cluster of each example; each is its own without them.
    """
    means = clustered_means(*cluster_sums(values, clusters))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where((means.mean == 0) & (means.error == 0), 0.0, means.mean / means.error)
    return t, np.minimum(2 * t_tail(np.abs(t), means.freedom), 1.0)


def max_t(values: np.ndarray, clusters: Sequence[str] = (), *, draws: int = 4999, seed: int = 0) -> np.ndarray:
    """Return for each cell the p-value of "the mean is zero", adjusted for all cells, by step-down max-T.

    Under the null hypothesis a cluster is as likely to have its effects as their negatives. With few clusters all
    sign flips are made and the p-values are exact; otherwise they rest on `draws` random ones. With G clusters no
    p-value is below 2 / 2^G (`smallest_p`).

    Args:
        values: One number per cell and example, [cell example]; NaN where a cell lacks the example.
        clusters: The cluster of each example; each is its own without them.
        draws: How many sign flips.
        seed: The seed of the flips.
    """
    if draws < 1:
        raise ResultError("at least one sign flip is needed", got=draws)
    sums, counts = cluster_sums(values, clusters)
    groups = np.broadcast_to((counts > 0).sum(axis=1), len(values))
    tested = np.flatnonzero(groups >= 2)
    out = np.full(len(values), np.nan)
    if len(tested) == 0:
        return out
    observed = _Statistic(sums[tested], counts if len(counts) == 1 else counts[tested])
    first = observed(np.ones((1, sums.shape[1])))[0]
    order = np.argsort(-first, kind="stable")
    tested, first = tested[order], first[order]
    statistic = _Statistic(sums[tested], counts if len(counts) == 1 else counts[tested])
    # Equal statistics may differ in the last digits, because flipped sums round otherwise.
    reach = np.where(np.isfinite(first), first * (1 - 1e-9), first)
    flips = _flips(sums.shape[1], draws, seed)
    hits = np.zeros(len(tested))
    chunk = max(1, _NUMBERS // len(tested))
    for start in range(0, len(flips), chunk):
        drawn = statistic(flips[start : start + chunk])
        # Each test competes with those below it alone: those above have been decided.
        largest = np.maximum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]
        hits += (largest >= reach).sum(axis=0)
    complete = len(flips) == 2 ** sums.shape[1]
    p = hits / len(flips) if complete else (hits + 1) / (len(flips) + 1)
    out[tested] = np.maximum.accumulate(p)
    return out


def smallest_p(groups: int, draws: int = 4999) -> float:
    """Return the smallest p-value that `max_t` can give with this many clusters."""
    return 2.0 ** (1 - groups) if groups < _MOST_COMPLETE and 2**groups <= draws + 1 else 1 / (draws + 1)


def _ranked(p: Sequence[float] | np.ndarray, adjusted: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    given = np.asarray(p, dtype=float)
    if ((given < 0) | (given > 1)).any():
        raise ResultError("a p-value lies between 0 and 1", got=given[(given < 0) | (given > 1)][0])
    out = np.full(given.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    out[order] = np.minimum(adjusted(given[order]), 1.0)
    return out


class _Statistic:
    """The square of the cluster-robust t of every cell under sign flips of whole clusters, [flip cell].

    The CR2 variance of a mean is the sum over clusters of w (s - count * mean)^2, over n^2, in which a flip changes the
    sign of the sum s only, so that it is a quadratic in the mean and needs no loop over clusters.

    Args:
        sums: The sum of each cluster, [cell cluster].
        counts: How many examples it has, [cell cluster], or one row where the cells have the same examples.
    """

    def __init__(self, sums: np.ndarray, counts: np.ndarray) -> None:
        n = counts.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            weight = np.where(counts < n, 1 / (1 - counts / n), 0.0)
        self.sums = sums.T
        self.squares = (weight * sums**2).sum(axis=1)
        # Where all clusters weigh the same, the cross term is the total again.
        cross = weight * counts
        self.equal = len(cross) == 1 and bool((cross == cross[0, 0]).all())
        self.cross = cross[0, 0] if self.equal else (cross * sums).T
        self.n, self.bend = n[:, 0], (weight * counts**2).sum(axis=1)

    def __call__(self, flips: np.ndarray) -> np.ndarray:
        """Return t^2 for each flip and cell; a mean without spread is infinitely far from zero."""
        total = flips @ self.sums
        cross = total * self.cross if self.equal else flips @ self.cross
        mean = total / self.n
        cross *= -2
        cross += mean * self.bend
        cross *= mean
        cross += self.squares
        # What cancels to rounding is zero: all clusters agree.
        none = cross <= 1e-13 * self.squares
        with np.errstate(divide="ignore", invalid="ignore"):
            np.square(total, out=total)
            total /= cross
        if none.any():
            total[none] = np.where(mean[none] == 0, 0.0, np.inf)
        return total


def _flips(groups: int, draws: int, seed: int) -> np.ndarray:
    if groups < _MOST_COMPLETE and 2**groups <= draws + 1:
        return np.array(list(itertools.product((1.0, -1.0), repeat=groups)))
    return np.random.default_rng(seed).choice((1.0, -1.0), size=(draws, groups))
