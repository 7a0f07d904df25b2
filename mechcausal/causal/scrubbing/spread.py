"""How uncertain scrubbed means are: each prompt counts as a reference, and again wherever it is drawn.

Scores of one reference are not independent, and neither are scores for which the same prompt was drawn: with ten draws a
prompt is drawn about ten times, and its peculiarities do not average out over references. The variance of a mean is

    that of its references, clustered                  (CR2, as everywhere)
  + for every place at which prompts are drawn, what scores with the same prompt have in common, counted once
  + what a prompt does in one role has in common with what it does in another

so scores are clustered by all prompts that they rest on, as in the multiway clustering of Cameron, Gelbach and Miller
(2011). Prompts are drawn among those that agree on a class, so what scores with the same prompt have in common is measured
within the class, against pairs of scores in it that share no prompt. Without that comparison it is too small: the scores
are taken from their mean, so pairs that share nothing have a negative product, and n / (n - 1) gives back only what a score
has with itself. With six places that draw from four classes of 25 prompts that is a quarter to a third of the variance.
A variance is no smaller than that of its references.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    products = []
    for term in terms:
        sums = [np.bincount(clusters[term.references], term.values, count)]
        seats = [_Seat(term.values, term.references, np.zeros(len(clusters), dtype=int))]
        for role in term.roles:
            drawn, rest = _within_classes(term.values, role)
            number = clusters[role.rows]
            shared += max(0.0, _excess(rest, number, drawn, count))
            sums.append(np.bincount(number, rest, count))
            seats.append(_Seat(rest, role.rows, role.classes))
        among += 2 * sum(_between(*pair, clusters) for pair in itertools.combinations(seats, 2))
        products.append((sums[0], np.sum(sums, axis=0)))
    # Different terms have no score in common; what their references share is in the first part.
    for (reference, everything), (other, all_other) in itertools.combinations(products, 2):
        among += 2 * float(everything @ all_other - reference @ other)
    error = np.nan if np.isnan(base) else float(np.sqrt(max(base, base + shared, base + shared + among)))
    return Spread(error, float(means.freedom[0]))


@dataclass(frozen=True, eq=False)
class _Seat:
    """Where prompts sit in a score: as its reference, or in one of its roles.

    Attributes:
        values: The values of the scores, less the mean of their class.
        rows: The prompt of each score.
        classes: For each prompt of the pool the number of its class.
    """

    values: np.ndarray
    rows: np.ndarray
    classes: np.ndarray


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


def _between(first: _Seat, second: _Seat, clusters: np.ndarray) -> float:
    """Return the sum of products over pairs of different scores, the first seat of one shared with the second of the other.

    As in `_excess`, it is what there is beyond the products of pairs of the same classes that share nobody.
    """
    kind = np.unique(first.classes * (int(second.classes.max()) + 1) + second.classes, return_inverse=True)[1]
    cell = np.unique(kind * (int(clusters.max()) + 1) + clusters, return_inverse=True)[1]
    kinds, cells = int(kind.max()) + 1, int(cell.max()) + 1
    kind_of_cell = np.zeros(cells, dtype=int)
    kind_of_cell[cell] = kind
    one_kind = kind[first.rows] == kind[second.rows]
    one_cluster = clusters[first.rows] == clusters[second.rows]

    def products(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum over pairs of each class: of those that share a cluster, and of the others."""
        sums = [np.bincount(cell[seat.rows], part, cells) for seat, part in ((first, left), (second, right))]
        same_score = np.where(one_kind, left * right, 0.0)  # a score and itself are no pair
        share = np.bincount(kind_of_cell, sums[0] * sums[1], kinds)
        share -= np.bincount(kind[first.rows], np.where(one_cluster, same_score, 0.0), kinds)
        inside = [np.bincount(kind_of_cell, part, kinds) for part in sums]
        pairs = inside[0] * inside[1] - np.bincount(kind[first.rows], same_score, kinds)
        return share, pairs - share

    sums = [np.bincount(clusters[seat.rows], seat.values) for seat in (first, second)]
    length = min(map(len, sums))
    total = float(sums[0][:length] @ sums[1][:length]) - float((first.values * second.values)[one_cluster].sum())
    _, apart = products(first.values, second.values)
    shared_pairs, other_pairs = products(np.ones(len(first.rows)), np.ones(len(first.rows)))
    expected = np.divide(apart, other_pairs, out=np.zeros(kinds), where=other_pairs > 0)
    return total - float((shared_pairs * expected).sum())
