"""Batches with little padding: prompts of like lengths together, and no column that is padding in all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from mechcausal.arguments import Share
from mechcausal.data.prompts import PromptSet

PADDING = 0.08  # the largest share of padding in a batch


def by_length(prompts: PromptSet) -> Tensor:
    """Return the rows from the shortest prompt to the longest, so that batches of consecutive rows have little padding."""
    return prompts.lengths.cpu().argsort(stable=True)


def trimmed(prompts: PromptSet) -> PromptSet:
    """Return the same prompts without the columns that are padding in all of them."""
    return prompts.padded(int(prompts.lengths.max()))


def batches(lengths: Tensor, batch_size: int, padding: Share = PADDING) -> list[Tensor]:
    """Return batches of rows of like lengths, of which at most a share is padding.

    Args:
        lengths: How many tokens each prompt has.
        batch_size: How many prompts a batch holds at most.
        padding: The largest share of padding in a batch.

    Example:
        >>> import torch
        >>> [batch.tolist() for batch in batches(torch.tensor([9, 3, 9, 3]), batch_size=3)]
        [[1, 3], [0, 2]]
    """
    order = lengths.cpu().argsort(stable=True)
    sizes = lengths.cpu()[order].tolist()
    made, start, total = [], 0, 0
    for end, size in enumerate(sizes):
        count = end - start
        if count and (count == batch_size or 1 - (total + size) / ((count + 1) * size) > padding):
            made.append(order[start:end])
            start, total = end, 0
        total += size
    return [*made, order[start:]]


def parts(prompts: PromptSet, rows: Tensor) -> Iterator[tuple[Tensor, PromptSet, int]]:
    """Yield some prompts in batches of like lengths: their rows, the prompts, and which column their first column was.

    Args:
        prompts: The prompts.
        rows: Which of them; they are at most one batch.
    """
    for index in batches(prompts.lengths[rows], len(rows)):
        batch = trimmed(prompts.take(rows[index]))
        gone = prompts.tokens.shape[1] - batch.tokens.shape[1]
        yield rows[index], batch, gone if prompts.side == "left" else 0


def padding_share(lengths: Tensor, rows: Sequence[Tensor]) -> float:
    """Return the share of padding in what a model computes for these batches."""
    computed = sum(len(batch) * int(lengths[batch].max()) for batch in rows)
    return 1 - int(lengths.sum()) / computed
