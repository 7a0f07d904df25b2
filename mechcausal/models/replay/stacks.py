"""Run many changed examples through the upper layers together, in stacks that begin at one position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from mechcausal.models.replay.inside import Inside
from mechcausal.models.replay.twin import Base, Twin


@dataclass(frozen=True)
class Entries:
    """Which cells change which examples, and where that begins; one entry for each that has to be run.

    Attributes:
        cell: The cell.
        row: The example, a row of the batch.
        start: The first column that is computed again.
        change: The number of the change.
        layer: The layer whose input changes.
    """

    cell: np.ndarray
    row: np.ndarray
    start: np.ndarray
    change: np.ndarray
    layer: np.ndarray

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.cell)

    def take(self, index: np.ndarray) -> Entries:
        """Return some of them."""
        return Entries(*(getattr(self, part.name)[index] for part in fields(self)))

    def token_layers(self, n_layers: int, width: int) -> int:
        """Return how many tokens all layers together have to compute."""
        return int(((n_layers - self.layer) * (width - self.start)).sum())


def merged(entries: Entries, free: int) -> Entries:
    """Let entries begin earlier where that costs fewer tokens in a layer than one more call of the layer does.

    Args:
        entries: The entries.
        free: How many tokens take as long as calling a layer once more.
    """
    starts, which, count = np.unique(entries.start, return_inverse=True, return_counts=True)
    begins = starts.copy()
    for number in range(1, len(starts)):
        if count[number] * (starts[number] - begins[number - 1]) <= free:
            begins[number] = begins[number - 1]
    return replace(entries, start=begins[which])


def chunks(entries: Entries, width: int, row_bytes: Callable[[int], int], budget: int) -> Iterator[Entries]:
    """Cut the entries into stacks that begin at one column and fit into the budget of bytes."""
    order = np.lexsort((entries.row, entries.cell, entries.change, entries.layer, entries.start))
    begins = np.flatnonzero(np.diff(entries.start[order], prepend=-1))
    for first, last in zip(begins, [*begins[1:], len(order)], strict=False):
        size = max(1, budget // max(1, row_bytes(width - int(entries.start[order[first]]))))
        for low in range(first, last, size):
            yield entries.take(order[low : min(low + size, last)])


def run(
    twin: Twin, base: Base, entries: Entries, delta: Tensor, where: Tensor, read: Tensor | None, inside: Inside | None
) -> Tensor:
    """Return the final hidden states of entries that begin at one column, sorted by layer.

    Args:
        twin: The bare model.
        base: The unedited run.
        entries: The entries.
        delta: The changes of the stream, [change batch pos model].
        where: Where the cell of each entry makes its own, [entry pos].
        read: The one column of each example that is wanted; None for all columns.
        inside: The edits that cells make on the run.

    Returns:
        [entry model] at the columns wanted, or [entry pos model].
    """
    start, last = int(entries.start[0]), len(twin.layers)
    rows, changes = (torch.as_tensor(part, device=delta.device) for part in (entries.row, entries.change))
    ends = np.searchsorted(entries.layer, np.arange(last + 1), side="right").tolist()
    passage = inside.on(entries.cell, rows, start) if inside else None

    def final(late: slice) -> Tensor:
        """Return what is read of entries that change nothing but the final stream."""
        assert read is not None
        at = rows[late], read[rows[late]]
        return base.hidden[-1][at] + delta[changes[late], *at]

    if read is not None and entries.layer[0] == last:
        return final(slice(None))
    stack = delta.new_empty(0, base.width - start, delta.shape[-1])
    for layer in range(int(entries.layer[0]), last + 1):
        if ends[layer] > len(stack):
            new = slice(len(stack), ends[layer])
            change = delta[changes[new], rows[new], start:].mul_(where[new, start:, None])
            joined = change.add_(base.hidden[layer][rows[new], start:])
            stack = torch.cat([stack, joined]) if len(stack) else joined
        if passage:
            stack = passage.between(layer, stack)
        stack_rows = rows[: len(stack)]
        if layer == last - 1 and read is not None and not (passage and passage.touches(layer)):
            done = twin.last_layer(base, stack, stack_rows, start, read[stack_rows])
            return torch.cat([done, final(slice(len(stack), None))])
        if layer < last:
            with passage.during(layer, stack) if passage else nullcontext():
                stack = twin.layer(base, layer, stack, stack_rows, start)
    return stack if read is None else stack[torch.arange(len(rows), device=rows.device), read[rows] - start]
