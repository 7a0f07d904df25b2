"""What edges outside a circuit carry instead of what the clean run gives them.

    counterfactual   what the sender adds in the corrupt prompt of the pair
    zero             nothing
    mean             what the sender adds on average, at each position if all prompts have one length, else over positions
    resample         what the sender adds in another clean prompt of the same length, drawn at random
    optimal          a constant for each sender, learned so that the run suffers least (Li and Janson 2024); see `constants`

A mean is taken over prompts, for each sender by itself. Means and constants of heads leave out the bias that the heads of
a layer share, which stays in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.circuits.edges.inputs import Inputs
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError

Ablation = Literal["counterfactual", "zero", "mean", "resample", "optimal"]


@dataclass
class Alternative:
    """What stands in for the contributions of senders.

    Attributes:
        kind: The word for it.
        prompts: Prompts, row against row, whose run gives the contributions; None where they are constants.
        constants: [sender model], or [position sender model] from the first token on; None where a run gives them.
    """

    kind: Ablation
    prompts: PromptSet | None = None
    constants: Tensor | None = None
    about: dict[str, object] = field(default_factory=dict)


def alternative(
    inputs: Inputs, pairs: Contrast, kind: Ablation, reference: Contrast | PromptSet | None, seed: int, senders: int
) -> Alternative:
    """Return what stands in for contributions; optimal constants are learned in `constants`.

    Args:
        inputs: The senders of the model.
        pairs: The pairs that are run.
        kind: The word for it.
        reference: The prompts whose means are taken; both sides of the pairs if None.
        seed: The seed of the draw, where prompts are drawn.
        senders: How many senders the model has.
    """
    shape = (senders, inputs.able.shape.d_model)
    if kind == "counterfactual":
        return Alternative(kind, pairs.corrupt)
    if kind == "resample":
        return Alternative(kind, pairs.clean.take(_drawn(pairs.clean, seed).tolist()), about={"drawn_seed": seed})
    if kind == "zero":
        return Alternative(kind, constants=torch.zeros(shape))
    pool = pairs if reference is None else reference
    sides = [pool.clean, pool.corrupt] if isinstance(pool, Contrast) else [pool]
    per_position = len({int(length) for side in [*sides, pairs.clean] for length in side.lengths}) == 1
    constants = means(inputs, sides, per_position=per_position)
    return Alternative(kind, constants=constants, about={"mean_per_position": per_position})


def _drawn(prompts: PromptSet, seed: int) -> np.ndarray:
    """Return for each prompt another one of the same length."""
    draw, chosen = np.random.default_rng(seed), np.arange(len(prompts))
    for length in np.unique(prompts.lengths.cpu().numpy()):
        rows = np.flatnonzero(prompts.lengths.cpu().numpy() == length)
        if len(rows) < 2:
            raise DataError(
                f"prompt {rows[0]} is the only one of {length} tokens, so no other can stand in for it",
                fix='bring more prompts of one length, or ablation="mean"',
            )
        order = draw.permutation(rows)
        chosen[order] = np.roll(order, 1)
    return chosen


@torch.no_grad()
def means(inputs: Inputs, sides: Sequence[PromptSet], *, per_position: bool, batch_size: int = 32) -> Tensor:
    """Return what each sender adds on average over prompts, [sender model] or [position sender model]."""
    from mechcausal.circuits.edges.tiles import contributions, recorded

    total, count = torch.zeros(()), torch.zeros(())
    for side in sides:
        for low in range(0, len(side), batch_size):
            batch = side.take(list(range(low, min(low + batch_size, len(side))))).to(inputs.device)
            base = recorded(inputs, batch)
            weight = batch.mask[..., None, None]
            added = torch.cat([contributions(inputs, base, layer) for layer in range(-1, len(inputs.layers))], dim=2)
            added = (added * weight).double()
            over = (0,) if per_position else (0, 1)
            total, count = total + added.sum(over), count + weight.double().sum(over)
    return (total / count).float()
