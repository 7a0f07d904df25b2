"""The rival of a circuit: the best circuit of the same size that has none of its edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.ways import grown
from mechcausal.circuits.search.damage import damage
from mechcausal.circuits.search.pruning import prune

By = Literal["mask", "scores"]


@dataclass(frozen=True)
class Rival:
    """A circuit without any edge of another.

    Attributes:
        circuit: The circuit.
        by: Which search found it.
        damage: What it loses on the pairs of the search; less is better.
    """

    circuit: Circuit
    by: By
    damage: float


def rival(
    masked: Masked, circuit: Circuit, *, by: By = "mask", steps: int = 200, seed: int = 0, progress: bool = False
) -> Rival:
    """Return the best circuit of the same size that has none of a circuit's edges.

    The next best edges by the circuit's own scores are tried, grown from the logits. With `by="mask"` a mask over all
    other edges is learned as well, which knows that the circuit's edges are cut. The one that loses less is returned.

    Args:
        masked: The pairs of the search.
        circuit: The circuit to avoid.
        by: What is tried.
        steps: How many steps the mask is learned for.
        seed: The seed of the mask.
        progress: Whether a progress bar is shown.
    """
    rivals: list[Rival] = []
    others = np.where(circuit.kept, np.nan, circuit.scores)
    free = int((masked.wiring.possible[..., None] & ~circuit.kept).sum())
    size = min(len(circuit), free - 1)

    def tried(kept: np.ndarray, word: By, scores: np.ndarray) -> None:
        lost = float(damage(masked, masked.metric(kept)[None])[0])
        about = {**circuit.about, "method": f"rival by {word}"}
        rivals.append(Rival(Circuit(circuit.wiring, kept, scores, None, circuit.positions, about), word, lost))

    if np.isfinite(others).any():
        tried(grown(circuit.wiring, others, size), "scores", others)
    if (by == "mask" or not rivals) and size > 0:
        learned = prune(masked, size, steps=steps, seed=seed, forbidden=circuit.kept, progress=progress)
        tried(learned.kept, "mask", learned.scores)
    return min(rivals, key=lambda each: each.damage)
