"""Shares of the total effect: how much of the behavior a candidate moves, on pairs that it was not chosen by.

The share is 1 where intervening on the candidate alone does all that the whole change of the prompt does, 0 where it
does nothing, and negative where it works against it. With enough pairs every effect differs from zero. The hypothesis
that is tested is therefore "the share is at most the smallest one of interest", and its p-value is corrected for the family.
An effect whose whole interval lies within the smallest share of interest is called absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechcausal.errors import DataError
from mechcausal.results.intervals import ratio_means, t_quantile, t_tail
from mechcausal.results.multiplicity import benjamini_hochberg


@dataclass(frozen=True)
class Shares:
    """The effect of each cell as a share of the total effect, [cell] each.

    Attributes:
        share: Mean effect over mean total effect.
        low: The lower end of the clustered interval; the uncertainty of the total effect counts.
        high: The upper end.
        p: The p-value of "the share lies within the smallest one of interest, on either side".
        q: The same, corrected for the family by Benjamini and Hochberg.
        least: The smallest share of interest.
    """

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    q: np.ndarray
    least: float

    def beyond(self, fdr: float) -> np.ndarray:
        """Say which shares are larger than the smallest one of interest, by their intervals and at this rate."""
        return (self.q <= fdr) & ((self.low > self.least) | (self.high < -self.least))

    @property
    def within(self) -> np.ndarray:
        """Which shares are known to be smaller than the smallest one of interest."""
        return (self.low > -self.least) & (self.high < self.least)

    @property
    def size(self) -> int:
        """How many tests were corrected for together."""
        return int(np.isfinite(self.p).sum())


def shares(
    change: np.ndarray, total: np.ndarray, clusters: Sequence[str] = (), *, least: float = 0.02, level: float = 0.95
) -> Shares:
    """Measure shares of the total effect.

    Args:
        change: What each cell changed in each example, [cell example]; NaN where a cell lacks the example.
        total: The total effect in each example.
        clusters: The unit of independence of each example; each is its own without them.
        least: The smallest share of interest.
        level: The level of the intervals.
    """
    change, total = np.asarray(change, dtype=float), np.asarray(total, dtype=float)
    if change.ndim != 2 or total.shape != change.shape[1:]:
        raise DataError("changes are [cell example], with one total effect per example", got=change.shape)
    share, spread = ratio_means(change, total, clusters)
    error, freedom = spread.error, spread.freedom
    share = np.where(np.isnan(error), np.nan, share)
    reach = t_quantile(0.5 + level / 2, freedom) * error
    p = _beyond(share, error, freedom, least)
    return Shares(share, share - reach, share + reach, p, benjamini_hochberg(p), least)


def _beyond(share: np.ndarray, error: np.ndarray, freedom: np.ndarray, least: float) -> np.ndarray:
    """Return the largest chance, over shares within the smallest one of interest, of a share as far out as this."""
    with np.errstate(invalid="ignore", divide="ignore"):
        near, far = ((np.abs(share) + side * least) / error for side in (-1, 1))
        p = t_tail(near, freedom) + t_tail(far, freedom)
    exact = np.where(np.abs(share) > least, 0.0, 1.0)
    return np.where(np.isnan(share), np.nan, np.where(error == 0, exact, np.minimum(p, 1.0)))
