"""Available: does the candidate tell the two values of a concept apart, on prompts that nothing was fitted to?

The number is the AUC, the chance that a prompt with the concept reads higher than one without. Its interval is Wilson's
with the number of independent examples that the cluster-robust variance (DeLong 1988, clustered as in Obuchowski 1997)
is worth, so that a perfect separation of few clusters has no interval of width zero; its quantile is that of t with one
degree of freedom less than there are clusters. The test compares the rank sum with that of exchanged labels: features
fire rarely and concepts are unbalanced, where normal approximations find what is not there. A cluster that has both
kinds exchanges them as a whole, because what it answers to a label may be its own; others change labels among each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from tqdm.auto import tqdm

from mechcausal.data.splits import cluster_numbers
from mechcausal.errors import DataError

DRAWS = 9999
_MOST_DRAWS = 49_999
_REPEATS = 200  # shuffles that are taken for labels in turn
_MOST_NUMBERS = 2**26
_CHUNK = 500  # shuffles at a time


@dataclass(frozen=True)
class Association:
    """How well each candidate tells one concept, [candidate] each.

    Attributes:
        auc: Below 0.5 where the candidate reads lower with the concept.
        low: The lower end of the interval.
        high: The upper end.
        p: The two-sided p-value of "it tells nothing".
        n: How many prompts.
        n_clusters: How many independent units.
        shuffled: The p-values where shuffled labels take the place of the true ones, [candidate shuffle]; empty where
            there are too many candidates.
    """

    auc: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    n: int
    n_clusters: int
    shuffled: np.ndarray

    def rows(self, chosen: slice | np.ndarray) -> Association:
        """Return some of the candidates."""
        parts = {name: getattr(self, name)[chosen] for name in ("auc", "low", "high", "p", "shuffled")}
        return replace(self, **parts)


def associations(
    scores: np.ndarray,
    labels: np.ndarray,
    clusters: Sequence[str] = (),
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    progress: str = "",
) -> Association:
    """Measure how well each candidate's number tells labelled prompts apart.

    Args:
        scores: One number per candidate and prompt, [candidate prompt]; a prompt with a NaN is left out.
        labels: True for prompts with the concept.
        clusters: The unit of independence of each prompt; each is its own without them.
        level: The level of the intervals.
        draws: How many shuffles of the labels; more are made where so many candidates are tested that the smallest
            p-value of so few could not survive the correction.
        seed: The seed of the shuffles.
        progress: The label of a progress bar over the shuffles; none without it.
    """
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool)
    if scores.ndim != 2 or scores.shape[1] != len(labels):
        raise DataError("scores are [candidate prompt], with one label per prompt", got=scores.shape)
    finite = np.isfinite(scores).all(axis=0)
    ids = cluster_numbers(clusters, len(labels))[finite]
    scores, labels = scores[:, finite], labels[finite]
    if labels.all() or not labels.any():
        raise DataError(
            "the labels of a concept are all alike, so nothing can be told apart",
            got=f"{int(labels.sum())} of {len(labels)} prompts with it",
            fix="use prompts of both kinds",
        )
    ids = np.unique(ids, return_inverse=True)[1]
    groups = int(ids.max()) + 1
    ranks = stats.rankdata(scores, axis=1)
    auc, variance = _area(scores, ranks, labels, ids)
    low, high = _wilson(auc, variance, groups, level)
    draws = min(max(draws, 20 * len(scores)), max(_MOST_DRAWS, draws))
    p, null = _p_values(ranks, labels, ids, draws, seed, progress)
    return Association(auc, low, high, p, len(labels), groups, null)


def _area(scores: np.ndarray, ranks: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUC and its cluster-robust variance."""
    m, n, groups = int(labels.sum()), int((~labels).sum()), int(ids.max()) + 1
    auc = (ranks[:, labels].sum(axis=1) - m * (m + 1) / 2) / (m * n)
    # The chance that each single prompt is on the right side of the others.
    placed = np.empty_like(ranks)
    placed[:, labels] = (ranks[:, labels] - stats.rankdata(scores[:, labels], axis=1)) / n
    placed[:, ~labels] = 1 - (ranks[:, ~labels] - stats.rankdata(scores[:, ~labels], axis=1)) / m
    influence = np.zeros((groups, len(scores)))
    np.add.at(influence, ids, ((placed - auc[:, None]) / np.where(labels, m, n)).T)
    return auc, groups / max(groups - 1, 1) * (influence**2).sum(axis=0)


