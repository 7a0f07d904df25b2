"""Intervals that respect clusters: examples of one template are not independent.

The interval is the cluster-robust t-interval (Liang and Zeger 1986 with the small-sample factor G/(G-1) and G-1
degrees of freedom); with clusters of equal size it is the t-interval of the cluster means. A ratio of means is
linearised first, so that the uncertainty of its denominator counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval and what it rests on."""

    estimate: float
    low: float
    high: float
    n: int
    n_clusters: int


def mean_interval(values: np.ndarray, clusters: Sequence[str] | np.ndarray = (), level: float = 0.95) -> Interval:
    """Return the mean of the finite values with its interval; without clusters each value is its own."""
    keep = np.isfinite(values)
    x = values[keep].astype(float)
    if len(x) == 0:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    ids = np.unique(np.asarray(clusters)[keep], return_inverse=True)[1] if len(clusters) else np.arange(len(x))
    groups = int(ids.max()) + 1
    mean = float(x.mean())
    if groups < 2:
        return Interval(mean, np.nan, np.nan, len(x), groups)
    sums = np.bincount(ids, weights=x - mean, minlength=groups)
    error = float(np.sqrt(groups / (groups - 1) * (sums**2).sum())) / len(x)
    reach = _quantile(0.5 + level / 2, groups - 1) * error
    return Interval(mean, mean - reach, mean + reach, len(x), groups)


@cache
def _quantile(level: float, freedom: int) -> float:
    return float(stats.t.ppf(level, freedom))


def ratio_interval(
    numerator: np.ndarray, denominator: np.ndarray, clusters: Sequence[str] | np.ndarray = (), level: float = 0.95
) -> Interval:
    """Return mean(numerator) / mean(denominator) with its interval, by linearisation."""
    keep = np.isfinite(numerator) & np.isfinite(denominator)
    if not keep.any():
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    over = float(denominator[keep].mean())
    if abs(over) < 1e-12:
        count = mean_interval(np.where(keep, numerator, np.nan), clusters, level)
        return Interval(np.nan, np.nan, np.nan, count.n, count.n_clusters)
    ratio = float(numerator[keep].mean()) / over
    residual = np.where(keep, (numerator - ratio * denominator) / over, np.nan)
    spread = mean_interval(residual, clusters, level)
    return Interval(ratio, ratio + spread.low, ratio + spread.high, spread.n, spread.n_clusters)
