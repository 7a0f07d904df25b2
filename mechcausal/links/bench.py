"""Where links are measured: the model, the pairs, their two halves, and every number that is read off a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Place, Selection, Site
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import FEWEST, cluster_numbers, split, units
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Intervention, Mean, Patch, Zero
from mechcausal.links.association import fewest_clusters
from mechcausal.links.candidates import Candidate
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities
from mechcausal.models.engine import Cell, Exact, Plan, align, evaluate, in_batches, mean_activations
from mechcausal.models.hooked import forward
from mechcausal.models.sources import source_of
from mechcausal.probes.labels import one_set
from mechcausal.probes.readings import readings
from mechcausal.results.shares import Shares, shares

Generalise = Literal["clusters", "texts"]
_FIX = {
    "clusters": "bring pairs of more clusters (people, templates) without common texts, or ask about these ones alone: generalise='texts'",
    "texts": "bring pairs that have no text in common",
}
DO: dict[str, Intervention] = {"patch": Patch(), "mean": Mean(), "zero": Zero()}
_READ = "read"  # the name of the decision position where it is not the last


@dataclass
class Bench:
    """One model on one set of pairs.

    Attributes:
        model: The bridge.
        able: What it can do.
        pairs: The pairs.
        base: The prompts that are run.
        source: The prompts whose values are put in.
        metric: The number read off each run.
        do: What is done at a candidate.
        where: At which positions it is done.
        smallest: The smallest share of interest.
        fdr: The rate of false discoveries.
        batch_size: How many pairs at a time.
        exact: Whether the fast engine may be used.
        seed: The seed of the halves.
        generalise: To what claims are to generalise: new clusters, or new texts about these very ones.
        forwards: How many forwards were run by the engine.
        told: What the engine says of how it ran.
    """

    model: Any
    able: Abilities
    pairs: Contrast
    base: PromptSet
    source: PromptSet
    metric: Metric
    do: Intervention
    where: Selection
    smallest: float
    fdr: float
    batch_size: int
    exact: Exact
    seed: int
    generalise: Generalise = "clusters"
    forwards: int = 0
    told: dict[str, Any] = field(default_factory=dict)
    _means: dict[Site, Tensor] = field(default_factory=dict)

    @cached_property
    def prompts(self) -> PromptSet:
        """Both sides of the pairs as one set, with the decision position named."""
        both = one_set(self.pairs)
        columns = both.read_columns - both.starts
        return replace(both, positions={_READ: columns, **both.positions})

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """The independent unit of each pair: its cluster, joined with those that hold one of its texts.

        Where the clusters are fixed, the units are the pairs, joined with those that hold one of their texts.
        """
        prompts = self.prompts
        if self.generalise == "texts":
            prompts = replace(prompts, clusters=tuple(f"pair {i}" for i in range(len(self.pairs))) * 2)
        return tuple(map(str, units(prompts)[: len(self.pairs)]))

    @cached_property
    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """The pairs to choose by and those to estimate on.

        With fewer clusters in a half than it takes for an exchange of labels to be rare, nothing could be claimed.
        """
        fewest = max(FEWEST, fewest_clusters(self.fdr))
        return split(
            cluster_numbers(self.clusters, len(self.pairs)),
            0.5,
            self.seed,
            fewest=fewest,
            what="pairs",
            fix=_FIX[self.generalise],
        )

    def both_sides(self, rows: np.ndarray) -> np.ndarray:
        """Return the prompts of these pairs, by their number in `prompts`."""
        return np.concatenate([rows, rows + len(self.pairs)])

    def decision(self, at: str | int | Selection | None) -> Selection:
        """Return the position at which a concept has to be available; where the metric reads unless said otherwise."""
        if at is not None:
            return Selection.parse(at)
        last = bool((self.prompts.positions[_READ] == self.prompts.lengths - 1).all())
        return Selection.parse(-1) if last else Selection(name=_READ)

    # Behavior

    def values(
        self, cells: Sequence[Cell], *, base: PromptSet | None = None, source: PromptSet | None = None
    ) -> np.ndarray:
        """Return the metric of the base run under each cell, [cell pair]."""
        wholes = [edit.site.whole for cell in cells for edit in cell if isinstance(edit.do, Mean)]
        plan = Plan(
            self.base if base is None else base, cells, self.metric,
            rows=self.source if source is None else source, means=self.means(wholes), reference=self.pairs.clean,
        )  # fmt: skip
        found = evaluate(self.model, plan, batch_size=self.batch_size, progress="linking", exact=self.exact)
        self.forwards += found.forwards
        if any(cells):
            self._tell(found.told)
        return found.values

    def _tell(self, told: Mapping[str, Any]) -> None:
        """Add up what the engine says of its runs."""
        ways = {*str(self.told.get("engine", told["engine"])).split(" and "), *str(told["engine"]).split(" and ")}
        reasons = {**self.told.get("naive_because", {}), **told.get("naive_because", {})}
        counted = ("cells", "cells_and_examples", "skipped", "token_layers", "naive_token_layers")
        self.told = {name: self.told.get(name, 0) + told.get(name, 0) for name in counted}
        if self.told["token_layers"]:
            self.told["ratio"] = round(self.told["naive_token_layers"] / self.told["token_layers"], 2)
        self.told |= {"engine": " and ".join(sorted(ways, reverse=True))} | (
            {"naive_because": reasons} if reasons else {}
        )

    def means(self, wholes: Sequence[Site]) -> Mapping[Site, Tensor]:
        """Return the mean over both sides of the pairs of whole activations."""
        missing = [site for site in dict.fromkeys(wholes) if site not in self._means]
        if missing:
            self._means |= mean_activations(
                self.model, self.pairs.pooled, missing, batch_size=self.batch_size, per_position=False
            )
        return self._means

    @cached_property
    def unedited(self) -> tuple[np.ndarray, np.ndarray]:
        """The metric of the base run and of the source run, [pair] each."""
        base, source = (self.values([()], base=side)[0] for side in (self.base, self.source))
        return base, source

    @property
    def total(self) -> np.ndarray:
        """The total effect in each pair."""
        return self.unedited[1] - self.unedited[0]

    def changes(self, cells: Sequence[Cell]) -> np.ndarray:
        """Return what each cell changes, [cell pair]."""
        return self.values(cells) - self.unedited[0] if len(cells) else np.zeros((0, len(self.pairs)))

    def cells(self, candidates: Sequence[Candidate]) -> list[Cell]:
        """Return one cell for each candidate."""
        return [(one.edit(self.do, self.where),) for one in candidates]

    def shares(self, change: np.ndarray, rows: np.ndarray) -> Shares:
        """Return shares of the total effect over some of the pairs."""
        clusters = np.asarray(self.clusters)[rows]
        return shares(change[:, rows], self.total[rows], clusters, least=self.smallest)

    # What is held

    def held(self, sites: Sequence[Site], at: Selection) -> dict[Site, tuple[np.ndarray, np.ndarray]]:
        """Return what whole activations hold at the decision position and on average over all positions, [prompt number].

        A prompt that lacks the position has NaN.
        """
        where = [Place(site, selection) for site in sites for selection in (at, ALL)]
        found = readings(self.model, self.prompts, where, pool="mean", batch_size=self.batch_size)
        self.forwards += -(-len(self.prompts) // self.batch_size)
        full = []
        for one in found:
            held = np.full((len(self.prompts), one.x.shape[1]), np.nan)
            held[one.rows] = one.x
            full.append(held)
        return dict(zip(sites, zip(full[::2], full[1::2], strict=True), strict=True))

    @torch.no_grad()
    def read_under(
        self, cells: Sequence[Cell], sites: Sequence[Site], at: Sequence[Selection], rows: np.ndarray
    ) -> list[list[np.ndarray]]:
        """Return what sites hold in the base run under each cell, [cell][site] -> [pair number].

        The first entry is the base run itself, the second the source run, the others the cells.
        """
        wholes = list(dict.fromkeys(site.whole for site in sites))
        taken = list(dict.fromkeys(edit.site.whole for cell in cells for edit in cell if edit.do.needs_source))
        parts: list[list[list[Tensor]]] = []

        def one_batch(index: Tensor) -> np.ndarray:
            device = bridge.device_of(self.model)
            base, source = (
                side.take(torch.as_tensor(rows)[index]).to(device) for side in align(self.base, self.source)
            )
            other = forward(self.model, source, read=list(dict.fromkeys([*wholes, *taken])))
            runs = [forward(self.model, base, read=wholes).read, other.read]
            for cell in cells:
                sources = [source_of(edit, other.read, self.means([edit.site.whole]), base) for edit in cell]
                runs.append(forward(self.model, base, cell, read=wholes, sources=sources).read)
            self.forwards += len(runs)
            pairs = list(zip(sites, at, strict=True))
            parts.append([[_at(view(run[site.whole], site), base, where) for site, where in pairs] for run in runs])
            return np.zeros((0, len(index)))

        in_batches(len(rows), self.batch_size, one_batch)
        return [
            [torch.cat([batch[run][site] for batch in parts]).numpy() for site in range(len(sites))]
            for run in range(len(cells) + 2)
        ]


def _at(part: Tensor, batch: PromptSet, at: Selection) -> Tensor:
    """Return the mean over the selected positions, [prompt number]."""
    mask = batch.select(at)[..., None]
    flat = part[..., None] if part.ndim == 2 else part.flatten(2)
    return (flat.masked_fill(~mask, 0).sum(1) / mask.sum(1).clamp(min=1)).float().cpu()
