"""What all sweeps share: which cells there are, what they are called, and how values become a result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mechcausal.address import HEAD_COMPONENTS, Selection, Site
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, SiteError
from mechcausal.interventions.specs import Edit, Intervention
from mechcausal.metrics import Metric, MetricFunction
from mechcausal.models import bridge
from mechcausal.models.engine import Cell, check_prompts, measure
from mechcausal.models.fingerprint import tokenizer_fingerprint, weights_fingerprint
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result, tabulate

Positions = str | int | slice | Selection | Sequence[str | int | Selection] | None
MetricSpec = str | MetricFunction | Metric
SiteSpec = str | Site | list[str] | list[Site] | tuple[str | Site, ...]


@dataclass(frozen=True)
class Place:
    """One cell of a sweep: a site at a selection, and what the selection is called."""

    site: Site
    at: Selection
    label: str

    def row(self) -> dict[str, Any]:
        """Return the columns that say where this is."""
        site = self.site
        position = self.at.start if self.at.is_single else None
        return {
            "site": str(site), "component": site.component, "layer": site.layer, "head": site.head,
            "neuron": site.neuron, "at": str(self.at), "position": position, "label": self.label,
        }  # fmt: skip


def places(sites: Sequence[Site], positions: Positions, prompts: PromptSet) -> list[Place]:
    """Cross sites with positions.

    `"each"` is every position of the longest prompt; None is "each" for streams and sublayer outputs and `"all"` (all
    positions at once) for heads, patterns and neurons.
    """
    out = []
    for site in sites:
        chosen = positions
        if chosen is None:
            chosen = "all" if site.component in HEAD_COMPONENTS or site.neuron is not None else "each"
        out += [Place(site, at, label) for at, label in _selections(chosen, prompts)]
    return out


def _selections(positions: Positions, prompts: PromptSet) -> list[tuple[Selection, str]]:
    if isinstance(positions, str) and positions == "each":
        return [(Selection.parse(i), position_label(i, prompts)) for i in range(int(prompts.lengths.max()))]
    if isinstance(positions, Sequence) and not isinstance(positions, str):
        if not positions:
            raise SiteError("the list of positions is empty", fix="name at least one, or leave it out")
        return [pair for item in positions for pair in _selections(item, prompts)]
    selection = Selection.parse(positions)
    if not bool(prompts.select(selection).any()):
        raise SiteError(
            f"no prompt has the position {selection}", expected=f"at most {int(prompts.lengths.max())} tokens"
        )
    return [(selection, str(selection).removeprefix("@"))]


def position_label(index: int, prompts: PromptSet) -> str:
    """Return the index, with the name that all prompts give this position where there is one."""
    same_length = bool((prompts.lengths == prompts.lengths[0]).all())
    names = [name for name, column in prompts.positions.items() if bool((column == index).all())]
    return f"{index} {names[0]}" if names and same_length else str(index)


def plain(spec: Any) -> Any:  # noqa: ANN401 - any way of naming sites or positions
    """Return what was asked for as JSON data, for the provenance."""
    if isinstance(spec, (list, tuple)):
        return [plain(item) for item in spec]
    if isinstance(spec, slice):
        return str(Selection.parse(spec))
    return spec if spec is None or isinstance(spec, (int, str)) else str(spec)


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
        pairs = isinstance(self.prompts, Contrast)
        told = baselines if pairs else {"base": baselines["base"]}
        module = bridge.underlying(self.model)
        parameter = next(module.parameters())
        provenance = Provenance(
            method=self.method,
            arguments={"metric": self.metric.name, **self.arguments},
            model={
                "name": str(self.model.cfg.model_name),
                "architecture": bridge.architecture_of(self.model),
                "weights": weights_fingerprint(self.model),
                "tokenizer": tokenizer_fingerprint(self.model.tokenizer),
            },
            prompts={
                "name": getattr(self.prompts, "name", "own"),
                "hash": self.prompts.hash,
                "n": len(self.prompts),
                "n_clusters": clean.n_clusters,
                **({"factor": self.prompts.factor} if isinstance(self.prompts, Contrast) else {}),
            },
            compute={
                "device": str(parameter.device),
                "dtype": str(parameter.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "batch_size": batch_size,
                "forwards": forwards,
                "engine": "naive",
                **compute,
                "seconds": round(time.perf_counter() - self.started, 3),
            },
            seed=self.seed,
        )
        frame = tabulate(list(where), values, told, clean.clusters)
        return Result(frame, provenance, values, told, clean.groups, clean.clusters)
