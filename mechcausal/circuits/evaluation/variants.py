"""Which circuits are run to judge one: itself, the rest, circuits of every size, random ones, itself without one edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.search.order import Order, first, ordered

CIRCUIT, REST, SIZE, RANDOM, WITHOUT = "circuit", "rest", "size", "random", "without"
PART_OF_CIRCUIT, PART_OF_MODEL = "circuit without a part", "model without a part"
COMPARED = (RANDOM, WITHOUT, PART_OF_CIRCUIT, PART_OF_MODEL)
"""Those that serve for comparison, and may be run on a sample of the pairs."""


@dataclass(frozen=True)
class Variant:
    """One circuit that is run.

    Attributes:
        role: `circuit`, `rest`, `size`, `random`, `without`, or one of the two `... without a part`.
        kept: Its edges, [sender receiver position].
        label: What it is called.
        facts: What the table says of it besides.
    """

    role: str
    kept: np.ndarray
    label: str
    facts: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the columns that say what it is."""
        return {
            "site": self.label, "component": "circuit", "at": "@all", "label": self.label, "role": self.role,
            "edges": int(self.kept.sum()), "share": np.nan, "draw": -1, **self.facts,
        }  # fmt: skip


def grid(circuit: Circuit, sizes: Sequence[float], how: Order) -> list[Variant]:
    """Return the circuits of all sizes by the circuit's own scores; none where it has no scores."""
    if not np.isfinite(circuit.scores).any():
        return []
    order = ordered(circuit.wiring, circuit.scores, how)
    return [
        Variant(SIZE, kept, f"{share:.1%} of edges", {"share": share})
        for share, kept in zip(sizes, _of_sizes(circuit, order, sizes), strict=True)
    ]


def drawn(circuit: Circuit, sizes: Sequence[float], how: Order, draws: int, seed: int) -> list[Variant]:
    """Return random circuits of the circuit's own size and of all others, made by the same rule from random scores."""
    variants = []
    for draw in range(draws):
        scores = random_scores(circuit.wiring, circuit.scores.shape, np.random.default_rng([seed, 31, draw]))
        order = ordered(circuit.wiring, scores, how)
        mask = first(circuit.wiring, order, len(circuit), circuit.kept.shape)
        variants.append(Variant(RANDOM, mask, f"random {draw}", {"draw": draw}))
        variants += [
            Variant(RANDOM, kept, f"random {draw}, {share:.1%} of edges", {"draw": draw, "share": share})
            for share, kept in zip(sizes, _of_sizes(circuit, order, sizes), strict=True)
        ]
    return variants


def random_scores(wiring: Wiring, shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    """Return a random score for each edge there is, [sender receiver position]."""
    return np.where(wiring.possible[..., None], draw.random(shape), np.nan)


def parts(circuit: Circuit, draws: int, seed: int) -> list[Variant]:
    """Return the circuit and the model without a random half of the circuit's edges, one after the other for each draw."""
    possible = np.broadcast_to(circuit.wiring.possible[..., None], circuit.kept.shape)
    listed, variants = np.argwhere(circuit.kept), []
    for draw in range(draws if len(listed) > 1 else 0):
        chosen = np.random.default_rng([seed, 29, draw]).choice(len(listed), size=len(listed) // 2, replace=False)
        part = np.zeros_like(circuit.kept)
        part[tuple(listed[chosen].T)] = True
        for role, kept in ((PART_OF_CIRCUIT, circuit.kept & ~part), (PART_OF_MODEL, possible & ~part)):
            variants.append(Variant(role, kept, f"{role}, draw {draw}", {"draw": draw}))
    return variants


def without(circuit: Circuit, most: int, seed: int) -> list[Variant]:
    """Return the circuit without each of its edges; of a large one half are the lowest-scored and half a random sample."""
    listed = np.argwhere(circuit.kept)
    size = np.nan_to_num(np.abs(circuit.scores[circuit.kept]), nan=np.inf)
    chosen = np.arange(len(listed))
    sampled = np.zeros(len(listed), dtype=bool)
    if len(listed) > most:
        lowest = np.argsort(size, kind="stable")[: most // 2]
        others = np.setdiff1d(chosen, lowest)
        drawn = np.random.default_rng([seed, 37]).choice(others, size=most - len(lowest), replace=False)
        sampled[drawn] = True
        chosen = np.sort(np.concatenate([lowest, drawn]))
    variants = []
    for number in chosen:
        kept = circuit.kept.copy()
        sender, receiver, position = edge = tuple(listed[number])
        kept[edge] = False
        wiring = circuit.wiring
        facts = {
            "sender": str(wiring.senders[sender]), "receiver": str(wiring.receivers[receiver]),
            "position": str(circuit.positions[position]), "score": float(circuit.scores[edge]),
            "sampled": bool(sampled[number]),
        }  # fmt: skip
        variants.append(Variant(WITHOUT, kept, f"without {facts['sender']} -> {facts['receiver']}", facts))
    return variants


def _of_sizes(circuit: Circuit, order: np.ndarray, sizes: Sequence[float]) -> list[np.ndarray]:
    count = circuit.wiring.count * len(circuit.positions)
    return [first(circuit.wiring, order, int(share * count), circuit.kept.shape) for share in sizes]
