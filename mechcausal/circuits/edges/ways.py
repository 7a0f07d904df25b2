"""Ways through a circuit: what is joined to both the embedding and the logits."""

from __future__ import annotations

import heapq

import numpy as np

from mechcausal.circuits.edges.wiring import Wiring


def connected(wiring: Wiring, kept: np.ndarray) -> np.ndarray:
    """Return the kept edges that lie on a way from the embedding to the logits, [sender receiver position].

    A sender counts where one of the things it reads is reached; positions are not told apart on the way, because
    attention moves between them.

    Args:
        wiring: All edges that the model has.
        kept: The edges of the circuit, [sender receiver position].
    """
    joined = np.asarray(kept.any(-1))
    readers = wiring.readers
    from_start = np.zeros(len(wiring.senders), dtype=bool)
    from_start[0] = True
    for number in range(1, len(from_start)):  # senders stand in the order of computation
        read = joined[:, readers[number]]
        from_start[number] = bool((read & from_start[:, None]).any())
    to_end = np.zeros(len(wiring.senders), dtype=bool)
    reaches = np.zeros(len(wiring.receivers), dtype=bool)
    reaches[-1] = True
    for number in reversed(range(len(to_end))):
        to_end[number] = bool((joined[number] & reaches).any())
        if to_end[number]:
            reaches |= readers[number]
    return kept & (from_start[:, None] & reaches[None])[..., None]


def grown(wiring: Wiring, scores: np.ndarray, size: int) -> np.ndarray:
    """Return a circuit that grows from the logits: again and again the largest score into what is reached already.

    Every edge of it leads to the logits. What a head or an MLP reads is reached as soon as an edge from it is taken.

    Args:
        wiring: All edges that the model has.
        scores: What each edge contributes, [sender receiver position]; NaN is never taken.
        size: How many edges are taken at most.
    """
    kept = np.zeros(scores.size, dtype=bool)
    kept[growth(wiring, scores)[:size]] = True
    return kept.reshape(scores.shape)


def growth(wiring: Wiring, scores: np.ndarray) -> np.ndarray:
    """Return all edges in the order in which `grown` takes them, as numbers into the flat array of scores.

    Args:
        wiring: All edges that the model has.
        scores: What each edge contributes, [sender receiver position]; NaN is never taken.
    """
    sizes, order = np.where(wiring.possible[..., None], np.abs(scores), np.nan), []
    n_receivers, n_places = scores.shape[1:]
    reached = np.zeros(n_receivers, dtype=bool)
    waiting: list[tuple[float, int]] = []

    def reach(receiver: int) -> None:
        reached[receiver] = True
        for sender, position in zip(*np.nonzero(~np.isnan(sizes[:, receiver])), strict=True):
            number = (int(sender) * n_receivers + receiver) * n_places + int(position)
            heapq.heappush(waiting, (-float(sizes[sender, receiver, position]), number))

    reach(n_receivers - 1)
    while waiting:
        number = heapq.heappop(waiting)[1]
        order.append(number)
        for read in np.flatnonzero(wiring.readers[number // (n_receivers * n_places)] & ~reached):
            reach(int(read))
    return np.array(order, dtype=int)
