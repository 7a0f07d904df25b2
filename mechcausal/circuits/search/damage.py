"""What a run has lost against the clean run, in one number: what searches keep small."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mechcausal.circuits.edges.masked import Masked


def damage(masked: Masked, values: np.ndarray) -> np.ndarray:
    """Return the loss of each variant, [variant] from [variant prompt].

    A metric that compares with the clean run, such as `kl`, is itself the loss. Of any other metric it is the mean
    distance from the clean run, taken prompt by prompt so that opposite changes do not cancel.

    Args:
        masked: The pairs.
        values: The metric of every prompt.
    """
    if masked.metric_of_prompts.compares:
        return values.mean(-1)
    return np.abs(values - masked.clean).mean(-1)


def smooth_damage(masked: Masked, values: Tensor, clean: Tensor, scale: float) -> Tensor:
    """Return the loss of one batch that descent can follow: the metric itself, or squares of distances in units of `scale`.

    Args:
        masked: The pairs.
        values: The metric of every prompt of the batch, [variant prompt].
        clean: That of the clean run, [prompt].
        scale: The size of the behavior.
    """
    if masked.metric_of_prompts.compares:
        return values.mean()
    return torch.square((values - clean) / scale).mean()


def whole(masked: Masked) -> float:
    """Return the loss with every edge cut."""
    return float(damage(masked, masked.corrupt[None])[0])
