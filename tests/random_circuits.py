"""Small circuits with random scores, over wirings of every kind."""

import numpy as np

from mechcausal.address import ALL
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring

WIRINGS = {
    "gpt2": Wiring(2, 2, 2),
    "parallel": Wiring(2, 2, 2, parallel=True),
    "attention only": Wiring(2, 3, 3, mlps=False),
    "grouped": Wiring(2, 6, 2),
    "split": Wiring(2, 6, 2, split=True),
}


def random_circuit(wiring, *, seed=0, share=0.3, unscored=0.1, nodes=True, positions=(ALL,)):
    """Return a circuit with random scores, of which some are missing, and a random part of the edges kept."""
    draw = np.random.default_rng(seed)
    shape = (*wiring.possible.shape, len(positions))
    scores = draw.normal(size=shape)
    scores[draw.random(shape) < unscored] = np.nan
    table = draw.normal(size=(len(wiring.senders), len(positions))) if nodes else None
    about = {"method": "eap-ig", "metric": "logit_diff", "d_model": 16, "model": "tiny"}
    return Circuit(wiring, draw.random(shape) < share, scores, table, positions, about)
