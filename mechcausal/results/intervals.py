"""Intervals that respect clusters: examples of one template are not independent.

The interval of a mean is the t-interval with the bias-reduced cluster variance CR2 (Bell and McCaffrey 2002; Pustejovsky
and Tipton 2018) and their Satterthwaite degrees of freedom. With clusters of equal size it is the t-interval of the
cluster means. With unequal ones a large cluster pulls the mean towards itself, so that its residual is too small; CR2
gives that back, and the degrees of freedom say how many clusters the mean really rests on. A ratio of means is
linearized first, so that the uncertainty of its denominator counts.

`docs/statistics.md` says how often these intervals cover, and when they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special
from scipy.sparse import csr_array

from mechcausal.errors import ResultError

FEW = 4.0
"""With fewer effective clusters than this, results warn that their intervals are rough."""

_ROUNDING = 1e-13  # of the sum of squares, what is left by cancellation


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval and what it rests on.

    Attributes:
        estimate: The estimate.
        low: The lower end of the interval.
        high: The upper end.
        n: How many examples.
        n_clusters: How many clusters they form.
        effective_clusters: How many clusters of equal size would carry as much information about the spread.
    """

    estimate: float
    low: float
    high: float
    n: int
    n_clusters: int
    effective_clusters: float = float("nan")


