"""Which edges the weights of a compiled organism have: what a sender writes, a receiver reads, and the answer needs.

These models have no layer norm, and each dimension of their stream has a name, so most weights are exactly zero. An edge
exists where a sender writes to a dimension from which the receiver reads something that reaches the logits. It matters in
a set of pairs if what is written there can differ between the two prompts: it comes from a word that differs. Positions
never differ, as the prompts of a pair have as many words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mechcausal.circuits.edges.wiring import Wiring

Weights = Mapping[str, np.ndarray]


def is_compiled(weights: Weights) -> bool:
    """Say whether these are weights of a compiled model: under the names of a HookedTransformer, without layer norms."""
    return "embed.W_E" in weights and not any(".ln" in name or "ln_final" in name for name in weights)


@dataclass(frozen=True)
class _Head:
    """Which dimensions a head has to do with, as booleans: each of its three inputs, and its channels on the way out."""

    query: np.ndarray  # [dim]
    key: np.ndarray  # [dim]
    value: np.ndarray  # [dim channel]
    out: np.ndarray  # [channel dim]


def live_edges(wiring: Wiring, weights: Weights, differing: np.ndarray) -> np.ndarray:
    """Return the edges along which a difference can reach the logits, [sender receiver].

    Args:
        wiring: All edges of the model.
        weights: Its weights.
        differing: The numbers of the words that stand against each other in a pair and differ, [pair-of-words, side].
    """
    reads = _reads(wiring, weights)
    written = _written(wiring, weights, differing)
    return wiring.possible & ((written.astype(int) @ reads.astype(int).T) > 0)


def _head(weights: Weights, layer: int, head: int) -> _Head:
    part = {name: weights[f"blocks.{layer}.attn.W_{name}"][head] != 0 for name in "QKVO"}
    bias = {name: weights[f"blocks.{layer}.attn.b_{name}"][head] != 0 for name in "QK"}
    # A channel of the query counts where keys have it too, and the other way round.
    query_channels, key_channels = part["Q"].any(0) | bias["Q"], part["K"].any(0) | bias["K"]
    return _Head(part["Q"][:, key_channels].any(1), part["K"][:, query_channels].any(1), part["V"], part["O"])


def _mlp(weights: Weights, layer: int) -> tuple[np.ndarray, np.ndarray]:
    return weights[f"blocks.{layer}.mlp.W_in"] != 0, weights[f"blocks.{layer}.mlp.W_out"] != 0


def _reads(wiring: Wiring, weights: Weights) -> np.ndarray:
    """Return what each receiver reads that reaches the logits, [receiver dim], from the last to the first."""
    reads = np.zeros((len(wiring.receivers), weights["unembed.W_U"].shape[0]), dtype=bool)
    needed = reads[-1] = (weights["unembed.W_U"] != 0).any(1)
    for layer in reversed(range(wiring.n_layers)):
        *inputs, into_mlp = range(*wiring.receivers_of(layer).indices(len(wiring.receivers)))
        w_in, w_out = _mlp(weights, layer)
        reads[into_mlp] = w_in[:, w_out[:, needed].any(1)].any(1)
        needed = needed | reads[into_mlp]
        read_by_heads = np.zeros_like(needed)
        for number in range(wiring.n_heads):
            head = _head(weights, layer, number)
            channels = head.out[:, needed].any(1)
            query, key, value = (inputs[kind * wiring.n_heads + number] for kind in range(3))
            reads[value] = head.value[:, channels].any(1)
            if reads[value].any():  # a head that takes nothing along may look where it wants
                reads[query], reads[key] = head.query, head.key
            read_by_heads |= reads[value] | reads[query] | reads[key]
        needed = needed | read_by_heads
    return reads


def _written(wiring: Wiring, weights: Weights, differing: np.ndarray) -> np.ndarray:
    """Return where what each sender writes can differ, [sender dim], from the first to the last."""
    words = weights["embed.W_E"]
    written = np.zeros((len(wiring.senders), words.shape[1]), dtype=bool)
    written[0] = (words[differing[:, 0]] != words[differing[:, 1]]).any(0)
    for layer in range(wiring.n_layers):
        first = wiring.senders_of(layer).start
        stream = written[:first].any(0)
        for number in range(wiring.n_heads):
            head = _head(weights, layer, number)
            elsewhere = bool((stream & (head.query | head.key)).any())
            channels = head.value.any(0) if elsewhere else head.value[stream].any(0)
            written[first + number] = head.out[channels].any(0)
        mlp = first + wiring.n_heads
        w_in, w_out = _mlp(weights, layer)
        written[mlp] = w_out[w_in[written[:mlp].any(0)].any(0)].any(0)
    return written
