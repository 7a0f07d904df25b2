"""One batch of pairs as it is run again and again: the clean run, and what stands in for each sender."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection
from mechcausal.circuits.edges.alternatives import Alternative
from mechcausal.circuits.edges.inputs import Inputs
from mechcausal.data.forced import Forced, forced
from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import Metric
from mechcausal.metrics.answers import combined
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.twin import Base

_SMALL = 16 * 2**20  # bytes up to which what senders lose is kept from one gradient to the next
EMBEDDING = -1  # the layer in front of the first, whose only sender is the embedding


@torch.no_grad()
def recorded(inputs: Inputs, batch: PromptSet) -> Base:
    """Return the unedited run of a batch, with what says what each sender adds."""
    sites = [site for layer in range(len(inputs.layers)) for site in inputs.reads(layer)]
    return inputs.twin.record(batch, {site: inputs.able.shape_at(site) for site in sites})


def contributions(inputs: Inputs, base: Base, layer: int, start: int = 0) -> Tensor:
    """Return what the senders of a layer add in a recorded run from one column on, [row pos sender model]."""
    if layer == EMBEDDING:
        return base.hidden[0][:, start:, None]
    taken = {site: base.values[site][:, start:] for site in inputs.reads(layer)}
    return inputs.contributions(layer, taken, base.hidden[layer][:, start:])


@dataclass(eq=False)
class Tile:
    """One batch of pairs.

    Attributes:
        inputs: The receivers and senders of the model.
        index: Which pairs these are.
        clean: The clean prompts, or rows for each of their answers, on the model's device.
        alternative: What stands in for contributions.
        other: The prompts whose run gives it, row against row; None where it is constants.
        metric: The metric of a row.
        answers: Whose rows these are, where answers are several tokens.
        prompt_metric: The metric of a prompt.
        positions: The selections that are told apart.
    """

    inputs: Inputs
    index: np.ndarray
    clean: PromptSet
    alternative: Alternative
    other: PromptSet | None
    metric: Metric
    answers: Forced | None
    prompt_metric: Metric
    positions: tuple[Selection, ...]

    @classmethod
    def of(
        cls, inputs: Inputs, index: np.ndarray, clean: PromptSet, alternative: Alternative, metric: Metric,
        positions: tuple[Selection, ...],
    ) -> Tile:  # fmt: skip
        """Return the tile of some clean prompts, with the alternatives of the same rows."""
        other = None if alternative.prompts is None else alternative.prompts.take(index.tolist())
        width = max(int(side.lengths.max()) for side in (clean, other) if side is not None)
        clean, other = clean.padded(width), None if other is None else other.padded(width, clean.side)
        device = inputs.device
        if not metric.forces(clean):
            made, row_metric = None, metric
        else:
            made = forced(clean)
            other = None if other is None else forced(other, clean).prompts.to(device)
            clean, row_metric = made.prompts, metric.piece
        return cls(
            inputs, index, clean.to(device), alternative, None if other is None else other.to(device), row_metric,
            made, metric, positions,
        )  # fmt: skip

    def __len__(self) -> int:
        """Return how many rows are run."""
        return len(self.clean)

    @cached_property
    def base(self) -> Base:
        """The clean run."""
        return recorded(self.inputs, self.clean)

    @cached_property
    def source(self) -> Base | None:
        """The run that gives the alternatives."""
        return None if self.other is None else recorded(self.inputs, self.other)

    @cached_property
    def meter(self) -> Meter:
        """The metric of final hidden states."""
        twin, final = self.inputs.twin, self.base.hidden[-1]
        with torch.no_grad():
            compared = twin.logits(final) if self.metric.compares else None
        return Meter(twin, self.clean, self.metric, compared, final)

    @cached_property
    def start(self) -> int:
        """The first column at which a sender can add anything else."""
        if self.other is None:
            return 0
        differs = (self.other.tokens != self.clean.tokens).any(0).nonzero()
        first = int(differs[0]) if len(differs) else self.clean.tokens.shape[1] - 1
        last = self.meter.last
        return min(first, int(last.min()) if isinstance(last, Tensor) else last)

    @cached_property
    def places(self) -> Tensor | None:
        """Which position is which, [position row column]; None where positions are not told apart."""
        if len(self.positions) == 1 and self.positions[0] == Selection():
            return None
        masks = torch.stack([self.clean.select(at) for at in self.positions])
        return masks[:, :, self.start :].to(self.base.hidden[0].dtype)

    def instead(self, layer: int) -> Tensor:
        """Return what stands in for what the senders of a layer add, as much as broadcasts to [row pos sender model]."""
        if self.source is not None:
            return contributions(self.inputs, self.source, layer, self.start)
        constants = self.alternative.constants
        assert constants is not None  # it is either of the two
        size = len(self.inputs.layers) and (constants.shape[-2] - 1) // len(self.inputs.layers)
        part = slice(0, 1) if layer == EMBEDDING else slice(1 + layer * size, 1 + (layer + 1) * size)
        chosen = constants[..., part, :].to(self.base.hidden[0])
        if constants.ndim == 2:
            return chosen[None, None]
        first = self.clean.mask.int().argmax(1)  # of each row the column of its first token
        column = (torch.arange(self.base.width, device=first.device) - first[:, None]).clamp(0, len(chosen) - 1)
        return chosen[column][:, self.start :]

    def differences(self, layer: int) -> Tensor:
        """Return how what stands in differs from what the senders of a layer add in the clean run."""
        return self.instead(layer) - contributions(self.inputs, self.base, layer, self.start)

    def lost(self, layer: int) -> Tensor:
        """Return what an edge from each sender of a layer loses at real tokens, [row sender pos model]; kept where it is small."""
        if layer in self._lost:
            return self._lost[layer]
        real = self.clean.mask[:, self.start :, None, None]
        change = -(self.differences(layer) * real).transpose(1, 2)
        if 4 * change.numel() * len(self.inputs.layers) <= _SMALL:
            self._lost[layer] = change
        return change

    @cached_property
    def _lost(self) -> dict[int, Tensor]:
        return {}

    def scores(self, final: Tensor, rows: Tensor) -> Tensor:
        """Return the metric of rows from final streams, [entry], with a graph where they have one.

        Args:
            final: At the read position, [entry model], or from `start` on, [entry pos model].
            rows: Which row each entry is.
        """
        if self.meter.read is not None and final.ndim == 3:
            final = final[torch.arange(len(rows), device=rows.device), self.meter.read[rows] - self.start]
        return self.meter.scores(final, rows, self.start)

    def of_prompts(self, values: Tensor) -> Tensor:
        """Return the metric of prompts from that of their rows, [... prompt]."""
        if self.answers is None:
            return values
        assert self.prompt_metric.answers is not None  # else there would be one row for each prompt
        return combined(self.prompt_metric.answers, values, self.answers)
