"""Many tests at once: q-values, family-wise p-values, and the largest statistic under sign flips of whole clusters.

Benjamini-Hochberg (1995) bounds the share of false findings among those reported, Holm (1979) and max-T the chance of
a single one. Max-T (Westfall and Young 1993, step-down) knows how the tests hang together, which heads of one model
do: it flips the signs of whole clusters, all tests alike, and asks how often the largest statistic gets this large.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from mechcausal.errors import ResultError

_CHUNK = 512  # sign flips at a time


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
    sums, counts = _by_cluster(values, clusters)
    t = _statistics(np.ones((1, len(sums))), sums, counts)[0]
    groups = (counts > 0).sum(axis=0)
    p = np.where(groups < 2, np.nan, 2 * stats.t.sf(np.abs(t), np.maximum(groups - 1, 1)))
    return np.where(groups < 2, np.nan, t), p


def max_t(values: np.ndarray, clusters: Sequence[str] = (), *, draws: int = 4999, seed: int = 0) -> np.ndarray:
    """Return for each cell the p-value of "the mean is zero", adjusted for all cells, by step-down max-T.

    Under the null hypothesis a cluster is as likely to have its effects as their negatives. With few clusters all
    sign flips are made and the p-values are exact; otherwise they rest on `draws` random ones.

    Args:
        values: One number per cell and example, [cell example]; NaN where a cell lacks the example.
        clusters: The cluster of each example; each is its own without them.
        draws: How many sign flips.
        seed: The seed of the flips.
    """
    if draws < 1:
        raise ResultError("at least one sign flip is needed", got=draws)
    sums, counts = _by_cluster(values, clusters)
    tested = np.flatnonzero((counts > 0).sum(axis=0) >= 2)
    out = np.full(values.shape[0], np.nan)
    if len(tested) == 0:
        return out
    sums, counts = sums[:, tested], counts[:, tested]
    observed = np.abs(_statistics(np.ones((1, len(sums))), sums, counts)[0])
    order = np.argsort(-observed, kind="stable")
    sums, counts, observed = sums[:, order], counts[:, order], observed[order]
    # Equal statistics may differ in the last digits, because flipped sums round otherwise.
    reach = np.where(np.isfinite(observed), observed * (1 - 1e-9), observed)
    flips = _flips(len(sums), draws, seed)
    hits = np.zeros(len(tested))
    for start in range(0, len(flips), _CHUNK):
        drawn = np.abs(_statistics(flips[start : start + _CHUNK], sums, counts))
        # Each test competes with those below it alone: those above have been decided.
        largest = np.maximum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]
        hits += (largest >= reach).sum(axis=0)
    complete = len(flips) == 2 ** len(sums)
    p = hits / len(flips) if complete else (hits + 1) / (len(flips) + 1)
    out[tested[order]] = np.maximum.accumulate(p)
    return out


def _ranked(p: Sequence[float] | np.ndarray, adjusted: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    given = np.asarray(p, dtype=float)
    if ((given < 0) | (given > 1)).any():
        raise ResultError("a p-value lies between 0 and 1", got=given[(given < 0) | (given > 1)][0])
    out = np.full(given.shape, np.nan)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    out[order] = np.minimum(adjusted(given[order]), 1.0)
    return out


def _by_cluster(values: np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum and the number of finite values, each [cluster cell]."""
    if values.ndim != 2 or (len(clusters) and len(clusters) != values.shape[1]):
        raise ResultError(
            "values are [cell example], with one cluster per example",
            got=f"{values.shape} and {len(clusters)} clusters",
        )
    ids = np.unique(np.asarray(clusters), return_inverse=True)[1] if len(clusters) else np.arange(values.shape[1])
    finite = np.isfinite(values)
    sums, counts = (np.zeros((int(ids.max(initial=-1)) + 1, values.shape[0])) for _ in range(2))
    np.add.at(sums, ids, np.where(finite, values, 0.0).T)
    np.add.at(counts, ids, finite.T.astype(float))
    return sums, counts


def _statistics(flips: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the cluster-robust t of every cell under every flip, [flip cell].

    The error of a mean is sqrt(G / (G - 1) * sum over clusters of (sum - count * mean)^2) / n, in which a flip changes
    the sign of the sum only, so that the square needs no loop over clusters.
    """
    n, groups = counts.sum(axis=0), (counts > 0).sum(axis=0)
    total = flips @ sums
    mean = total / np.maximum(n, 1)
    squares = (sums**2).sum(axis=0) - 2 * mean * (flips @ (counts * sums)) + mean**2 * (counts**2).sum(axis=0)
    # A sum of squares that cancels to rounding is zero: all clusters agree.
    squares = np.where(squares <= 1e-13 * (sums**2).sum(axis=0), 0.0, squares)
    error = np.sqrt(groups / np.maximum(groups - 1, 1) * squares) / np.maximum(n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / error
    return np.where(error == 0, np.where(mean == 0, 0.0, np.copysign(np.inf, mean)), t)


def _flips(groups: int, draws: int, seed: int) -> np.ndarray:
    if groups < 40 and 2**groups <= draws + 1:
        return np.array(list(itertools.product((1.0, -1.0), repeat=groups)))
    return np.random.default_rng(seed).choice((1.0, -1.0), size=(draws, groups))
