"""Numbers on examples that a probe did not see: cross-validation in which a cluster is never on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from mechcausal.errors import DataError
from mechcausal.probes.kinds import Settings, check, fit, scores, strengths
from mechcausal.results.intervals import Interval, mean_interval

_ATTEMPTS = 20
_INNER = 3


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What probes say of examples they were not fitted to.

    Attributes:
        log_probabilities: Of each class, [example class], by the probe that was fitted without the example's cluster.
        y: The true classes, [example].
        clusters: The cluster of each example, [example].
        fold: The fold in which each example was held out, [example].
    """

    log_probabilities: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    fold: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """1 where the likeliest class is the true one, else 0."""
        return (self.log_probabilities.argmax(1) == self.y).astype(float)

    @property
    def guesses(self) -> np.ndarray:
        """The hits of whoever always says the most frequent class."""
        return (self.y == np.bincount(self.y).argmax()).astype(float)

    @property
    def accuracy(self) -> Interval:
        """The share of hits, with its interval clustered."""
        interval = mean_interval(self.hits, self.clusters)
        return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))

    @property
    def balance(self) -> np.ndarray:
        """The weight of each example with which all classes count alike; the mean of the weights is 1."""
        counts = np.bincount(self.y)
        return len(self.y) / (np.count_nonzero(counts) * counts[self.y])

    @property
    def balanced_accuracy(self) -> float:
        """The mean over classes of the share of hits."""
        return float((self.hits * self.balance).mean())

    @property
    def auc(self) -> float:
        """The chance that an example of a class scores above one of another class: mean over folds and classes.

        Folds are not pooled, because two probes have two scales.
        """
        areas = []
        for number in np.unique(self.fold):
            inside = self.fold == number
            classes = [1] if self.log_probabilities.shape[1] == 2 else range(self.log_probabilities.shape[1])
            for c in classes:
                other = np.logaddexp.reduce(np.delete(self.log_probabilities[inside], c, axis=1), axis=1)
                areas.append(area(self.log_probabilities[inside, c] - other, self.y[inside] == c))
        return float(np.nanmean(areas)) if np.isfinite(areas).any() else np.nan

    @property
    def bits(self) -> float:
        """The mean surprise of the true class in bits: below the entropy of the labels where something is read."""
        return float(-self.log_probabilities[np.arange(len(self.y)), self.y].mean() / np.log(2))

    @property
    def information(self) -> Interval:
        """How many bits about the class the probe gains over knowing the shares of the classes, with an interval.

        Unlike the accuracy, it cannot be above zero by a happy choice of threshold: where no probe of the kind has a
        smaller expected surprise than a constant, it is zero or, for what was learned in vain, below.
        """
        shares = np.bincount(self.y) / len(self.y)
        gained = self.log_probabilities[np.arange(len(self.y)), self.y] - np.log(shares[self.y])
        return mean_interval(gained / np.log(2), self.clusters)


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve, ties counted half; NaN where one side is missing."""
    m = int(positive.sum())
    if m in (0, len(positive)):
        return np.nan
    ranks = stats.rankdata(score)[positive].sum()
    return float((ranks - m * (m + 1) / 2) / (m * (len(positive) - m)))


def entropy(y: np.ndarray) -> float:
    """Return the entropy of labels in bits: the surprise of whoever knows the shares of the classes and no more."""
    shares = np.bincount(y) / len(y)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def cross_validate(
    kind: str,
    x: np.ndarray,
    y: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    folds: int = 5,
    settings: Settings | None = None,
    seed: int = 0,
) -> HeldOut:
    """Fit a probe without each fold in turn and score what was left out.

    Args:
        kind: The kind of probe.
        x: The activations, [example feature].
        y: The classes 0, 1, ..., [example].
        clusters: The cluster of each example, a number; each is its own without them.
        folds: How many folds; fewer where a class has fewer clusters.
        settings: How probes are fitted.
        seed: The seed of the folds.
    """
    settings = settings or Settings()
    clusters = np.arange(len(y)) if clusters is None else clusters
    fold = folds_of(y, clusters, folds, seed)
    out = np.full((len(y), int(y.max()) + 1), np.nan)
    check(kind, x[fold != 0], y[fold != 0], settings)
    for inside in _parts(fold):
        chosen = best_settings(kind, x[~inside], y[~inside], clusters[~inside], settings, seed)
        out[inside] = scores(fit(kind, x[~inside], y[~inside], chosen), x[inside])
    return HeldOut(out, y, clusters, fold)


def best_settings(
    kind: str, x: np.ndarray, y: np.ndarray, clusters: np.ndarray, settings: Settings, seed: int
) -> Settings:
    """Return the settings with the C of least surprise, by cross-validation within these examples; the first of equals."""
    values = strengths(settings)
    if len(values) == 1:
        return replace(settings, C=values[0])
    tried = [replace(settings, C=value) for value in values]
    bits = [cross_validate(kind, x, y, clusters, folds=_INNER, settings=option, seed=seed + 1).bits for option in tried]
    return tried[int(np.argmin(bits))]


def _parts(fold: np.ndarray) -> Iterator[np.ndarray]:
    for number in range(int(fold.max()) + 1):
        yield fold == number


def folds_of(y: np.ndarray, clusters: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each example: whole clusters, shares of the classes as even as they can be.

    Every class is in the training part of every fold; where that cannot be, this is refused.
    """
    if folds < 2:
        raise DataError("cross-validation needs at least two folds", got=folds)
    spread = {c: len(np.unique(clusters[y == c])) for c in np.unique(y)}
    rarest = min(spread, key=lambda c: spread[c])
    folds = min(folds, spread[rarest])
    if folds >= 2:
        for attempt in range(_ATTEMPTS):
            fold = _dealt(y, clusters, folds, np.random.default_rng([seed, 1, attempt]))
            if all(len(np.unique(y[~inside])) == len(spread) for inside in _parts(fold)):
                return fold
    raise DataError(
        f"class {rarest} cannot be held out: it is in too few clusters",
        got=spread[rarest],
        expected="2 at least, and several to be safe",
        fix="bring more clusters, or leave the class out of the labels (None)",
    )


def _dealt(y: np.ndarray, clusters: np.ndarray, folds: int, draw: np.random.Generator) -> np.ndarray:
    """Deal clusters to folds like cards, one class after the other and the large ones first, there and back again."""
    names, index = np.unique(clusters, return_inverse=True)
    counts = np.zeros((len(names), int(y.max()) + 1))
    np.add.at(counts, (index, y), 1)
    order = np.lexsort((draw.permutation(len(names)), -counts.sum(1), counts.argmax(1)))
    there = np.arange(len(names)) % (2 * folds)
    seats = np.where(there < folds, there, 2 * folds - 1 - there)
    seat = np.empty(len(names), dtype=int)
    seat[order] = draw.permutation(folds)[seats]
    return seat[index]
