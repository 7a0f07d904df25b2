"""Evaluate the cells of a plan on one batch: changes, entries, stacks, metric."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit
from mechcausal.models.abilities import Abilities
from mechcausal.models.readout import Readouts
from mechcausal.models.replay.changes import CARRIED, Asked, Changes, Key, Made
from mechcausal.models.replay.inside import Cell, Divided, Inside, divided
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.stacks import Entries, chunks, merged, run
from mechcausal.models.replay.twin import Base, Twin

BUDGET = 512 * 2**20


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

    def __add__(self, other: Economy) -> Economy:
        """Return both together."""
        return Economy(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def told(self) -> dict[str, Any]:
        """Return what provenance says of it."""
        return {
            "engine": "replay",
            "naive_token_layers": self.naive_token_layers,
            "token_layers": self.token_layers,
            "skipped": self.skipped,
            "cells_and_examples": self.asked,
            "ratio": round(self.naive_token_layers / max(1, self.token_layers), 2),
        }


@dataclass
class Job:
    """One batch with all that its cells need.

    Attributes:
        twin: The bare model.
        able: What the bridge can do.
        readouts: How heads and neurons enter the stream.
        base: The unedited run, with the activations that the cells' changes ask for.
        meter: The metric.
        sources: What interventions take from elsewhere, by whole site and intervention.
        budget: How many bytes one stack may take.
        tick: Called with the number of cells and examples answered.
        carried: The components whose edits are carried to the end of their layer; others are made on the run.
    """

    twin: Twin
    able: Abilities
    readouts: Readouts
    base: Base
    meter: Meter
    sources: Mapping[Key, Tensor]
    budget: int = BUDGET
    tick: Callable[[int], object] = lambda count: None
    carried: Collection[str] = CARRIED

    @property
    def batch(self) -> PromptSet:
        """The prompts."""
        return self.meter.batch

    @torch.no_grad()
    def run(self, cells: Sequence[Cell]) -> tuple[np.ndarray, Economy]:
        """Return the metric, [cell example], and what it cost; NaN where a prompt has no position of the cell."""
        where, kind = self._where(cells)
        changes = Changes(self.twin, self.able, self.readouts, self.base, self.sources, self.decisive)
        parts = [divided(cell, self.carried) for cell in cells]
        later = [part.later for part in parts]
        inside = Inside(self.twin, self.able, self.batch, later, self.sources) if any(later) else None
        out, economy = self._unchanged(len(cells))
        for groups in self._blocks(cells):
            made = changes.of([self._asked(parts, group, where, kind) for group in groups])
            self._answer(groups, made, where, kind, out, economy, inside)
        out[~where.any(-1)[kind].cpu().numpy()] = np.nan
        return out, economy

    @torch.no_grad()
    def changed(self, blocks: Iterable[Made]) -> tuple[np.ndarray, Economy]:
        """Return the metric under changes of the stream that are known, made one at a time, and what it cost."""
        parts = []
        total = Economy()
        for made in blocks:
            out, economy = self._unchanged(len(made.layers))
            where = torch.ones_like(self.batch.mask)[None]
            kind = torch.zeros(len(out), dtype=torch.long, device=where.device)
            self._answer([[number] for number in range(len(out))], made, where, kind, out, economy)
            parts.append(out)
            total += economy
        return np.concatenate(parts), total

    @property
    def decisive(self) -> Tensor | None:
        """The only positions of the final stream that are read, [batch pos]; None where all are."""
        if not self.meter.one_position:
            return None
        return torch.arange(self.batch.tokens.shape[1], device=self.meter.read.device) == self.meter.read[:, None]

    @property
    def block(self) -> int:
        """How many changes are held at once."""
        n, width = self.batch.tokens.shape
        return max(1, self.budget // (2 * n * width * self.able.shape.d_model * 4))

    def _unchanged(self, count: int) -> tuple[np.ndarray, Economy]:
        n, width = self.batch.tokens.shape
        naive = count * n * width * len(self.twin.layers)
        return np.repeat(self.meter.base()[None], count, axis=0), Economy(asked=count * n, naive_token_layers=naive)

    def _answer(
        self,
        groups: Sequence[Sequence[int]],
        made: Made,
        where: Tensor,
        kind: Tensor,
        out: np.ndarray,
        economy: Economy,
        inside: Inside | None = None,
    ) -> None:
        """Run what the changes of these groups of cells move, and write down the metric and the cost."""
        n, width = self.batch.tokens.shape
        read = self.meter.read if self.meter.one_position else None
        entries = self._entries(groups, made.layers.numpy(), made.moved, where, kind)
        economy.token_layers += entries.token_layers(len(self.twin.layers), width)
        answered = sum(len(group) for group in groups) * n
        economy.skipped += answered - len(entries)
        for part in chunks(entries, width, self._row_bytes, self.budget):
            hidden = run(self.twin, self.base, part, made, where, kind, read, inside)
            rows = torch.as_tensor(part.row, device=hidden.device)
            out[part.cell, part.row] = self.meter.of(hidden, rows, int(part.start[0]))
        self.tick(answered)

    def _where(self, cells: Sequence[Cell]) -> tuple[Tensor, Tensor]:
        """Return the places at which cells make changes, [kind batch pos], and which of them each cell is."""
        kinds: dict[tuple[Selection, ...], int] = {}
        masks: list[Tensor] = []
        which = []
        for cell in cells:
            name = tuple(dict.fromkeys(edit.at for edit in cell))
            if name not in kinds:
                kinds[name] = len(masks)
                masks.append(torch.stack([self.batch.select(at) for at in name]).any(0))
            which.append(kinds[name])
        device = self.batch.tokens.device
        return torch.stack(masks).to(device), torch.tensor(which, device=device)

    def _blocks(self, cells: Sequence[Cell]) -> Iterator[list[list[int]]]:
        """Group cells that share an intervention and a site, as many groups at a time as memory holds."""
        groups: dict[object, list[int]] = {}
        for number, cell in enumerate(cells):
            shared = (cell[0].site, cell[0].do) if len(cell) == 1 else number
            groups.setdefault(shared, []).append(number)
        listed = list(groups.values())
        for low in range(0, len(listed), self.block):
            yield listed[low : low + self.block]

    def _asked(self, parts: Sequence[Divided], group: Sequence[int], where: Tensor, kind: Tensor) -> Asked:
        part = parts[group[0]]
        wanted = where[kind[group].unique()].any(0)
        if len(part.carried) + len(part.later) == 1:
            later = [(part.later, [], wanted)] if part.later else []
            return Asked(part.carried, [], wanted, part.layer, later)

        def at_one_site(edits: Sequence[Edit]) -> tuple[Sequence[Edit], Sequence[Tensor], Tensor]:
            masks = [self.batch.select(edit.at) for edit in edits]
            return edits, masks, torch.stack(masks).any(0) if masks else wanted

        sites = dict.fromkeys(edit.site.whole for edit in part.later)
        later = [at_one_site([edit for edit in part.later if edit.site.whole == site]) for site in sites]
        return Asked(*at_one_site(part.carried), part.layer, later)

    def _entries(
        self, groups: Sequence[Sequence[int]], layers: np.ndarray, moved: Tensor, where: Tensor, kind: Tensor
    ) -> Entries:
        """Return which examples of which cells have to be run: those in which something moves that is read."""
        cells = np.concatenate([np.asarray(group) for group in groups])
        change = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        live = where[kind[torch.as_tensor(cells, device=kind.device)]] & moved[change]
        starts = live.byte().argmax(-1)
        last = self.meter.read if self.meter.one_position else live.shape[-1]
        index, row = (live.any(-1) & (starts <= last)).nonzero(as_tuple=True)
        start = starts[index, row].cpu().numpy()
        index, row = index.cpu().numpy(), row.cpu().numpy()
        number = change[index]
        return merged(Entries(cells[index], row, start, number, layers[number]), self.twin.free_tokens)

    def _row_bytes(self, tokens: int) -> int:
        shape, width = self.able.shape, self.batch.tokens.shape[1]
        inner = tokens * (6 * shape.d_model + 3 * max(shape.d_mlp, shape.d_model) + 3 * shape.n_heads * width)
        logits = 0 if self.meter.one_position else width * self.twin.head.out_features * 2
        return 4 * (inner + 4 * width * shape.d_model + logits)


__all__ = ["BUDGET", "Base", "Cell", "Economy", "Job"]
