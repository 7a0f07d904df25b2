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
    return _first(mean_intervals(np.asarray(values)[None], clusters, level))


def mean_intervals(
    values: np.ndarray, clusters: Sequence[str] | np.ndarray = (), level: float = 0.95
) -> dict[str, np.ndarray]:
    """Return the fields of an `Interval` for each row of values, [row example]."""
    keep = np.isfinite(values)
    n = keep.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows without values, or with one cluster: NaN
        mean = np.where(keep, values, 0.0).sum(1) / n
        rest, met = np.where(keep, values - mean[:, None], 0.0), keep
        if len(clusters):
            ids = np.unique(np.asarray(clusters), return_inverse=True)[1]
            order = np.argsort(ids, kind="stable")
            begins = np.flatnonzero(np.diff(ids[order], prepend=-1))
            rest, met = (np.add.reduceat(part[:, order], begins, axis=1) for part in (rest, keep.astype(int)))
        groups = (met > 0).sum(1)
        error = np.sqrt(groups / (groups - 1) * (rest**2).sum(1)) / n
    reach = np.array([_quantile(0.5 + level / 2, count - 1) if count > 1 else np.nan for count in groups.tolist()])
    low, high = mean - reach * error, mean + reach * error
    return {"estimate": mean, "low": low, "high": high, "n": n, "n_clusters": groups}


def _first(fields: dict[str, np.ndarray]) -> Interval:
    return Interval(**{name: value[0].item() for name, value in fields.items()})


@cache
def _quantile(level: float, freedom: int) -> float:
    return float(stats.t.ppf(level, freedom))


def ratio_interval(
    numerator: np.ndarray, denominator: np.ndarray, clusters: Sequence[str] | np.ndarray = (), level: float = 0.95
) -> Interval:
    """Return mean(numerator) / mean(denominator) with its interval, by linearisation."""
    return _first(ratio_intervals(np.asarray(numerator)[None], np.asarray(denominator), clusters, level))


def ratio_intervals(
    numerator: np.ndarray, denominator: np.ndarray, clusters: Sequence[str] | np.ndarray = (), level: float = 0.95
) -> dict[str, np.ndarray]:
    """Return the fields of the `Interval` of mean(numerator) / mean(denominator) for each row, [row example]."""
    keep = np.isfinite(numerator) & np.isfinite(denominator)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows without values: NaN
        above, over = (np.where(keep, part, 0.0).sum(1) / keep.sum(1) for part in (numerator, denominator))
        over = np.where(np.abs(over) < 1e-12, np.nan, over)  # there is no ratio to nothing
        ratio = above / over
        residual = np.where(keep, (numerator - ratio[:, None] * denominator) / over[:, None], np.nan)
    spread = mean_intervals(residual, clusters, level)
    counts = mean_intervals(np.where(keep, 0.0, np.nan), clusters, level)
    return {
        "estimate": ratio,
        "low": ratio + spread["low"],
        "high": ratio + spread["high"],
        "n": counts["n"],
        "n_clusters": counts["n_clusters"],
    }
