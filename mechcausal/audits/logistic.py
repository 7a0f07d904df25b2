"""Logistic regression with cluster-robust errors, for calibration slopes and for tests of invariance.

Few columns and no penalty: Newton's method, and a plain word where the classes are separated and nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from mechcausal.audits.estimate import Estimate
from mechcausal.data.splits import cluster_numbers

_STEPS, _LARGEST = 100, 40.0  # a linear predictor beyond this is a certainty, so the classes are separated


@dataclass(frozen=True)
class Logistic:
    """A fitted model log-odds(y) = columns @ coefficients.

    Attributes:
        coefficients: One for each column.
        covariance: Of the coefficients, robust to dependence within clusters.
        log_likelihood: Of the outcomes, in nats.
        n: How many outcomes.
        n_clusters: In how many clusters.
        separated: Whether a combination of columns tells the classes apart, so that coefficients are not estimated.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    n: int
    n_clusters: int
    separated: bool

    def estimate(self, column: int, level: float = 0.95) -> Estimate:
        """Return one coefficient with its interval; without numbers where the classes are separated."""
        if self.separated or self.n_clusters < 2:
            return Estimate(float("nan"), n=self.n, n_clusters=self.n_clusters)
        value, error = float(self.coefficients[column]), float(np.sqrt(self.covariance[column, column]))
        freedom = self.n_clusters - 1
        reach = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
        return Estimate(value, value - reach, value + reach, self.n, self.n_clusters, level, "t", error, float(freedom))


def fit(columns: np.ndarray, outcomes: np.ndarray, clusters: Sequence[Any] | np.ndarray = ()) -> Logistic:
    """Fit by maximum likelihood.

    Args:
        columns: [example column]; add a column of ones for an intercept.
        outcomes: 1 or 0 for each example.
        clusters: The cluster of each example; each is its own without them.
    """
    x, y = np.asarray(columns, dtype=float), np.asarray(outcomes, dtype=float)
    scale = np.maximum(np.abs(x).max(axis=0, initial=0.0), 1e-12)
    x = x / scale
    beta, value = np.zeros(x.shape[1]), _log_likelihood(x, y, np.zeros(x.shape[1]))
    for _ in range(_STEPS):
        p = _expit(x @ beta)
        weight = p * (1 - p)
        slope = x.T @ (y - p)
        step = np.linalg.lstsq((x * weight[:, None]).T @ x + 1e-12 * np.eye(x.shape[1]), slope, rcond=None)[0]
        size = 1.0
        while (after := _log_likelihood(x, y, beta + size * step)) < value - 1e-12 and size > 1e-6:
            size /= 2
        beta, gain, value = beta + size * step, after - value, after
        if abs(gain) < 1e-10 or _is_certain(x @ beta, y):
            break
    p = _expit(x @ beta)
    separated = _is_certain(x @ beta, y) or value > -1e-6 * len(y)
    ids = cluster_numbers(clusters, len(y))
    groups = int(ids.max()) + 1 if len(ids) else 0
    scores = np.zeros((groups, x.shape[1]))
    np.add.at(scores, ids, x * (y - p)[:, None])
    bread = np.linalg.pinv((x * (p * (1 - p))[:, None]).T @ x)
    covariance = bread @ (scores.T @ scores) @ bread * (groups / max(1, groups - 1))
    return Logistic(beta / scale, covariance / np.outer(scale, scale), value, len(y), groups, separated)


def interacts(
    columns: np.ndarray, outcomes: np.ndarray, environments: np.ndarray, clusters: Sequence[Any] | np.ndarray = ()
) -> tuple[float, int, float]:
    """Test whether P(outcome | columns) is the same in all environments (Peters et al. 2016).

    The larger model has an intercept and slopes of its own in each environment. Where each example is its own cluster,
    the statistic is twice the gain in log-likelihood; where clusters hold several, it is a Wald statistic with
    cluster-robust errors, because examples of one cluster are not independent.

    Returns:
        The statistic, its degrees of freedom, and the p-value of "it is the same".
    """
    x, y = np.asarray(columns, dtype=float).reshape(len(outcomes), -1), np.asarray(outcomes, dtype=float)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0))[:, spread > 1e-9] / spread[spread > 1e-9]
    common = np.column_stack([np.ones(len(y)), x])
    names = np.unique(environments)
    extra = np.column_stack([common * (environments == name)[:, None] for name in names[1:]])
    large = np.column_stack([common, extra])
    if len(cluster_numbers(clusters, len(y))) == len(set(np.asarray(clusters).tolist())) or not len(clusters):
        small, full = fit(common, y), fit(large, y)
        statistic, count = 2 * (full.log_likelihood - small.log_likelihood), extra.shape[1]
        return max(0.0, statistic), count, float(stats.chi2.sf(max(0.0, statistic), count))
    full = fit(large, y, clusters)
    tested = slice(common.shape[1], None)
    beta, covariance = full.coefficients[tested], full.covariance[tested, tested]
    count, freedom = len(beta), max(1, full.n_clusters - 1)
    statistic = float(beta @ np.linalg.pinv(covariance) @ beta)
    # Hotelling's correction for a covariance that is itself estimated from few clusters.
    if freedom <= count:
        return statistic, count, float("nan")
    scaled = statistic * (freedom - count + 1) / (freedom * count)
    return statistic, count, float(stats.f.sf(scaled, count, freedom - count + 1))


def _is_certain(log_odds: np.ndarray, y: np.ndarray) -> bool:
    """Say whether every outcome is on its side and some are certain: coefficients then grow without end."""
    margin = np.where(y > 0.5, 1, -1) * log_odds
    return bool(margin.min(initial=np.inf) > 0 and margin.max(initial=0.0) > _LARGEST)


def _expit(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -500, 500)))


def _log_likelihood(x: np.ndarray, y: np.ndarray, beta: np.ndarray) -> float:
    margin = np.where(y > 0.5, 1, -1) * (x @ beta)
    return -float(np.logaddexp(0, -margin).sum())
