"""The order in which edges enter a circuit: by their scores alone, or grown from the logits.

    top       the largest scores first, in absolute terms (apply_topn of EAP-IG and MIB)
    greedy    from the logits on: always the largest score among edges into what is in the circuit already (apply_greedy)

The first n edges of an order are the circuit of n edges, so that circuits of all sizes come from one order.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mechcausal.circuits.edges.ways import connected, growth
from mechcausal.circuits.edges.wiring import Wiring

Order = Literal["greedy", "top"]


def ordered(wiring: Wiring, scores: np.ndarray, how: Order = "greedy") -> np.ndarray:
    """Return the edges in the order in which they enter, as numbers into the flat array of scores.

    Edges without a score (NaN) never enter. With `greedy`, edges that cannot reach the logits through scored edges do not.

    Args:
        wiring: All edges that the model has.
        scores: The score of each edge, [sender receiver position].
        how: By which rule.
    """
    size = np.where(wiring.possible[..., None], np.abs(scores), np.nan)
    if how == "top":
        flat = size.ravel()
        return np.argsort(-np.nan_to_num(flat, nan=-1.0), kind="stable")[: int(np.isfinite(flat).sum())]
    return growth(wiring, scores)


def first(wiring: Wiring, order: np.ndarray, n: int, shape: tuple[int, ...], *, pruned: bool = True) -> np.ndarray:
    """Return the first n edges of an order, [sender receiver position].

    Args:
        wiring: All edges that the model has.
        order: Edges in the order in which they enter.
        n: How many enter.
        shape: The shape of arrays over edges.
        pruned: Whether those that lie on no way from the embedding to the logits are left out afterwards.
    """
    kept = np.zeros(int(np.prod(shape)), dtype=bool)
    kept[order[:n]] = True
    kept = kept.reshape(shape)
    return connected(wiring, kept) if pruned else kept
