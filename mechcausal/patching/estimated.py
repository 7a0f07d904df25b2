"""What the uncertainty of a mean activation adds to the interval of an ablation by it.

The mean that replaces an activation is estimated from the same prompts as the effect. An example counts twice: by what
the ablation does to it, and by how it moves the mean that all examples are given. To first order the second is

    (gradient of the mean metric by the replacement) . (the example's activation - the mean)

Where a cell is the output of one head, a neuron or a coordinate, the gradient is taken in the unedited run, which costs
one backward for all such cells together. Where a whole activation is replaced, several sites together, or a query or key,
the metric is too far from a straight line for that: the gradient is taken in the ablated run, one forward and one backward
for each such cell, and is exact to first order. Taken there for every head it would cost several times the sweep.

Each example is also part of the mean that replaces it, so what is put in its place resembles what was there, and the
estimate is too near to no change. To first order this bias is the mean over examples of

    (gradient of the example's own metric by the replacement) . (the example's activation - the mean) / n

and the interval reaches that much further.
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
from mechcausal.results.intervals import around_and_bias, cluster_sums, clustered_means

_ROUGH = 0.25
"""From which bias on, in standard errors, a cell's interval is called rough."""


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


def off_by_themselves(changes: np.ndarray, influence: np.ndarray, clusters: Sequence[str]) -> dict[str, str]:
    """Return a note where prompts are so large a part of their own mean that an interval is rough.

    Args:
        changes: What every cell does to the metric of every example, [cell example].
        influence: What each example adds through the means, [cell example].
        clusters: The cluster of every example.
    """
    around, bias = around_and_bias(influence)
    error = clustered_means(*cluster_sums(changes + around, clusters)).error
    rough = int((np.abs(bias) > _ROUGH * error).sum())
    if not rough:
        return {}
    n, cells = changes.shape[1], "1 cell" if rough == 1 else f"{rough} cells"
    return {
        "mean_note": f"each of the {n} examples is a part of the mean that replaces it, which takes {cells} "
        "nearer to no change: the intervals allow for that and are rough; bring more prompts, or means of others (reference=)"
    }


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
        """Return the influence of every example, [cell example]; its mean is the bias of the cell."""
        slopes, biases = self._slopes()
        by_prompt, _ = in_batches(len(self.pool), self.batch_size, lambda rows: self._moves(rows, slopes))
        # Every prompt of an example moves the mean by the share that it has in the pool.
        moves = by_prompt.reshape(len(self.plan.cells), -1, len(self.plan.base)).mean(1)
        return moves - moves.mean(1, keepdims=True) + biases.mean(1, keepdims=True)

    @property
    def _sites(self) -> list[Site]:
        return _sites_of([edit for cell in self.plan.cells for edit in cell])

    def _slopes(self) -> tuple[list[list[Tensor]], np.ndarray]:
        """Return the gradient of the mean metric by what each edit of each cell sets, and what each example adds to itself.

        The gradients are [(position) part], what examples add to their own numbers is [cell example].
        """
        base, cells = self.plan.base, self.plan.cells
        totals: list[list[Tensor | float]] = [[0.0] * len(cell) for cell in cells]
        in_parts = _sites_of([edit for cell in cells if not _replaces_much(cell) for edit in cell])

        def add(rows: Tensor) -> np.ndarray:
            batch, reference = self._batch(rows)
            unedited = self._gradients(batch, in_parts, (), reference) if in_parts else {}
            away = self._away_of_examples(rows)
            added, to_themselves = [], np.zeros((len(cells), len(rows)))
            for number, cell in enumerate(cells):
                much = _replaces_much(cell)
                slopes = self._gradients(batch, _sites_of(cell), cell, reference) if much else unedited
                parts = [self._at(slopes, batch, edit) for edit in cell]
                to_themselves[number] = sum(
                    _along(view(away[edit.site.whole], edit.site), part) for edit, part in zip(cell, parts, strict=True)
                )
                added.append([part.sum(0) for part in parts])
            for total, sums in zip(totals, added, strict=True):  # only now: a batch may be tried again
                total[:] = [before + part for before, part in zip(total, sums, strict=True)]
            return to_themselves

        with torch.inference_mode(False):
            to_themselves, _ = in_batches(len(base), self.batch_size, add)
        return totals, to_themselves  # ty: ignore[invalid-explicit-return] - every cell has been added to

    def _batch(self, rows: Tensor) -> tuple[PromptSet, Tensor | None]:
        """Return some prompts, and the unedited output that the metric compares with."""
        batch = self.plan.base.take(rows).to(bridge.device_of(self.model))
        return batch, forward(self.model, batch).output if self.plan.metric.compares else None

    def _gradients(
        self, batch: PromptSet, sites: Sequence[Site], cell: Sequence[Edit], reference: Tensor | None
    ) -> Mapping[Site, Tensor]:
        """Return the gradient of the mean metric by activations of a batch, in the run that a cell edits."""
        sources = [source_of(edit, {}, self.plan.means, batch) for edit in cell]
        run = forward(self.model, batch, cell, read=gradient_reads(sites), sources=sources, grad=True)
        return gradients(run.score(self.plan.metric, batch, reference).sum() / len(self.plan.base), run, sites)

    def _at(self, slopes: Mapping[Site, Tensor], batch: PromptSet, edit: Edit) -> Tensor:
        """Return the slope of one edit in each row, summed over positions where one mean serves all of them."""
        part = view(slopes[edit.site.whole], edit.site).double()
        chosen = batch.select(edit.at).double()
        part = part * chosen.reshape(*chosen.shape, *[1] * (part.ndim - 2))
        return part if self.per_position else part.sum(1, keepdim=True)

    def _away(self, rows: Tensor) -> dict[Site, Tensor]:
        """Return how far the activations of prompts of the pool are from the means, [row (position) part]."""
        batch = self.pool.take(rows).to(bridge.device_of(self.makes))
        values = readings(self.makes, batch, self._sites)
        mask = batch.mask.double()
        length = float(self.pool.mask.sum()) / len(self.pool)
        away: dict[Site, Tensor] = {}
        for site in self._sites:
            difference = values[site].double() - self.plan.means[site].to(values[site].device)
            difference = difference * mask.reshape(*mask.shape, *[1] * (difference.ndim - 2))
            away[site] = difference if self.per_position else difference.sum(1, keepdim=True) / length
        return away

    def _away_of_examples(self, rows: Tensor) -> dict[Site, Tensor]:
        """Return the same for examples: the mean over all prompts that an example has in the pool."""
        n = len(self.plan.base)
        copies = [self._away(rows + start) for start in range(0, len(self.pool), n)]
        return {site: torch.stack([copy[site] for copy in copies]).mean(0) for site in self._sites}

    def _moves(self, rows: Tensor, slopes: Sequence[Sequence[Tensor]]) -> np.ndarray:
        """Return how far the mean metric of each cell moves with each prompt of the pool, [cell prompt]."""
        away = self._away(rows)
        moves = np.zeros((len(self.plan.cells), len(rows)))
        for number, (cell, parts) in enumerate(zip(self.plan.cells, slopes, strict=True)):
            for edit, slope in zip(cell, parts, strict=True):
                moves[number] += _along(view(away[edit.site.whole], edit.site), slope)
        return moves


def _along(away: Tensor, slope: Tensor) -> np.ndarray:
    """Return how far each row is away along a slope, [row]."""
    return (away * slope.to(away.device)).flatten(1).sum(1).cpu().numpy()


def _sites_of(cell: Sequence[Edit]) -> list[Site]:
    return list(dict.fromkeys(edit.site.whole for edit in cell))


def _replaces_much(cell: Sequence[Edit]) -> bool:
    """Say whether a cell replaces a whole activation, several sites together, or what attention is computed from."""
    return len(cell) > 1 or any(edit.site == edit.site.whole or edit.site.component in ("q", "k") for edit in cell)