@dataclass(frozen=True)
class Means:
    """The mean of each cell over clustered examples, with its standard error, [cell] each.

    Attributes:
        mean: The mean over examples.
        error: Its standard error, from the CR2 variance; NaN with fewer than two clusters.
        freedom: The Satterthwaite degrees of freedom of the error.
        n: How many examples.
        n_clusters: How many clusters have examples.
    """

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    n: np.ndarray
    n_clusters: np.ndarray

    @property
    def effective_clusters(self) -> np.ndarray:
        """How many clusters of equal size would give the same degrees of freedom."""
        return self.freedom + 1

    def interval(self, level: float = 0.95, bias: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the t-interval; it reaches further where the mean is known to be off by about a `bias`."""
        reach = t_quantile(0.5 + level / 2, self.freedom) * np.hypot(self.error, bias)
        return self.mean - reach, self.mean + reach


def cluster_sums(values: np.ndarray, clusters: Sequence[Any] | np.ndarray = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum and the number of finite values in each cluster, [cell cluster] each.

    Where no cell lacks an example the numbers are the same for all cells and have one row.

    Args:
        values: One number per cell and example, [cell example]; NaN where a cell lacks the example.
        clusters: The cluster of each example; each is its own without them.
    """
    if values.ndim != 2 or (len(clusters) and len(clusters) != values.shape[1]):
        raise ResultError(
            "values are [cell example], with one cluster per example",
            got=f"{values.shape} and {len(clusters)} clusters",
        )
    keep = np.isfinite(values)
    complete = bool(keep.all())
    sums = np.asarray(values, dtype=float) if complete else np.where(keep, values, 0.0)
    counts = np.ones((1, values.shape[1])) if complete else keep.astype(float)
    if not len(clusters):
        return sums, counts
    ids = np.unique(np.asarray(clusters), return_inverse=True)[1]
    member = csr_array((np.ones(len(ids)), (ids, np.arange(len(ids)))), shape=(int(ids.max(initial=-1)) + 1, len(ids)))
    return (member @ sums.T).T, (member @ counts.T).T


def clustered_means(sums: np.ndarray, counts: np.ndarray) -> Means:
    """Return the mean of each cell from the sums and counts of its clusters, [cell cluster] each.

    With h_c = n_c / n the leverage of a cluster and e_c its summed residual, the CR2 variance of the mean is
    sum of e_c^2 / (1 - h_c), over n^2. Its degrees of freedom are 2 E[V]^2 / Var[V] if all examples vary alike.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # cells without values, or with one cluster: NaN
        n, groups = counts.sum(1), (counts > 0).sum(1)
        mean = sums.sum(1) / n
        leverage = counts / n[:, None]
        weight = 1 / (1 - leverage)
        squares = (weight * (sums - counts * mean[:, None]) ** 2).sum(1)
        # What cancels to rounding is zero: all clusters agree.
        squares = np.where(squares <= _ROUNDING * (weight * sums**2).sum(1), 0.0, squares)
        error = np.sqrt(squares) / n
        # sum over c, d of w_c w_d cov(e_c, e_d)^2 / n^2, with cov(e_c, e_d) / n = h_c (1 - h_c) or - h_c h_d.
        pairs = (weight * leverage**2).sum(1) ** 2 - (weight**2 * leverage**4).sum(1)
        freedom = 1 / (pairs + (leverage**2).sum(1))
        error, freedom = (np.where(groups < 2, np.nan, part) for part in (error, freedom))
    freedom, n, groups = (np.broadcast_to(part, mean.shape) for part in (freedom, n.astype(int), groups))
    return Means(mean, error, freedom, n, groups)


def t_quantile(level: float, freedom: np.ndarray) -> np.ndarray:
    """Return the quantile of Student's t, with degrees of freedom that need not be whole."""
    return special.stdtrit(freedom, level)


def t_tail(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Return the chance that Student's t is larger than this."""
    return special.stdtr(freedom, -np.asarray(t))


def mean_interval(values: np.ndarray, clusters: Sequence[Any] | np.ndarray = (), level: float = 0.95) -> Interval:
    """Return the mean of the finite values with its interval; without clusters each value is its own."""
    return _first(mean_intervals(np.asarray(values, dtype=float)[None], clusters, level))


def mean_intervals(
    values: np.ndarray,
    clusters: Sequence[Any] | np.ndarray = (),
    level: float = 0.95,
    influence: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the fields of an `Interval` for each row of values, [row example].

    Args:
        values: The values.
        clusters: The cluster of each example; each is its own without them.
        level: The level of the intervals.
        influence: What each example adds to the mean of its row through something that was estimated on the same
            examples, [row example], to first order (see `influences`); it widens or narrows the interval and leaves
            the estimate. Its mean is the bias of the estimate: what examples add to their own numbers.
    """
    means = clustered_means(*cluster_sums(values, clusters))
    low, high = means.interval(level)
    if influence is not None:
        around, bias = around_and_bias(influence)
        wider = clustered_means(*cluster_sums(values + around, clusters)).interval(level, bias)
        low, high = (means.mean + (end - sum(wider) / 2) for end in wider)
    return _fields(means, means.mean, low, high)


def around_and_bias(influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what each example adds to a mean, around zero [cell example], and the bias of the mean [cell]."""
    bias = np.nanmean(influence, axis=1)
    return influence - bias[:, None], bias


def influences(
    changed: np.ndarray, unchanged: np.ndarray, clusters: Sequence[Any] | np.ndarray, step: float
) -> np.ndarray:
    """Return what each example adds to a mean through a quantity that was estimated on the same examples.

    An ablation by the mean activation, say, replaces by a mean that is itself uncertain. Its share of the uncertainty
    is found by taking the estimate again with the weight of one cluster raised, for each cluster in turn:

        m_c = m + step * (mean over cluster c - m),      changed[c] = the values of the cells under m_c

    Args:
        changed: The mean over all examples of every cell, with each cluster's weight raised, [cluster cell], in the
            order of the sorted names of the clusters.
        unchanged: The same with the estimate as it is, [cell].
        clusters: The cluster of each example.
        step: How far the estimate was moved towards the mean of the cluster, above 0 and at most 1.

    Returns:
        The `influence` for `mean_intervals`, [cell example].
    """
    ids = np.unique(np.asarray(clusters), return_inverse=True)[1]
    slope = (np.asarray(changed) - np.asarray(unchanged)[None]) / step
    return around_and_bias(slope.T[:, ids])[0]


def ratio_interval(
    numerator: np.ndarray, denominator: np.ndarray, clusters: Sequence[Any] | np.ndarray = (), level: float = 0.95
) -> Interval:
    """Return mean(numerator) / mean(denominator) with its interval, by linearization."""
    return _first(ratio_intervals(np.asarray(numerator)[None], np.asarray(denominator), clusters, level))


def ratio_intervals(
    numerator: np.ndarray,
    denominator: np.ndarray,
    clusters: Sequence[Any] | np.ndarray = (),
    level: float = 0.95,
    bias: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
    """Return the fields of the `Interval` of mean(numerator) / mean(denominator) for each row, [row example].

    A `bias` of the mean of the numerator lets the interval reach further.
    """
    ratio, spread = ratio_means(numerator, denominator, clusters)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = spread.interval(level, bias / np.nanmean(denominator, axis=-1) if np.any(bias) else 0.0)
    return _fields(spread, ratio, ratio + low, ratio + high)


def ratio_means(
    numerator: np.ndarray, denominator: np.ndarray, clusters: Sequence[Any] | np.ndarray = ()
) -> tuple[np.ndarray, Means]:
    """Return mean(numerator) / mean(denominator) for each row, and the means of the linearized residuals.

    The residual of an example is (numerator - ratio * denominator) / mean(denominator), whose mean is zero and whose
    standard error is that of the ratio to first order. Where there is no denominator the ratio is NaN.
    """
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    keep = np.isfinite(numerator) & np.isfinite(denominator)
    if not keep.all():
        numerator, denominator = (np.where(keep, part, np.nan) for part in (numerator, denominator))
    above, counts = cluster_sums(numerator, clusters)
    return ratio_of_sums(above, cluster_sums(denominator, clusters)[0], counts)


def ratio_of_sums(above: np.ndarray, below: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, Means]:
    """Return what `ratio_means` does, from the sums of the clusters, [cell cluster] each."""
    with np.errstate(divide="ignore", invalid="ignore"):  # rows without values: NaN
        average = below.sum(1) / counts.sum(1)
        average = np.where(np.abs(average) < 1e-12, np.nan, average)  # there is no ratio to nothing
        ratio = above.sum(1) / counts.sum(1) / average
        means = clustered_means((above - ratio[:, None] * below) / average[:, None], counts)
        # What is equal up to rounding does not vary.
        error = np.where(means.error <= 1e-12 * np.maximum(1.0, np.abs(ratio)), 0.0, means.error)
    error = np.where(np.isnan(ratio), np.nan, error)
    return ratio, replace(means, mean=np.zeros(len(ratio)), error=error)


def _fields(means: Means, estimate: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "estimate": estimate, "low": low, "high": high, "n": means.n, "n_clusters": means.n_clusters,
        "effective_clusters": means.effective_clusters,
    }  # fmt: skip


def _first(fields: dict[str, np.ndarray]) -> Interval:
    return Interval(**{name: value[0].item() for name, value in fields.items()})