def _wilson(auc: np.ndarray, variance: np.ndarray, groups: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    z = stats.t.ppf(0.5 + level / 2, max(groups - 1, 1))
    binomial = auc * (1 - auc)
    # The variance is not known to be smaller than half a cluster could change.
    worth = np.where(binomial > 0, binomial / np.maximum(variance, (0.5 / groups) ** 2), groups)
    middle = (auc + z**2 / (2 * worth)) / (1 + z**2 / worth)
    reach = z / (1 + z**2 / worth) * np.sqrt(binomial / worth + z**2 / (4 * worth**2))
    return np.clip(np.minimum(middle - reach, auc), 0, 1), np.clip(np.maximum(middle + reach, auc), 0, 1)


def _p_values(
    ranks: np.ndarray, labels: np.ndarray, ids: np.ndarray, draws: int, seed: int, progress: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the p-values of the labels and those of some shuffles, each compared with all shuffles."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    observed = np.abs(centred @ labels.astype(float)) * (1 - 1e-9)
    shuffle, draw = Shuffle(labels, ids), np.random.default_rng(seed)
    hits, kept = np.zeros(len(ranks)), []
    keeps = len(ranks) * draws <= _MOST_NUMBERS
    bar = tqdm(total=draws, desc=progress, unit="shuffle", disable=None if progress else True, leave=False)
    for done in range(0, draws, _CHUNK):
        count = min(_CHUNK, draws - done)
        sums = np.abs(centred @ shuffle.draw(count, draw).T)
        hits += (sums >= observed[:, None]).sum(axis=1)
        if keeps:
            kept.append(sums.astype(np.float32))
        bar.update(count)
    bar.close()
    p = (hits + 1) / (draws + 1)
    if not keeps:
        return p, np.zeros((len(ranks), 0))
    null = np.concatenate(kept, axis=1)
    ascending = np.sort(null, axis=1)
    below = [np.searchsorted(row, sums[:_REPEATS] * (1 - 1e-6)) for row, sums in zip(ascending, null, strict=True)]
    return p, 1 - np.array(below).reshape(len(ranks), -1) / draws


class Shuffle:
    """Labels that mean nothing, with clusters as dependent as they were.

    A cluster whose labels are all alike is one unit and changes labels with others of its kind. Any other cluster
    exchanges its two kinds or leaves them, as a whole: ones become zeros, weighed such that the difference between the
    means of its two kinds has the other sign and nothing else changes. With pairs that is an exchange within the pair.
    """

    def __init__(self, labels: np.ndarray, ids: np.ndarray) -> None:
        labels = np.asarray(labels, dtype=float)
        self._share = (np.bincount(ids, labels) / np.bincount(ids))[ids]
        self._labels, self._ids = labels, ids
        self._alike = np.isin(self._share, (0, 1))
        _, first, self._unit = np.unique(ids[self._alike], return_index=True, return_inverse=True)
        self._of_unit = labels[self._alike][first]

    def draw(self, count: int, draw: np.random.Generator) -> np.ndarray:
        """Return `count` shuffles, [count prompt]."""
        turns = draw.random((count, int(self._ids.max()) + 1))
        out = np.where(turns[:, self._ids] < 0.5, self._labels, 2 * self._share - self._labels)
        order = np.argsort(draw.random((count, len(self._of_unit))), axis=1)
        out[:, self._alike] = self._of_unit[order][:, self._unit]
        return out


def fewest_clusters(rate: float) -> int:
    """Return how many clusters it takes for an exchange of their labels to be rarer than `rate`, on either side."""
    return 1 + math.ceil(math.log2(1 / rate))


def mean_difference(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean of the values with the concept minus that without it; the first axis is the prompt."""
    labels = np.asarray(labels).astype(bool)
    return values[labels].mean(axis=0) - values[~labels].mean(axis=0)
