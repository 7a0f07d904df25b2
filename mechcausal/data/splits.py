"""Clusters and splits: which examples depend on each other, and which ones choose while the others judge.

A *unit* is what may not be torn apart: a cluster, joined with every other cluster that holds one of its texts. A split
puts whole units on one side or the other, so that nothing on one side says anything about the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mechcausal.errors import DataError

if TYPE_CHECKING:
    from mechcausal.arguments import CountOrZero, OpenShare
    from mechcausal.data.contrast import Contrast
    from mechcausal.data.prompts import PromptSet

FEWEST = 4  # clusters on each side of a split, where one side chooses and the other estimates

# A sweep asks for the units of the same prompts at every place.
_units_of: WeakKeyDictionary[PromptSet | Contrast, np.ndarray] = WeakKeyDictionary()


class Split(NamedTuple):
    """The rows of the two sides of a split, each in ascending order."""

    first: np.ndarray
    second: np.ndarray


def split(
    units: np.ndarray,
    share: OpenShare = 0.5,
    seed: int | Sequence[int] = 0,
    *,
    of: Literal["units", "examples"] = "units",
    fewest: CountOrZero = 1,
    what: str = "prompts",
    fix: str | None = None,
) -> Split:
    """Split examples at random into two sides, whole units at a time.

    Args:
        units: The number of each example's unit, from `units` or `cluster_numbers`.
        share: The share that goes to the first side.
        seed: The seed of the draw; a list of numbers gives each method a draw of its own.
        of: Of what it is a share: of the `"units"` (rounded; exactly half rounds down), or of the `"examples"`, of which
            the first side then holds at most its share, whatever the sizes of the units.
        fewest: How many units each side needs.
        what: What the examples are called in the error message.
        fix: What the reader can do where there are too few units.

    Example:
        >>> import numpy as np
        >>> first, second = split(np.array([0, 0, 1, 1, 2, 3]), 0.5)
        >>> len(first) + len(second)
        6
    """
    if not 0 < share < 1:
        raise DataError("the share of a split lies between 0 and 1, both excluded", got=share)
    fewest = max(1, fewest)
    ids, sizes = np.unique(np.asarray(units), return_inverse=True, return_counts=True)[1:]
    count = len(sizes)
    order = np.random.default_rng(seed).permutation(count)
    if of == "units":
        first = order[: min(max(int(np.ceil(share * count - 0.5)), fewest), count - fewest)]
    else:
        first = _that_fit(order, sizes, share * len(ids) + 0.5)[: max(count - fewest, 0)]
    if count < 2 * fewest or min(len(first), count - len(first)) < fewest:
        raise DataError(
            f"there are too few independent {what} to split them into two sides",
            got=f"{count} {'cluster' if count == 1 else 'clusters'} of {len(ids)} {what}",
            expected=f"at least {fewest} on each side" if of == "examples" else f"at least {2 * fewest}",
            fix=fix or "bring more, or declare finer clusters; prompts with equal texts count as one",
        )
    chosen = np.zeros(count, dtype=bool)
    chosen[first] = True
    return Split(np.flatnonzero(chosen[ids]), np.flatnonzero(~chosen[ids]))


def _that_fit(order: np.ndarray, sizes: np.ndarray, room: float) -> np.ndarray:
    """Return the units, in this order, that fit into the room that the units before them left."""
    taken = []
    for unit in order.tolist():
        if sizes[unit] <= room:
            taken.append(unit)
            room -= sizes[unit]
    return np.array(taken, dtype=int)


def units(prompts: PromptSet | Contrast) -> np.ndarray:
    """Return the number of each prompt's unit: its cluster, joined with all clusters that hold one of its texts.

    Texts are compared token by token, so a prompt and its exact copy are never on two sides of a split. Of a contrast
    the pairs are compared: two pairs are equal where both of their sides are.
    """
    if prompts not in _units_of:
        n = len(prompts)
        sides = [getattr(prompts, name) for name in ("clean", "corrupt")] if hasattr(prompts, "clean") else [prompts]
        texts = _numbered([tuple(map(tuple, rows)) for rows in zip(*(side.real_tokens for side in sides), strict=True)])
        clusters = _numbered(sides[0].clusters) if sides[0].clusters else np.arange(n)
        width = int(clusters.max()) + 1
        size = width + int(texts.max()) + 1
        joined = coo_array((np.ones(n), (clusters, width + texts)), shape=(size, size))
        _units_of[prompts] = connected_components(joined, directed=False)[1][clusters]
    return _units_of[prompts]


def cluster_numbers(clusters: Sequence[Any] | np.ndarray, n: int) -> np.ndarray:
    """Return the number of each example's cluster, counted from 0; without clusters each example is its own."""
    if not len(clusters):
        return np.arange(n)
    if len(clusters) != n:
        raise DataError("there must be one cluster per example", got=len(clusters), expected=n)
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def _numbered(values: Sequence[Any]) -> np.ndarray:
    number = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values])
