"""A check without any model: can member texts be told from others by their words alone?

If they can, the two sets differ in topic or date, and an attack that does well has shown that and nothing about training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.privacy.curves import auc
from mechcausal.probes.held_out import cross_validate
from mechcausal.probes.kinds import Settings

_MOST = 2000  # words that are counted
_WORD = re.compile(r"\w+|[^\w\s]")


def words_in(text: str) -> list[str]:
    """Return the words of a text in small letters, and its marks."""
    return _WORD.findall(text.lower())


def shared_words(texts: Sequence[str], clusters: np.ndarray) -> list[str]:
    """Return the words that are counted: those of more than one cluster, the most frequent first.

    Args:
        texts: The texts.
        clusters: The cluster of each text, a number.
    """
    where: dict[str, set[int]] = {}
    for text, cluster in zip(texts, clusters.tolist(), strict=True):
        for word in words_in(text):
            where.setdefault(word, set()).add(cluster)
    shared = sorted((word for word, seen in where.items() if len(seen) > 1), key=lambda word: (-len(where[word]), word))
    return shared[:_MOST]


def word_counts(texts: Sequence[str], clusters: np.ndarray, *, damped: bool = True) -> np.ndarray:
    """Return log(1 + count) of each word in each text, and the log of its length, [text column].

    Words of one cluster alone cannot be learned from others, so they are left out; of the others the most frequent stay.

    Args:
        texts: The texts.
        clusters: The cluster of each text, a number.
        damped: Whether counts are damped by the logarithm; else they stand as they are.
    """
    counts = [Counter(words_in(text)) for text in texts]
    number = {word: column for column, word in enumerate(shared_words(texts, clusters))}
    table = np.zeros((len(texts), len(number) + 1))
    for row, words in enumerate(counts):
        for word, count in words.items():
            if word in number:
                table[row, number[word]] = np.log1p(count) if damped else count
        table[row, -1] = np.log1p(sum(words.values()))
    return table


def words_alone(
    texts: Sequence[str],
    members: np.ndarray,
    clusters: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Return the AUC of a logistic regression on word counts, on texts whose cluster it did not see.

    Args:
        texts: The texts.
        members: Which are members.
        clusters: The cluster of each, a number.
        folds: How many folds.
        seed: The seed of the folds.
        level: The level of the interval.
    """
    counts = word_counts(texts, clusters)
    held_out = cross_validate(
        "logistic", counts, members.astype(int), clusters, folds=folds, settings=Settings(C=0.1), seed=seed
    )
    odds = held_out.log_probabilities[:, 1] - held_out.log_probabilities[:, 0]
    # Folds have scales of their own, so a score is compared within its fold alone.
    within = np.empty(len(odds))
    for fold in np.unique(held_out.fold):
        inside = held_out.fold == fold
        order = odds[inside].argsort().argsort()
        within[inside] = (order + 0.5) / inside.sum()
    return auc(within, members, clusters.tolist(), level)
