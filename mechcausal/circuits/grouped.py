"""Keys and values that several query heads share: told apart for each query head, and joined again.

Most implementations repeat the shared weights, so that each query head reads keys and values of its own. What a
key-value head reads is the sum of what its query heads read: the scores of their edges add up to first order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mechcausal.address.components import KV_COMPONENTS
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring


def ungrouped(circuit: Circuit) -> Circuit:
    """Return the circuit with keys and values of every query head's own.

    Each query head gets an equal part of the score of its key-value head, and is kept where that is. A circuit without
    shared keys and values is returned as it is.

    Args:
        circuit: A circuit over key-value heads.
    """
    wiring = circuit.wiring
    if not _shares(wiring) or wiring.split:
        return circuit
    apart = replace(wiring, split=True)
    source = _sources(apart, wiring)
    counts = np.bincount(source, minlength=len(wiring.receivers))
    parts = circuit.scores / counts[None, :, None]
    scores = parts[:, source]
    # The last of a group takes what is left, so that the parts add up to the score to the last digit.
    last = np.array([np.flatnonzero(source == number)[-1] for number in range(len(counts))])
    before = np.zeros_like(circuit.scores)
    for step in range(int(counts.max()) - 1):
        before += np.where((step < counts - 1)[None, :, None], parts, 0.0)
    scores[:, last] = circuit.scores - before
    spread = None if circuit.spread is None else (circuit.spread / counts[None, :, None])[:, source]
    return replace(circuit, wiring=apart, kept=circuit.kept[:, source], scores=scores, spread=spread)


def grouped(circuit: Circuit) -> Circuit:
    """Return the circuit with one reader for each key-value head, where query heads that share it are told apart.

    The scores of the query heads are added, and an edge is kept where it is kept for any of them. A circuit over
    key-value heads is returned as it is.

    Args:
        circuit: A circuit that may tell query heads apart as readers of shared keys and values.
    """
    if not _shares(circuit.wiring) or not circuit.wiring.split:
        return circuit
    joined = replace(circuit.wiring, split=False)
    source = _sources(circuit.wiring, joined)
    kept = np.zeros((len(joined.senders), len(joined.receivers), circuit.kept.shape[-1]), dtype=bool)
    for number, target in enumerate(source):
        kept[:, target] |= circuit.kept[:, number]
    # The errors of parts of one score go together, so they are added as well.
    spread = None if circuit.spread is None else _added(circuit.spread, source, kept.shape)
    return replace(circuit, wiring=joined, kept=kept, scores=_added(circuit.scores, source, kept.shape), spread=spread)


def _added(values: np.ndarray, source: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the sums over the receivers that are parts of one, [sender receiver position]; NaN where none has a value."""
    total, measured = np.zeros(shape), np.zeros(shape, dtype=bool)
    for number, target in enumerate(source):
        total[:, target] += np.nan_to_num(values[:, number], nan=0.0)
        measured[:, target] |= ~np.isnan(values[:, number])
    return np.where(measured, total, np.nan)


def _shares(wiring: Wiring) -> bool:
    return wiring.n_heads != wiring.n_kv_heads


def _sources(apart: Wiring, joined: Wiring) -> np.ndarray:
    """Return for each receiver that is told apart the number of the one that it is a part of, [receiver]."""
    shared = apart.n_heads // apart.n_kv_heads
    merged = [
        replace(site, head=site.head // shared) if site.component in KV_COMPONENTS and site.head is not None else site
        for site in apart.receivers
    ]
    return np.array([joined.receiver(site) for site in merged])
