"""Evaluate the cells of a plan on one batch: unedited runs, changes, entries, stacks, metric."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Site
from mechcausal.data.selected import Selected
from mechcausal.interventions.specs import Edit
from mechcausal.models.plan import Cell, Economy, Found, Plan
from mechcausal.models.replay.changes import Changes, Made, Sources, divided, needed
from mechcausal.models.replay.inside import Inside
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.stacks import Entries, chunks, merged, run
from mechcausal.models.replay.twin import Base, Twin, recorded
from mechcausal.models.sources import from_elsewhere, source_of

BUDGET = 512 * 2**20
_NEAR = 64 * 2**20  # beyond this a processor waits for memory: fresh pages, and nothing left in its caches
Tick = Callable[[int], object]
_Block = tuple[Sequence[Sequence[int]], Made]  # groups of cells, and the change of each


def replay(
    twin: Twin,
    plan: Plan,
    carried: Collection[str],
    compared: Tensor | None = None,
    *,
    budget: int = BUDGET,
    tick: Tick = lambda _: None,
    unedited: bool = False,
    selected: Selected | None = None,
) -> Found:
    """Evaluate a plan of one batch.

    Args:
        twin: The bare model.
        plan: What is to be computed; its prompts are on the device of the model.
        carried: The kinds of sites whose edits are carried to the end of their layer; others are made on the run.
        compared: The logits that a comparing metric compares with.
        budget: How many bytes one stack may take.
        tick: Called with the number of cells and examples answered.
        unedited: Measure the unedited source run too.
        selected: The selections of the base prompts, where some are found already.
    """
    edits = [edit for cell in plan.cells for edit in cell]
    asked = needed(list(dict.fromkeys(edit.site for edit in edits)), twin.able)
    base, forwards = recorded(twin, plan.base, asked, plan.memory)
    meter = Meter(twin, plan.base, plan.metric, compared, base.hidden[-1])
    taken: dict[Site, Tensor] = {}
    source = np.full(len(plan.base), np.nan)
    wholes = from_elsewhere(plan.cells)
    if plan.rows is not None and (wholes or unedited):
        if plan.source is None:
            other, more = recorded(twin, plan.rows, wholes, plan.memory)
            taken, forwards = other.values, forwards + more
            if unedited:
                source = Meter(twin, plan.rows, plan.metric, compared, other.hidden[-1]).base()
        else:
            taken, run = plan.source.recorded(twin.wrapped(), plan.base, plan.rows, wholes)
            forwards += 1
            if unedited:
                source = run.score(plan.metric, plan.rows, compared).float().cpu().numpy()
    keys = dict.fromkeys((edit.site.whole, edit.do) for edit in edits)
    given = {key: source_of(Edit(*key), taken, plan.means, plan.base) for key in keys}
    sources = {key: value for key, value in given.items() if value is not None}
    job = Job(twin, base, meter, budget, tick, selected)
    job.dry = plan.dry
    return Found(job.edited(plan.cells, sources, carried), job.unedited, source, forwards, job.economy)


class Job:
    """One batch on which cells are evaluated.

    Args:
        twin: The bare model.
        base: The unedited run, with the activations that the cells' changes ask for.
        meter: The metric.
        budget: How many bytes one stack may take.
        tick: Called with the number of cells and examples answered.
        selected: The selections of the batch, where some are found already.

    Attributes:
        dry: Whether cells are only counted.
        unedited: The metric of the unedited run, [example].
        economy: What the cells have cost so far.
        block: How many changes are held at once.
        stack: How many bytes one stack takes.
    """

    def __init__(
        self,
        twin: Twin,
        base: Base,
        meter: Meter,
        budget: int = BUDGET,
        tick: Tick = lambda _: None,
        selected: Selected | None = None,
    ) -> None:
        self.twin, self.base, self.meter, self.tick, self.dry = twin, base, meter, tick, False
        self.selected, self.economy, self.unedited = selected or Selected(meter.batch), Economy(), meter.base()
        self.block = max(1, budget // (2 * base.hidden[0].numel() * 4))
        self.stack = min(budget, _NEAR) if base.hidden[0].device.type == "cpu" else budget

    @property
    def decisive(self) -> Tensor | None:
        """The only positions of the final stream that are read, [batch pos]; None where all are."""
        read = self.meter.read
        return None if read is None else torch.arange(self.base.width, device=read.device) == read[:, None]

    @torch.no_grad()
    def edited(self, cells: Sequence[Cell], sources: Sources, carried: Collection[str]) -> np.ndarray:
        """Return the metric under the edits of each cell, [cell example]."""
        where = np.array([self.selected.number(*dict.fromkeys(edit.at for edit in cell)) for cell in cells])
        parts = [divided(cell, carried) for cell in cells]
        later = [part.later for part in parts]
        inside = Inside(self.twin, self.selected, later, sources) if any(later) else None
        changes = Changes(self.twin, self.base, self.selected, sources, self.decisive)
        # Cells of one edit that differ only in its places share a change, that of all these places together.
        groups: dict[object, list[int]] = {}
        for number, cell in enumerate(cells):
            groups.setdefault((cell[0].site, cell[0].do) if len(cell) == 1 else number, []).append(number)

        def blocks() -> Iterator[_Block]:
            listed = list(groups.values())
            for some in (listed[low : low + self.block] for low in range(0, len(listed), self.block)):
                masks = [
                    self.selected.masks[np.unique(where[group])].any(0) if len(cells[group[0]]) == 1 else None
                    for group in some
                ]
                yield some, changes.of([parts[group[0]] for group in some], masks)

        return self._run(where, blocks(), inside)

    @torch.no_grad()
    def changed(self, blocks: Iterable[Made], count: int) -> np.ndarray:
        """Return the metric under changes of the stream that are known, one for each cell, [cell example]."""
        number = itertools.count()
        numbered = (([[next(number)] for _ in made.layers], made) for made in blocks)
        return self._run(np.full(count, self.selected.number(ALL)), numbered)

    def _run(self, where: np.ndarray, blocks: Iterable[_Block], inside: Inside | None = None) -> np.ndarray:
        """Run what the changes of groups of cells move at the places of the cells; all else is as in the unedited run."""
        n, width, layers = len(self.unedited), self.base.width, len(self.twin.layers)
        out = np.repeat(self.unedited[None], len(where), axis=0)
        self.economy += Economy(asked=out.size, naive_token_layers=out.size * width * layers)
        for groups, made in blocks:
            entries = self._entries(groups, made, where)
            answered = n * sum(len(group) for group in groups)
            self.economy += Economy(entries.token_layers(layers, width), skipped=answered - len(entries))
            for part in () if self.dry else chunks(entries, width, self._row_bytes, self.stack):
                masks = self.selected.masks[where[part.cell], part.row]
                hidden = run(self.twin, self.base, part, made.delta, masks, self.meter.read, inside)
                rows = torch.as_tensor(part.row, device=hidden.device)
                out[part.cell, part.row] = self.meter.of(hidden, rows, int(part.start[0]))
            self.tick(answered)
        return out

    def _entries(self, groups: Sequence[Sequence[int]], made: Made, where: np.ndarray) -> Entries:
        """Return which examples of which cells have to be run: those in which something moves that is read."""
        cells = np.concatenate([np.asarray(group) for group in groups])
        change = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        live = self.selected.masks[where[cells]] & made.moved[change]
        starts = live.byte().argmax(-1)
        index, row = (live.any(-1) & (starts <= self.meter.last)).nonzero(as_tuple=True)
        start, index, row = (part.cpu().numpy() for part in (starts[index, row], index, row))
        number = change[index]
        return merged(Entries(cells[index], row, start, number, np.asarray(made.layers)[number]), self.twin.free_tokens)

    def _row_bytes(self, tokens: int) -> int:
        shape, width = self.twin.able.shape, self.base.width
        inner = tokens * (6 * shape.d_model + 3 * max(shape.d_mlp, shape.d_model) + 3 * shape.n_heads * width)
        logits = 0 if self.meter.read is not None else width * self.twin.head.out_features * 2
        return 4 * (inner + 4 * width * shape.d_model + logits)
