"""How much circuits share: their edges and their nodes, against what random circuits of the same sizes share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from mechcausal.circuits.circuit import Circuit
from mechcausal.errors import ArgumentError, SiteError
from mechcausal.results.intervals import Interval


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Return how many are in both as a share of those in either: 1 if equal, 0 if nothing is shared; NaN if both are empty."""
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else float("nan")


def by_chance(first: int, second: int, of: int) -> float:
    """Return the overlap to expect of random sets of these sizes."""
    shared = first * second / max(1, of)
    return shared / max(1e-9, first + second - shared)


def nodes(circuit: Circuit) -> np.ndarray:
    """Return which heads and MLPs the circuit holds, [sender]: those with an edge from them and those with an edge to them."""
    read = np.asarray(circuit.kept.any((0, 2)))
    return circuit.kept_senders | (circuit.wiring.readers & read[None]).any(1)


def of_edges(first: Circuit, second: Circuit) -> float:
    """Return the overlap of the edges of two circuits."""
    return jaccard(first.kept, second.kept)


def of_nodes(first: Circuit, second: Circuit) -> float:
    """Return the overlap of the nodes of two circuits."""
    return jaccard(nodes(first), nodes(second))


def mean_overlap(table: np.ndarray, level: float = 0.95) -> Interval:
    """Return the mean overlap over all pairs of circuits, with a jackknife interval over circuits.

    A circuit is in several pairs, so pairs are no independent draws: circuits are left out one at a time, whole.

    Args:
        table: The overlap of every two circuits, [circuit circuit].
        level: The level of the interval.
    """
    n = len(table)
    pairs = list(itertools.combinations(range(n), 2))
    if not pairs:
        raise ArgumentError("an overlap takes at least two circuits", got=f"{n}")
    values = np.array([table[pair] for pair in pairs])
    mean = float(values.mean())
    if n < 4:  # of three, what is left without one is a single pair
        return Interval(mean, np.nan, np.nan, len(pairs), n)
    left = np.array([values[[out not in pair for pair in pairs]].mean() for out in range(n)])
    error = float(np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))
    reach = float(stats.t.ppf(0.5 + level / 2, n - 1)) * error
    return Interval(mean, max(0.0, mean - reach), min(1.0, mean + reach), len(pairs), n)


def require_alike(circuits: Sequence[Circuit]) -> None:
    """Refuse circuits of different models, or that tell different positions apart."""
    first = circuits[0]
    for number, other in enumerate(circuits[1:], start=1):
        if other.wiring != first.wiring:
            raise SiteError(
                f"circuit {number} is of another model than the first",
                got=f"{other.wiring.n_layers} layers of {other.wiring.n_heads} heads",
                expected=f"{first.wiring.n_layers} layers of {first.wiring.n_heads} heads, split alike",
            )
        if other.positions != first.positions:
            raise SiteError(
                f"circuit {number} tells other positions apart than the first",
                got=", ".join(map(str, other.positions)), expected=", ".join(map(str, first.positions)),
            )  # fmt: skip
