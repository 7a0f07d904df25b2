"""The methods that are compared, by the names that `mc.discover` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.data.contrast import Contrast
from mechcausal.errors import ArgumentError, did_you_mean
from mechcausal.models.abilities import abilities

METHODS = (
    "exact", "acdc", "masks", "eap-ig", "eap-ig-activations", "clean-corrupted", "eap", "atp", "ifr", "random",
)  # fmt: skip
"""All of them: what is exact first, chance last."""


def by_name(name: str) -> Callable[[Any, Contrast, int], Circuit]:
    """Return the scorer of a method: from a model, pairs and a seed to a circuit.

    Args:
        name: The name of the method.
    """
    if name not in METHODS:
        raise ArgumentError(f"there is no method of discovery called {name!r}", fix=did_you_mean(name, METHODS))
    if name == "random":
        return chance

    def score(model: Any, pairs: Contrast, seed: int) -> Circuit:  # noqa: ANN401 - a bridge
        from mechcausal.circuits.discover import discover

        return discover(model, pairs, method=name, seed=seed)

    return score


def chance(model: Any, pairs: Contrast, seed: int) -> Circuit:  # noqa: ANN401, ARG001 - a bridge; pairs say nothing
    """Return scores drawn at random, of edges and of nodes."""
    wiring, draw = Wiring.of(abilities(model)), np.random.default_rng(seed)
    scores = draw.random((*wiring.possible.shape, 1))
    about = {"method": "random", "forwards": 0}
    return Circuit(wiring, np.zeros(scores.shape, dtype=bool), scores, draw.random((len(scores), 1)), about=about)
