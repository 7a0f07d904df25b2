"""One batch of a plan from its prompts to its numbers: unedited runs, sources, cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric
from mechcausal.models.abilities import Abilities
from mechcausal.models.readout import Readouts
from mechcausal.models.replay.changes import needed
from mechcausal.models.replay.evaluate import Cell, Economy, Job
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.verify import Replayer, recorded
from mechcausal.models.sources import from_elsewhere, source_of


@dataclass(frozen=True)
class Found:
    """What came out for one batch.

    Attributes:
        values: The metric of the cells, [cell example].
        base: The metric of the unedited base run, [1 example].
        source: The metric of the unedited source run, [1 example]; NaN where it was not asked for.
        forwards: How many full forwards were run.
        economy: What the cells cost.
    """

    values: np.ndarray
    base: np.ndarray
    source: np.ndarray
    forwards: int
    economy: Economy


@dataclass(frozen=True)
class Task:
    """One batch with all that its cells need.

    Attributes:
        model: The bridge.
        able: What it can do.
        known: What the engine can do on it.
        batch: The base prompts.
        other: The source prompts, row against row.
        means: Whole activations to set, by whole site.
        metric: The metric.
        compared: The logits that a comparing metric compares with.
    """

    model: Any
    able: Abilities
    known: Replayer
    batch: PromptSet
    other: PromptSet | None
    means: Mapping[Site, Tensor]
    metric: Metric
    compared: Tensor | None

    def run(self, cells: Sequence[Cell], budget: int, tick: Callable[[int], object], *, sources_too: bool) -> Found:
        """Run cells that the engine can do."""
        twin, edits = self.known.twin, [edit for cell in cells for edit in cell]
        assert twin is not None  # there are cells that it can do
        sites = needed(list(dict.fromkeys(edit.site for edit in edits)), self.able)
        base, forwards = recorded(self.model, self.able, twin, self.batch, sites)
        taken: dict[Site, Tensor] = {}
        source = np.full((1, len(self.batch)), np.nan)
        wholes = from_elsewhere(cells)
        if self.other is not None and (wholes or sources_too):
            run, more = recorded(self.model, self.able, twin, self.other, wholes)
            taken, forwards = run.values, forwards + more
            if sources_too:
                source = Meter(twin, self.other, self.metric, self.compared, run.hidden[-1]).base()[None]
        sources = {
            (site, do): value
            for site, do in dict.fromkeys((edit.site.whole, edit.do) for edit in edits)
            if (value := source_of(Edit(site, do), taken, self.means, self.batch)) is not None
        }
        meter = Meter(twin, self.batch, self.metric, self.compared, base.hidden[-1])
        readouts = Readouts(self.model, self.able, self.known.maps, twin.places)
        carried = {kind for kind in {edit.site.kind for edit in edits} if self.known.carries(kind)}
        values, economy = Job(twin, self.able, readouts, base, meter, sources, budget, tick, carried).run(cells)
        return Found(values, meter.base()[None], source, forwards, economy)
