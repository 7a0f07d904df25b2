"""Circuits over a small wiring and over organisms, that several tests share."""

import numpy as np

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.slopes import edge_scores, passed, slopes
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.search.order import first, ordered

WIRING = Wiring(n_layers=3, n_heads=2, n_kv_heads=1)
# What carries gender to the answer in `organism:by_hand`: a head reads it, and an MLP joins it with the level.
BY_HAND = [
    ("embed", "L0.v.H0"), ("L0.z.H0", "L1.mlp_out"), ("L0.z.H0", "logits"), ("L1.mlp_out", "logits"),
]  # fmt: skip


def circuit_of(edges=(("embed", "L0.v.H0"), ("L0.z.H0", "logits")), **about):
    return Circuit.of(WIRING, edges, about)


def scored_circuit(n=12, seed=0, **about):
    scores = np.random.default_rng(seed).normal(size=(*WIRING.possible.shape, 1))
    return Circuit(WIRING, np.zeros(scores.shape, dtype=bool), scores, about=about).top(n)


def by_first_order(model, pairs, n, metric="logit_diff", how="greedy", **about):
    """Return the circuit of the n edges with the largest first-order effects."""
    masked = Masked(model, pairs, metric)
    total = np.zeros(masked.shape)
    for tile in masked.tiles:
        found = slopes(tile, passed(tile, masked.wiring))
        total += edge_scores(tile, masked.wiring, found).detach().sum(0).numpy()
    scores = np.where(masked.wiring.possible[..., None], total / masked.n, np.nan)
    kept = first(masked.wiring, ordered(masked.wiring, scores, how), n, scores.shape)
    told = {"method": "eap", "metric": metric, "ablation": "counterfactual", "search": how, **about}
    return Circuit(masked.wiring, kept, scores, about=told)
