"""What all sweeps of patching share: which edits they make, and how values become a result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mechcausal.address import Place
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions as Positions
from mechcausal.data.places import SiteSpec as SiteSpec
from mechcausal.data.places import places as places
from mechcausal.data.places import plain as plain
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Edit, Intervention
from mechcausal.metrics import Metric, MetricFunction
from mechcausal.models import bridge
from mechcausal.models.engine import Cell, check_prompts, measure
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result
from mechcausal.results.table import tabulate

MetricSpec = str | MetricFunction | Metric


def two_sides(pairs: Contrast, direction: str) -> tuple[PromptSet, PromptSet]:
    """Return (base, source): denoising patches clean into corrupt, noising corrupt into clean."""
    if not isinstance(pairs, Contrast):
        raise DataError(
            "patching needs pairs", got=type(pairs).__name__, fix="build them with mc.contrast or mc.Contrast.from_text"
        )
    if direction not in ("denoise", "noise"):
        raise DataError("there are two directions", got=repr(direction), expected="'denoise' or 'noise'")
    return (pairs.corrupt, pairs.clean) if direction == "denoise" else (pairs.clean, pairs.corrupt)


def cells_of(where: Sequence[Place], do: Intervention) -> list[Cell]:
    """Return one single-edit cell per place."""
    return [(Edit(place.site, do, place.at),) for place in where]


@dataclass
class Recorder:
    """Gather what a result needs while a method runs, and make the result at the end.

    Attributes:
        model: The bridge.
        prompts: The prompts or pairs the method was given.
        metric: The metric.
        method: The method's name.
        arguments: What it was asked, for the provenance.
        seed: The seed of everything random.
        batch_size: The batch size that fitted the unedited runs.
    """

    model: Any
    prompts: PromptSet | Contrast
    metric: Metric
    method: str
    arguments: dict[str, Any]
    seed: int | None = None
    batch_size: int = 1
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        bridge.require_bridge(self.model)
        for side in self.sides.values():
            self.metric.check(side)
            check_prompts(self.model, side)

    @property
    def sides(self) -> dict[str, PromptSet]:
        """The unedited runs by name."""
        if isinstance(self.prompts, Contrast):
            return {"clean": self.prompts.clean, "corrupt": self.prompts.corrupt}
        return {"clean": self.prompts}

    def baselines(self, base: str, batch_size: int) -> dict[str, np.ndarray]:
        """Measure the unedited runs, and remember the batch size that fitted."""
        self.batch_size, found = batch_size, {}
        for name, side in self.sides.items():
            run = measure(self.model, side, self.metric, batch_size=self.batch_size, reference=self.sides["clean"])
            found[name], self.batch_size = run.values[0], run.batch_size
        return {"base": found[base], **found}

    def result(
        self,
        where: Sequence[dict[str, Any]],
        values: np.ndarray,
        baselines: dict[str, np.ndarray],
        *,
        forwards: int,
        batch_size: int,
        **compute: Any,  # noqa: ANN401 - what else the method wants to state
    ) -> Result:
        """Make the result."""
        clean = self.sides["clean"]
        told = baselines if isinstance(self.prompts, Contrast) else {"base": baselines["base"]}
        provenance = Provenance(
            method=self.method,
            arguments={"metric": self.metric.name, **self.arguments},
            seed=self.seed,
            **facts(
                self.model, self.prompts, started=self.started, forwards=forwards, batch_size=batch_size, **compute
            ),
        )
        frame = tabulate(list(where), values, told, clean.clusters)
        return Result(frame, provenance, values, told, clean.groups, clean.clusters)
