"""What the engine is asked for, cells of edits and the number read off each, and what it gives back for one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric
from mechcausal.models.sources import SourceRun

if TYPE_CHECKING:
    from mechcausal.models.replay.memory import Memory

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
        source: Who makes the source run and how its positions are matched; the model itself, token against token,
            where None.
        dry: Whether the cells are only counted: the unedited runs are made, and nothing else.
        memory: Unedited runs that are shared with other plans on the same prompts.
    """

    base: PromptSet
    cells: Sequence[Cell]
    metric: Metric
    rows: PromptSet | None = None
    means: Mapping[Site, Tensor] = field(default_factory=dict)
    reference: PromptSet | None = None
    source: SourceRun | None = None
    dry: bool = False
    memory: Memory | None = None

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

    def counts(self) -> dict[str, Any]:
        """Return the counts as provenance states them."""
        return {
            "engine": "replay",
            "naive_token_layers": self.naive_token_layers,
            "token_layers": self.token_layers,
            "skipped": self.skipped,
            "cells_and_examples": self.asked,
            "ratio": round(self.naive_token_layers / max(1, self.token_layers), 2),
        }


@dataclass(frozen=True)
class Found:
    """What came out for one batch.

    Attributes:
        values: The metric of the cells, [cell example].
        base: The metric of the unedited base run, [example].
        source: The metric of the unedited source run, [example]; NaN where it was not asked for.
        forwards: How many full forwards were run.
        economy: What the cells cost.
    """

    values: np.ndarray
    base: np.ndarray
    source: np.ndarray
    forwards: int
    economy: Economy = field(default_factory=Economy)
