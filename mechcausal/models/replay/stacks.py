"""Run many changed examples through the upper layers together, in stacks that begin at one position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mechcausal.models.replay.changes import Made
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
        return Entries(*(getattr(self, name)[index] for name in ("cell", "row", "start", "change", "layer")))

    def token_layers(self, n_layers: int, width: int) -> int:
        """Return how many tokens all layers together have to compute."""
        return int(((n_layers - self.layer) * (width - self.start)).sum())


def merged(entries: Entries, free: int) -> Entries:
    """Let entries begin earlier where that costs fewer tokens in a layer than one more call of the layer does.

    Args:
        entries: The entries.
        free: How many tokens take as long as calling a layer once more.
    """
    starts, count = np.unique(entries.start, return_counts=True)
    begins = {}
    first = -1
    for start, rows in zip(starts.tolist(), count.tolist(), strict=True):
        if first < 0 or rows * (start - first) > free:
            first = start
        begins[start] = first
    start = np.array([begins[start] for start in entries.start.tolist()], dtype=int)
    return Entries(entries.cell, entries.row, start, entries.change, entries.layer)


def chunks(entries: Entries, width: int, row_bytes: Callable[[int], int], budget: int) -> Iterator[Entries]:
    """Cut the entries into stacks that begin at one column and fit into the budget of bytes."""
    if not len(entries):
        return
    order = np.lexsort((entries.row, entries.cell, entries.change, entries.layer, entries.start))
    begins = np.flatnonzero(np.diff(entries.start[order], prepend=-1))
    for first, last in zip(begins, [*begins[1:], len(order)], strict=True):
        start = int(entries.start[order[first]])
        size = max(1, budget // max(1, row_bytes(width - start)))
        for low in range(first, last, size):
            yield entries.take(order[low : min(low + size, last)])


def run(
    twin: Twin,
    base: Base,
    entries: Entries,
    made: Made,
    where: Tensor,
    kind: Tensor,
    read: Tensor | None,
    inside: Inside | None = None,
) -> Tensor:
    """Return the final hidden states of entries that begin at one column, sorted by layer.

    Args:
        twin: The bare model.
        base: The unedited run.
        entries: The entries.
        made: The changes, by number.
        where: Where cells make their changes, [kind batch pos].
        kind: Which of these each cell is.
        read: The one column of each example that is wanted; None for all columns.
        inside: The edits that cells make on the run.

    Returns:
        [entry model] at the columns wanted, or [entry pos model].
    """
    device = base.hidden[0].device
    start, last = int(entries.start[0]), len(twin.layers)
    rows, cells, changes = (
        torch.as_tensor(part, device=device) for part in (entries.row, entries.cell, entries.change)
    )
    if read is not None and entries.layer[0] == last:
        return _final(base, made, rows, changes, read)
    ends = np.searchsorted(entries.layer, np.arange(last + 1), side="right")
    stack = base.hidden[0][:0, start:]
    passage = inside.on(entries.cell, rows, start) if inside else None
    for layer in range(int(entries.layer[0]), last + 1):
        if ends[layer] > len(stack):
            new = slice(len(stack), int(ends[layer]))
            own = rows[new]
            made_there = where[kind[cells[new]], own, start:, None]
            change = made.delta[changes[new], own, start:] * made_there.to(made.delta.dtype)
            joined = change.add_(base.hidden[layer][own, start:])
            stack = torch.cat([stack, joined]) if len(stack) else joined
        if passage:
            stack = passage.between(layer, stack)
        if layer == last - 1 and read is not None and not (passage and passage.touches(layer)):
            done = twin.last_layer(base, stack, rows[: len(stack)], start, read[rows[: len(stack)]])
            late = slice(int(ends[layer]), len(rows))
            return torch.cat([done, _final(base, made, rows[late], changes[late], read)])
        if layer < last:
            with passage.during(layer, stack) if passage else nullcontext():
                stack = twin.layer(base, layer, stack, rows[: len(stack)], start)
    return stack if read is None else stack[torch.arange(len(rows), device=device), read[rows] - start]


def _final(base: Base, made: Made, rows: Tensor, changes: Tensor, read: Tensor) -> Tensor:
    """Return final hidden states at the column that is read, of entries that only change those."""
    at = rows, read[rows]
    return base.hidden[-1][at] + made.delta[changes, *at]
