"""The methods that are compared: all that `mc.discover` knows, chance last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.discover import discover
from mechcausal.circuits.scores import SCORERS
from mechcausal.data.contrast import Contrast
from mechcausal.metrics import METRICS

Scorer = Callable[[Any, Contrast, int], Circuit]
"""From a model, pairs and a seed to a circuit with scores."""

CHANCE = "random"
_AT_CLEAN = ("eap", "clean-corrupted", "atp*")
"""Methods that take a slope in the clean run, where a metric that compares with it has none."""


def names() -> list[str]:
    """Return the names of all methods."""
    return [*(name for name in SCORERS if name != CHANCE), CHANCE]


def scorers(
    methods: Sequence[str] | Mapping[str, Callable[..., Any]] | None, metric: str = "logit_diff"
) -> dict[str, Scorer]:
    """Return the scorer of each method by its name.

    Args:
        methods: Names that `discover` takes, or scorers by names of your own; all methods if None.
        metric: What methods of `discover` measure; the log-odds where a method takes a slope that this one does not have.
    """
    if isinstance(methods, Mapping):
        return dict(methods)
    return {name: _scorer(name, metric) for name in (names() if methods is None else methods)}


def _scorer(name: str, metric: str) -> Scorer:
    _ = SCORERS[name]  # refuses an unknown name before anything is computed
    asked = "logit_diff" if METRICS[metric].flat_at_reference and name in _AT_CLEAN else metric

    def score(model: Any, pairs: Contrast, seed: int) -> Circuit:  # noqa: ANN401 - a bridge
        return discover(model, pairs, method=name, metric=asked, seed=seed)

    return score


def forwards_of(circuit: Circuit) -> float | None:
    """Return how many forwards of one prompt a circuit took to find; None where it does not say."""
    compute = circuit.about.get("provenance", {}).get("compute", {})
    return compute.get("forwards")
