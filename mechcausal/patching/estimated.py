"""What the uncertainty of a mean activation adds to the interval of an ablation by it.

The mean that replaces an activation is estimated from the same prompts as the effect. An example counts twice: by what
the ablation does to it, and by how it moves the mean that all examples are given. To first order the second is

    (gradient of the mean metric by the replacement) . (the example's activation - the mean)

Where a cell is the output of one head, a neuron or a coordinate, the gradient is taken in the unedited run, which costs
one backward for all such cells together. Where a whole activation is replaced, several sites together, or a query or key,
the metric is too far from a straight line for that: the gradient is taken in the ablated run, one forward and one backward
for each such cell, and is exact to first order. Taken there for every head it would cost more than the sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Edit
from mechcausal.models import bridge
from mechcausal.models.engine import Plan, in_batches
from mechcausal.models.hooked import forward, gradient_reads, gradients, readings
from mechcausal.models.sources import source_of


def why_known(plan: Plan, *, same_prompts: bool) -> str:
    """Return why the mean is taken as known, or nothing where its uncertainty is counted."""
    if not same_prompts:
        return "it comes from other prompts than those that are ablated"
    if not plan.metric.differentiable or plan.metric.flat_at_reference:
        return f"{plan.metric.name} has no slope in the unedited run"
    if plan.metric.forces(plan.base):
        return "answers are several tokens"
    sites = {edit.site for cell in plan.cells for edit in cell}
    if any(site.component == "pattern" or site.dictionary is not None for site in sites):
        return "an attention pattern or a feature is among what is ablated"
    return ""


@dataclass
class MeanInfluence:
    """What each example adds to the mean of every cell through the mean activations.

    Attributes:
        model: The model that is ablated.
        plan: The cells, with the means that they set.
        pool: The prompts of the means: the examples, once or several times one after the other.
        makes: The model that the means come from.
        per_position: Whether there is a mean for each position.
        batch_size: How many prompts at a time.
    """

    model: Any
    plan: Plan
    pool: PromptSet
    makes: Any
    per_position: bool
    batch_size: int

    def of_examples(self) -> np.ndarray:
        """Return the influence of every example, [cell example]."""
        slopes = self._slopes()
        by_prompt, _ = in_batches(len(self.pool), self.batch_size, lambda rows: self._moves(rows, slopes))
        # Every prompt of an example moves the mean by the share that it has in the pool.
        return by_prompt.reshape(len(self.plan.cells), -1, len(self.plan.base)).mean(1)

    @property
    def _sites(self) -> list[Site]:
        return _sites_of([edit for cell in self.plan.cells for edit in cell])

    def _slopes(self) -> list[list[Tensor]]:
        """Return the gradient of the mean metric by what each edit of each cell sets, [(position) part]."""
        base, cells = self.plan.base, self.plan.cells
        totals: list[list[Tensor | float]] = [[0.0] * len(cell) for cell in cells]
        in_parts = _sites_of([edit for cell in cells if not _replaces_much(cell) for edit in cell])

        def add(rows: Tensor) -> np.ndarray:
            batch = base.take(rows).to(bridge.device_of(self.model))
            reference = forward(self.model, batch).output if self.plan.metric.compares else None
            unedited = self._gradients(batch, in_parts, (), reference) if in_parts else {}
            added = []
            for cell in cells:
                much = _replaces_much(cell)
                slopes = self._gradients(batch, _sites_of(cell), cell, reference) if much else unedited
                added.append([self._at(slopes, batch, edit) for edit in cell])
            for total, parts in zip(totals, added, strict=True):  # only now: a batch may be tried again
                total[:] = [before + part for before, part in zip(total, parts, strict=True)]
            return np.zeros((0, len(rows)))

        with torch.inference_mode(False):
            in_batches(len(base), self.batch_size, add)
        return totals  # ty: ignore[invalid-explicit-return] - every cell has been added to

    def _gradients(
        self, batch: PromptSet, sites: Sequence[Site], cell: Sequence[Edit], reference: Tensor | None
    ) -> Mapping[Site, Tensor]:
        """Return the gradient of the mean metric by activations of a batch, in the run that a cell edits."""
        sources = [source_of(edit, {}, self.plan.means, batch) for edit in cell]
        run = forward(self.model, batch, cell, read=gradient_reads(sites), sources=sources, grad=True)
        return gradients(run.score(self.plan.metric, batch, reference).sum() / len(self.plan.base), run, sites)

    def _at(self, slopes: Mapping[Site, Tensor], batch: PromptSet, edit: Edit) -> Tensor:
        """Return the slope of one edit summed over the rows, and over positions where one mean serves all of them."""
        part = view(slopes[edit.site.whole], edit.site).double()
        chosen = batch.select(edit.at).double()
        part = part * chosen.reshape(*chosen.shape, *[1] * (part.ndim - 2))
        return part.sum(0) if self.per_position else part.sum((0, 1))

    def _moves(self, rows: Tensor, slopes: Sequence[Sequence[Tensor]]) -> np.ndarray:
        """Return how far the mean metric of each cell moves with each prompt of the pool, [cell prompt]."""
        batch = self.pool.take(rows).to(bridge.device_of(self.makes))
        values = readings(self.makes, batch, self._sites)
        mask = batch.mask.double()
        length = float(self.pool.mask.sum()) / len(self.pool)
        moves = np.zeros((len(self.plan.cells), len(rows)))
        away: dict[Site, Tensor] = {}
        for site in self._sites:
            difference = values[site].double() - self.plan.means[site].to(values[site].device)
            difference = difference * mask.reshape(*mask.shape, *[1] * (difference.ndim - 2))
            away[site] = difference if self.per_position else difference.sum(1, keepdim=True) / length
        for number, (cell, parts) in enumerate(zip(self.plan.cells, slopes, strict=True)):
            for edit, slope in zip(cell, parts, strict=True):
                moved = view(away[edit.site.whole], edit.site)
                moves[number] += (moved * slope.to(moved.device)).flatten(1).sum(1).cpu().numpy()
        return moves


def _sites_of(cell: Sequence[Edit]) -> list[Site]:
    return list(dict.fromkeys(edit.site.whole for edit in cell))


def _replaces_much(cell: Sequence[Edit]) -> bool:
    """Say whether a cell replaces a whole activation, several sites together, or what attention is computed from."""
    return len(cell) > 1 or any(edit.site == edit.site.whole or edit.site.component in ("q", "k") for edit in cell)
