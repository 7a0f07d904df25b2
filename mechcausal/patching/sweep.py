"""What all sweeps of patching share: which edits they make, and how values become a result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from mechcausal.address import ModelShape, Place, Selection, Site, expand
from mechcausal.arguments import Kind
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import At as At
from mechcausal.data.places import CellSpec as CellSpec
from mechcausal.data.places import Positions as Positions
from mechcausal.data.places import SiteSpec as SiteSpec
from mechcausal.data.places import as_text as as_text
from mechcausal.data.places import places as places
from mechcausal.data.places import plain as plain
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import SiteError, of_each
from mechcausal.interventions.specs import Edit, Intervention
from mechcausal.metrics import Metric, MetricFunction
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.engine import Cell, check_prompts, measure
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result
from mechcausal.results.table import tabulate


def _is_metric(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    if not isinstance(value, (str, Metric)) and (not callable(value) or isinstance(value, type)):
        return False
    return bool(metric_of(value))


MetricSpec = Annotated[
    str | MetricFunction | Metric,
    Kind("the name of a metric such as 'logit_diff', or a function of (logits, batch)", _is_metric),
]


def two_sides(pairs: Contrast, direction: str) -> tuple[PromptSet, PromptSet]:
    """Return (base, source): denoising patches clean into corrupt, noising corrupt into clean."""
    return (pairs.corrupt, pairs.clean) if direction == "denoise" else (pairs.clean, pairs.corrupt)


@dataclass(frozen=True)
class Swept:
    """One cell of a sweep: a place, or several at the same positions that are edited together.

    Attributes:
        places: The places, all with one selection.
    """

    places: tuple[Place, ...]

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that are edited."""
        return tuple(place.site for place in self.places)

    @property
    def at(self) -> Selection:
        """The positions at which they are."""
        return self.places[0].at

    def cell(self, do: Intervention) -> Cell:
        """Return the edits of the cell."""
        return tuple(Edit(site, do, self.at) for site in self.sites)

    def row(self) -> dict[str, Any]:
        """Return the columns that say where this is; those in which the sites of a joint cell differ are empty."""
        first, *others = (place.row() for place in self.places)
        joint = {
            name: value if all(other.get(name) == value for other in others) else None for name, value in first.items()
        }
        return joint | {"site": " + ".join(map(str, self.sites))}


def swept(spec: CellSpec, at: Positions, shape: ModelShape, prompts: PromptSet) -> list[Swept]:
    """Return the cells of a sweep: each site alone, and the sites of a tuple within a list together.

    Args:
        spec: The sites.
        at: The positions. None is each position, but all at once where a site is a head, a neuron or a feature.
        shape: The sizes of the model.
        prompts: The prompts that are edited.
    """

    def of_item(item: Any) -> list[Swept]:  # noqa: ANN401 - a site, a pattern, or sites that make one cell
        if not isinstance(item, (list, tuple)):
            return [Swept((place,)) for place in places(expand(item, shape), at, prompts)]
        sites = expand(tuple(item), shape)
        _refuse_overlap(sites)
        lists = [places([site], at, prompts) for site in sites]
        if len({len(each) for each in lists}) > 1:  # some at each position, some at all of them at once
            lists = [places([site], "all", prompts) for site in sites]
        return [Swept(together) for together in zip(*lists, strict=True)]

    items = spec if isinstance(spec, (list, tuple)) and spec else [spec]
    return list(dict.fromkeys(cell for cells in of_each(of_item, items) for cell in cells))


def _refuse_overlap(sites: Sequence[Site]) -> None:
    for site in sites:
        if site != site.whole and site.whole in sites:
            raise SiteError(f"a joint cell cannot hold both {site.whole} and its part {site}", fix=f"leave out {site}")


def sites_of(cells: Sequence[Swept]) -> list[Site]:
    """Return the sites that any of the cells edits."""
    return list(dict.fromkeys(site for cell in cells for site in cell.sites))


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
        self.batch_size, values = batch_size, {}
        for name, side in self.sides.items():
            run = measure(self.model, side, self.metric, batch_size=self.batch_size, reference=self.sides["clean"])
            values[name], self.batch_size = run.values[0], run.batch_size
        return {"base": values[base], **values}

    def result(
        self,
        where: Sequence[dict[str, Any]],
        values: np.ndarray,
        baselines: dict[str, np.ndarray],
        *,
        forwards: int,
        batch_size: int,
        influence: np.ndarray | None = None,
        **compute: Any,  # noqa: ANN401 - what else the method wants to state
    ) -> Result:
        """Make the result; for `influence` see `tabulate`."""
        clean = self.sides["clean"]
        stated = baselines if "corrupt" in baselines else {"base": baselines["base"]}
        provenance = Provenance(
            method=self.method,
            arguments={"metric": self.metric.name, **self.arguments},
            seed=self.seed,
            **facts(
                self.model, self.prompts, started=self.started, forwards=forwards, batch_size=batch_size, **compute
            ),
        )
        frame = tabulate(list(where), values, stated, clean.clusters, influence=influence)
        return Result(frame, provenance, values, stated, clean.groups, clean.clusters, influence=influence)
