"""How uncertain scrubbed means are: each prompt counts as a reference, and again wherever it is drawn.

Scores of one reference are not independent, and neither are scores for which the same prompt was drawn: with ten draws a
prompt is drawn about ten times, and its peculiarities do not average out over references. The variance of a mean is

    that of its references, clustered                  (CR2, as everywhere)
  + for every place at which prompts are drawn, what scores with the same prompt have in common, counted once
  + what a prompt does in one role has in common with what it does in another

so scores are clustered by all prompts that they rest on, as in the multiway clustering of Cameron, Gelbach and Miller
(2011). Prompts are drawn among those that agree on a class, so what scores with the same draw have in common is measured
within the class, against pairs of scores in it that share no draw. A variance is no smaller than that of its references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from mechcausal.results.intervals import clustered_means, t_quantile, t_tail


@dataclass(frozen=True, eq=False)
class Role:
    """One place at which prompts are drawn.

    Attributes:
        rows: The prompt drawn for each score.
        classes: For each prompt of the pool the number of the class it is drawn from.
    """

    rows: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True, eq=False)
class Term:
    """Scores that an estimate depends on.

    Attributes:
        values: How far the estimate moves with each score; they sum to zero.
        references: The reference of each score, a prompt of the pool.
        roles: What was drawn for it.
    """

    values: np.ndarray
    references: np.ndarray
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class Spread:
    """The standard error of an estimate, with the degrees of freedom of its references."""

    error: float
    freedom: float

    def interval(self, estimate: float, level: float = 0.95) -> tuple[float, float]:
        """Return the ends of the t-interval."""
        reach = float(t_quantile(0.5 + level / 2, np.array(self.freedom))) * self.error
        return estimate - reach, estimate + reach

    def p(self, estimate: float) -> float:
        """Return the p-value of "the estimate is zero"."""
        if not self.error > 0:
            return np.nan if np.isnan(self.error) else float(estimate == 0)
        return float(2 * t_tail(np.array(abs(estimate) / self.error), np.array(self.freedom)))


def spread(terms: Sequence[Term], clusters: np.ndarray) -> Spread:
    """Return how uncertain an estimate is.

    Args:
        terms: The scores it depends on; those of the first count the references.
        clusters: The number of each prompt's cluster.
    """
    count = int(clusters.max()) + 1
    references = np.sum([np.bincount(clusters[term.references], term.values, count) for term in terms], axis=0)
    counts = np.bincount(clusters[terms[0].references], minlength=count).astype(float)
    means = clustered_means((references * counts.sum())[None], counts[None])
    base = float(means.error[0]) ** 2
    shared = among = 0.0
    everything = references.copy()
    for term in terms:
        cells = [(clusters[term.references], term.values)]
        for role in term.roles:
            drawn, rest = _within_classes(term.values, role)
            number = clusters[role.rows]
            together = np.bincount(number, rest, count)
            shared += max(0.0, _excess(rest, number, drawn, count))
            everything += together
            among -= float(np.square(together).sum()) - float(np.square(rest).sum())
            cells.append((number, rest))
        among -= _squares(cells, count) - float(np.square(term.values).sum())
    among += float(np.square(everything).sum()) - float(np.square(references).sum())
    error = np.nan if np.isnan(base) else float(np.sqrt(max(base, base + shared, base + shared + among)))
    return Spread(error, float(means.freedom[0]))


def _within_classes(values: np.ndarray, role: Role) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of each draw, and the scores less the mean of their class, with the variance that this takes."""
    drawn = role.classes[role.rows]
    sizes = np.bincount(drawn)
    means = np.bincount(drawn, values) / np.maximum(sizes, 1)
    given_back = np.sqrt(sizes / np.maximum(sizes - 1, 1))
    return drawn, (values - means[drawn]) * given_back[drawn]


def _excess(rest: np.ndarray, number: np.ndarray, drawn: np.ndarray, count: int) -> float:
    """Return the sum of products over pairs of different scores that share a draw, beyond that of pairs that do not."""
    alone = float(np.square(rest).sum())
    total = float(np.square(np.bincount(number, rest, count)).sum()) - alone
    cell, inverse = np.unique(drawn * count + number, return_inverse=True)
    kind = cell // count
    sums, sizes = np.bincount(inverse, rest), np.bincount(inverse)
    n = np.bincount(drawn).astype(float)
    inside = np.bincount(kind, np.square(sums), len(n))
    pairs = np.bincount(kind, np.square(sizes), len(n))
    others = np.square(n) - pairs
    # All pairs within a class cancel, so that those without a shared draw are a little below zero.
    below = np.divide(inside * (pairs - n), others, out=np.zeros(len(n)), where=others > 0)
    return total + float(below.sum())


def _squares(cells: Sequence[tuple[np.ndarray, np.ndarray]], count: int) -> float:
    """Return the sum over scores and clusters of the squared sum of what a score has there in all its roles."""
    n = len(cells[0][1])
    rows = np.tile(np.arange(n), len(cells))
    table = csr_array(
        (np.concatenate([values for _, values in cells]), (rows, np.concatenate([number for number, _ in cells]))),
        shape=(n, count),
    )
    table.sum_duplicates()
    return float(np.square(table.data).sum())
