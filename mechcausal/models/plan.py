"""What the engine is asked for: cells of edits on prompts, and one number read off each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric

Cell = tuple[Edit, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be computed.

    Attributes:
        base: The prompts that are run.
        cells: For each cell the edits made together.
        metric: The number read off each run.
        rows: The source run, row by row against `base` (patching and resampling).
        means: Whole activations to set, by whole site, each [feature...] or [pos feature...] (mean ablation).
        reference: The prompts whose unedited run a comparing metric compares with.
    """

    base: PromptSet
    cells: Sequence[Cell]
    metric: Metric
    rows: PromptSet | None = None
    means: Mapping[Site, Tensor] = field(default_factory=dict)
    reference: PromptSet | None = None

    def batch(self, index: Tensor, device: Any) -> Plan:  # noqa: ANN401 - whatever torch takes for a device
        """Return the plan for some of its rows, on a device."""
        sides = {
            name: None if side is None else side.take(index).to(device)
            for name, side in (("base", self.base), ("rows", self.rows), ("reference", self.reference))
        }
        return replace(self, **sides)

    def only(self, numbers: Sequence[int]) -> Plan:
        """Return the plan for some of its cells."""
        return replace(self, cells=[self.cells[number] for number in numbers])
