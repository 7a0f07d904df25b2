"""Evaluate the cells of a plan on one batch: changes, entries, stacks, metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric
from mechcausal.models.abilities import Abilities
from mechcausal.models.readout import Readouts
from mechcausal.models.replay.changes import Change, Changes, Key
from mechcausal.models.replay.stacks import Entries, chunks, run
from mechcausal.models.replay.twin import Base, Twin

BUDGET = 512 * 2**20
_CHUNK = 256  # rows of the whole vocabulary at a time

Cell = tuple[Edit, ...]


@dataclass
class Economy:
    """What was computed and what was not.

    Attributes:
        token_layers: Tokens times layers run for the cells.
        naive_token_layers: What one full forward for each cell would have run.
        skipped: Cells times examples that were answered without a run.
        asked: Cells times examples.
    """

    token_layers: int = 0
    naive_token_layers: int = 0
    skipped: int = 0
    asked: int = 0


@dataclass
class Job:
    """One batch with all that its cells need.

    Attributes:
        twin: The bare model.
        able: What the bridge can do.
        readouts: How heads and neurons enter the stream.
        batch: The prompts.
        values: The activations of the unedited run, by whole site.
        sources: What interventions take from elsewhere, by whole site and intervention.
        metric: The metric.
        reference: The logits a comparing metric compares with.
        economy: Where the cost is counted.
        budget: How many bytes one stack may take.
        tick: Called with the number of cells and examples answered.
    """

    twin: Twin
    able: Abilities
    readouts: Readouts
    batch: PromptSet
    values: Mapping[Site, Tensor]
    sources: Mapping[Key, Tensor]
    metric: Metric
    reference: Tensor | None
    economy: Economy
    budget: int = BUDGET
    tick: Callable[[int], None] = lambda count: None

    def run(self, cells: Sequence[Cell]) -> np.ndarray:
        """Return the metric, [cell example]; NaN where a prompt has no position that the cell selects."""
        base = self.twin.record(self.batch)
        final = base.hidden[-1]
        n, width = self.batch.tokens.shape
        self._prepare(final)
        untouched = self._measured(final, np.arange(n), 0)
        out = np.repeat(untouched[None], len(cells), axis=0)
        masks = self._masks(cells)
        maker = Changes(self.twin, self.able, self.readouts, base, self.values, self.sources)
        last = self.batch.read_columns if self.metric.reads != "all" else torch.full((n,), width - 1)
        layers = len(self.twin.layers)
        for block in self._blocks(cells):
            changes, entries = self._entries(maker, cells, masks, block, last.to(masks[0].device))
            self.economy.token_layers += entries.token_layers(layers, width)
            for part in chunks(entries, layers, width, self._row_bytes, self.budget):
                hidden = run(self.twin, base, part, changes, masks)
                out[part.cell, part.row] = self._measured(hidden, part.row, int(part.start[0]))
            self.tick(sum(len(group) for group in block) * n)
            self.economy.skipped += sum(len(group) for group in block) * n - len(entries)
        self.economy.asked += len(cells) * n
        self.economy.naive_token_layers += len(cells) * n * width * layers
        reached = torch.stack([mask.any(1) for mask in masks]).cpu().numpy()
        out[~reached] = np.nan
        return out

    # Which examples of which cells have to be run

    def _masks(self, cells: Sequence[Cell]) -> list[Tensor]:
        known: dict[str, Tensor] = {}
        out = []
        for cell in cells:
            union: Tensor | None = None
            for edit in cell:
                own = known.get(str(edit.at))
                if own is None:
                    own = known[str(edit.at)] = self.batch.select(edit.at)
                union = own if union is None else union | own
            assert union is not None  # an empty cell is the unedited run, which is no cell here
            out.append(union)
        return out

    def _blocks(self, cells: Sequence[Cell]) -> Iterator[list[list[int]]]:
        """Group cells that share an intervention and a site, as many groups at a time as memory holds."""
        groups: dict[object, list[int]] = {}
        for number, cell in enumerate(cells):
            shared = (cell[0].site, cell[0].do) if len(cell) == 1 else number
            groups.setdefault(shared, []).append(number)
        n, width = self.batch.tokens.shape
        size = max(1, self.budget // (2 * n * width * self.able.shape.d_model * 4))
        listed = list(groups.values())
        for low in range(0, len(listed), size):
            yield listed[low : low + size]

    def _entries(
        self, maker: Changes, cells: Sequence[Cell], masks: Sequence[Tensor], block: Sequence[list[int]], last: Tensor
    ) -> tuple[list[Change], Entries]:
        changes: list[Change] = []
        found: list[tuple[np.ndarray, ...]] = []
        for group in block:
            edits = cells[group[0]]
            where = torch.stack([masks[cell] for cell in group])
            own = [self.batch.select(edit.at) for edit in edits] if len(edits) > 1 else []
            change = maker.of(edits, own, where.any(0))
            live = where & change.moved
            starts = live.int().argmax(-1)
            runs = live.any(-1) & (starts <= last)
            cell, row = runs.nonzero(as_tuple=True)
            if len(cell):
                number = np.full(len(cell), len(changes))
                begin = starts[cell, row].cpu().numpy()
                named = np.asarray(group)[cell.cpu().numpy()]
                found.append((named, row.cpu().numpy(), begin, number, np.full(len(cell), change.layer)))
                changes.append(change)
        if not found:
            return changes, Entries(*[np.zeros(0, dtype=int)] * 5)
        return changes, Entries(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _row_bytes(self, tokens: int) -> int:
        shape, width = self.able.shape, self.batch.tokens.shape[1]
        inner = tokens * (6 * shape.d_model + 3 * max(shape.d_mlp, shape.d_model) + 3 * shape.n_heads * width)
        logits = width * self.twin.head.out_features * 2 if self.metric.reads == "all" else 0
        return 4 * (inner + 4 * width * shape.d_model + logits)

    # From final hidden states to the metric

    def _prepare(self, final: Tensor) -> None:
        batch = self.batch
        self._read = batch.read_columns
        self._columns = None
        if self.metric.reads == "answers":
            assert batch.answer is not None
            assert batch.foil is not None
            self._columns = torch.stack([batch.answer, batch.foil], dim=1)
        self._left = self.twin.logits(final) if self.metric.reads == "all" else None

    def _measured(self, hidden: Tensor, rows: np.ndarray, start: int) -> np.ndarray:
        """Return the metric of final hidden states that begin at column `start`."""
        index = torch.as_tensor(rows, device=hidden.device)
        parts = []
        for low in range(0, len(rows), _CHUNK):
            own, some = hidden[low : low + _CHUNK], index[low : low + _CHUNK]
            parts.append(self._of(own, some, start).float().cpu().numpy())
        return np.concatenate(parts).astype(float)

    def _of(self, hidden: Tensor, rows: Tensor, start: int) -> Tensor:
        compared = None
        if self.metric.reads == "all":
            assert self._left is not None
            logits = self._left[rows].clone() if start else torch.empty_like(self._left[rows])
            logits[:, start:] = self.twin.logits(hidden)
            compared = self.reference[rows] if self.metric.compares and self.reference is not None else None
            return self.metric(logits, self.batch.take(rows.cpu()), compared)
        at_read = hidden[torch.arange(len(rows), device=hidden.device), self._read[rows] - start]
        one = torch.ones(len(rows), 1, dtype=torch.bool, device=hidden.device)
        answer, foil = (None if ids is None else ids[rows] for ids in (self.batch.answer, self.batch.foil))
        if self._columns is not None:
            logits = self.twin.logits(at_read, self._columns[rows])
            answer, foil = torch.zeros_like(rows), torch.ones_like(rows)
        else:
            logits = self.twin.logits(at_read)
        if self.metric.compares and self.reference is not None:
            compared = self.reference[rows, self._read[rows]][:, None]
        asked = PromptSet(tokens=one.long(), mask=one, answer=answer, foil=foil)
        return self.metric(logits[:, None], asked, compared)


__all__ = ["BUDGET", "Base", "Cell", "Economy", "Job"]
