"""Ways through a circuit: what is joined to both the embedding and the logits."""

from __future__ import annotations

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
    joined = kept.any(-1)
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
