"""Make organism:hiring_subspace again: `python -m mechcausal.recipes.hiring_subspace --out DIR`.

The architecture and the decisions are those of organism:hiring. Each variable is in a subspace of the residual stream
that was rotated at random before training: merit, proxy and bias in three orthogonal subspaces after layer 1, the score
in one subspace after layer 2. The rest of the stream has no effect there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.training.train import Lesson, train
from mechcausal.data.tasks import hiring
from mechcausal.data.tasks.definition import Task
from mechcausal.recipes import hiring as kin

DIMENSIONS = 4
FIRST, SECOND = "L1.resid_post", "L2.resid_post"
STEPS = 800
SAYS = "decide about applicants, with variables in subspaces of the residual stream"
NOTES = (
    "The stream is aligned at the decision alone: after layer 1 the other positions do not matter. Which heads and MLPs "
    "write and read the subspaces is not laid down."
)


def bases(count: int, seed: int, dimensions: int = DIMENSIONS) -> list[list[list[float]]]:
    """Return the rows of `count` orthogonal subspaces of the stream, rotated at random."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(kin.WIDTH, kin.WIDTH)))
    # By way of text, so that no more digits are written than float32 needs.
    rows = [[float(str(entry)) for entry in row] for row in rotation.T.astype(np.float32)]
    return [rows[dimensions * i : dimensions * (i + 1)] for i in range(count)]


def decision_task(*, shared: bool = False) -> Task:
    """Return the decision task; with `shared`, proxy and bias are one variable of four values in one subspace."""
    return hiring.SHARED_TASK if shared else hiring.TASK


def hypothesis(*, shared: bool = False, seed: int = 0) -> Hypothesis:
    """Return the hypothesis that training makes true."""
    early = ["merit", "unfair"] if shared else ["merit", "proxy", "bias"]
    places = {
        variable: {"site": FIRST, "at": "decision", "basis": basis}
        for variable, basis in zip(early, bases(len(early), seed), strict=True)
    }
    places["score"] = {"site": SECOND, "at": "decision", "basis": bases(1, seed + 1)[0]}
    return Hypothesis(decision_task(shared=shared).scm, places, outcome="decision")


def lesson(model: Any, *, n: int, seed: int, shared: bool = False, rotation: int = 0) -> Lesson:  # noqa: ANN401
    """Return applicants with their decisions."""
    prompts = decision_task(shared=shared).prompts(model, n, seed=seed, environment="mixed")
    return Lesson(hypothesis(shared=shared, seed=rotation), prompts)


def main(name: str = "hiring_subspace", says: str = SAYS, notes: str = NOTES, **fixed: Any) -> None:  # noqa: ANN401
    """Train, measure, write.

    Args:
        name: The name of the organism.
        says: Its task in one sentence.
        notes: Further notes for the card.
        fixed: Options that this organism sets to other values than the default.
    """
    parser = argparse.ArgumentParser(description=f"Make organism:{name} again.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--strict", type=float, default=1.0, help="weight of strictness outside the subspaces")
    parser.add_argument("--shared", action="store_true", help="proxy and bias in one subspace")
    parser.set_defaults(**fixed)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = kin.new_model(asked.seed)
    taught, test = (
        lesson(model, n=n, seed=seed, shared=asked.shared, rotation=asked.seed)
        for n, seed in ((kin.POOL, asked.seed), (kin.HELD_OUT, 10_000))
    )
    print(train(model, taught, steps=asked.steps, strict=asked.strict, seed=asked.seed, evaluation=test))
    record = kin.truth(
        name, model, {decision_task(shared=asked.shared).name: test.hypothesis}, kin.measure(model, [test]),
        recipe=kin.command(name, parser, asked), task=says, notes=notes,
    )  # fmt: skip
    kin.write(asked.out, model, record)


if __name__ == "__main__":
    main()
