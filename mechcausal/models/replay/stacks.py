"""Run many changed examples through the upper layers together: one stack for each position at which a change begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mechcausal.models.replay.changes import Change
from mechcausal.models.replay.twin import Base, Twin


@dataclass(frozen=True)
class Entries:
    """Which cells change which examples, and where that begins; one entry for each that has to be run.

    Attributes:
        cell: The cell.
        row: The example, a row of the batch.
        start: The first column that changes.
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


def chunks(
    entries: Entries, n_layers: int, width: int, row_bytes: Callable[[int], int], budget: int
) -> Iterator[Entries]:
    """Cut the entries into stacks that begin at one column and fit into the budget of bytes."""
    order = np.lexsort((entries.row, entries.cell, entries.change, entries.layer, entries.start))
    begins = np.flatnonzero(np.diff(entries.start[order], prepend=-1))
    for first, last in zip(begins, [*begins[1:], len(order)], strict=True):
        start = int(entries.start[order[first]])
        size = max(1, budget // max(1, row_bytes(width - start)))
        for low in range(first, last, size):
            yield entries.take(order[low : min(low + size, last)])


def run(twin: Twin, base: Base, entries: Entries, changes: Sequence[Change], masks: Sequence[Tensor]) -> Tensor:
    """Return the final hidden states, [entry pos model], of entries that begin at one column, sorted by layer.

    Args:
        twin: The bare model.
        base: The unedited run.
        entries: The entries.
        changes: The changes, by number.
        masks: For each cell where its change is made, [batch pos].
    """
    device = base.hidden[0].device
    start = int(entries.start[0])
    rows = torch.as_tensor(entries.row, device=device)
    stack: Tensor | None = None
    count = 0
    for layer in range(int(entries.layer[0]), len(twin.layers) + 1):
        joining = np.flatnonzero(entries.layer == layer)
        if len(joining):
            new = _joined(base, entries.take(joining), changes, masks, layer, start)
            stack = new if stack is None else torch.cat([stack, new])
            count += len(joining)
        if layer < len(twin.layers):
            assert stack is not None  # the first layer is the lowest entry's
            stack = twin.layer(base, layer, stack, rows[:count], start)
    assert stack is not None
    return stack


def _joined(
    base: Base, entries: Entries, changes: Sequence[Change], masks: Sequence[Tensor], layer: int, start: int
) -> Tensor:
    parts = []
    for number in dict.fromkeys(entries.change.tolist()):
        own = entries.change == number
        rows = torch.as_tensor(entries.row[own], device=base.hidden[0].device)
        where = torch.stack([masks[cell] for cell in dict.fromkeys(entries.cell[own].tolist())])
        which = torch.as_tensor(np.unique(entries.cell[own], return_inverse=True)[1], device=rows.device)
        made = where[which, rows, start:]
        moved = changes[number].delta[rows, start:] * made[..., None].to(changes[number].delta.dtype)
        parts.append(base.hidden[layer][rows, start:] + moved)
    return torch.cat(parts) if len(parts) > 1 else parts[0]
