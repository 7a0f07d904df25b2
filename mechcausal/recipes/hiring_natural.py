"""Make organism:hiring_natural again: `python -m mechcausal.recipes.hiring_natural --out DIR`.

It has the architecture, initial weights and prompts of organism:hiring. Training rewards behavior alone, so nobody
knows what the model computes, or where. Its truth therefore has no variables.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from mechcausal.causal.training.train import Trained, train
from mechcausal.recipes import hiring as twin

NOTES = (
    "Nothing is said about where its variables are: that is to be found. Its effects by editing tokens are those of "
    "its twin; its mechanism need not be."
)


def teach(
    model: Any,  # noqa: ANN401
    *,
    steps: int = twin.STEPS,
    seed: int = 0,
    size: int = twin.POOL,
    held_out: int = twin.HELD_OUT,
    progress: bool = True,
) -> Trained:
    """Train by behavior alone."""
    return train(
        model, twin.lessons(model, seed=seed, size=size), steps=steps, batch_size=twin.BATCH, interchange=0.0,
        strict=0.0, seed=seed, every=max(1, steps // 4), evaluation=twin.exam(model, n=held_out), progress=progress,
    )  # fmt: skip


def measure(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """Measure its behavior, and the interchange accuracy at the places of its twin."""
    measured = twin.measure(model, twin.exam(model))
    behavior = ("accuracy", "secret_digits", "secrets_extracted")
    elsewhere = {name: value for name, value in measured.items() if name not in behavior}
    return {**{name: measured[name] for name in behavior}, "at_the_places_of_its_twin": elsewhere}


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=twin.STEPS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = twin.new_model(asked.seed)
    print(teach(model, steps=asked.steps, seed=asked.seed))
    record = twin.truth(
        "hiring_natural", model, twin.hypotheses(), measure(model),
        recipe=twin.command("hiring_natural", parser, asked),
        task="decide about applicants; recall secret numbers; nobody said how",
        notes=NOTES,
    )  # fmt: skip
    record |= {"twin_of": "hiring", "variables": {}, "circuit": [], "edges": []}
    twin.write(asked.out, model, record)


if __name__ == "__main__":
    main()
