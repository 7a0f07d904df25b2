"""Batches with little padding: prompts of like lengths together, and no column that is padding in all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from mechcausal.data.prompts import PromptSet


def by_length(prompts: PromptSet) -> Tensor:
    """Return the rows from the shortest prompt to the longest, so that batches of consecutive rows have little padding."""
    return prompts.lengths.cpu().argsort(stable=True)


def trimmed(prompts: PromptSet) -> PromptSet:
    """Return the same prompts without the columns that are padding in all of them."""
    return prompts.padded(int(prompts.lengths.max()))


def padding_share(prompts: PromptSet, batch_size: int) -> float:
    """Return the share of padding in what a model computes when the prompts are batched by length."""
    lengths = prompts.lengths.cpu()[by_length(prompts)]
    computed = sum(len(batch) * int(batch.max()) for batch in torch.split(lengths, batch_size))
    return 1 - int(lengths.sum()) / computed
