"""Where links are measured: the model, the pairs and their two halves, and every number that is read off a run.

Both sides of the pairs are recorded once (`Memory`); every stage that intervenes starts from that recording. What is
estimated on one half alone is run on that half alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import ALL, Selection, Site
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.questions import Generalize
from mechcausal.data.splits import FEWEST, cluster_numbers, split
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Intervention, Mean, Patch, Zero
from mechcausal.links.association import fewest_clusters
from mechcausal.links.candidates import Candidate
from mechcausal.links.units import Units, units_of
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities
from mechcausal.models.engine import Cell, Exact, Plan, evaluate, mean_activations
from mechcausal.models.hooked import forward
from mechcausal.models.replay.memory import Memory
from mechcausal.models.replay.twin import Twin
from mechcausal.models.replay.verify import recorded, replayer
from mechcausal.models.rows import align, side_by_side
from mechcausal.models.sources import by_number, source_of
from mechcausal.probes.labels import one_set
from mechcausal.results.shares import Shares, shares

_FIX = {
    "clusters": "bring pairs of more clusters (people, templates) without common texts, or ask about these ones alone: "
    "generalize='texts'",
    "texts": "bring pairs that have no text in common",
}
DO: dict[str, Intervention] = {"patch": Patch(), "mean": Mean(), "zero": Zero()}
_READ = "read"  # the name of the position that the metric reads, where it is not the last
CHOOSE, ESTIMATE = 0, 1  # the two halves of the pairs
BOTH = (CHOOSE, ESTIMATE)


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
        direction: Which side is the base run: corrupt for `"denoise"`, clean for `"noise"`.
        generalize: What claims are about: others like these clusters, or these very clusters in new texts.
        memory: The unedited runs of both sides.
        forwards: How many forwards were run by the engine.
        stages: For each stage how many cells were run, each on how many pairs: their product, summed.
        compute: What the engine says of how it ran.
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
    direction: str = "denoise"
    generalize: Generalize = "clusters"
    memory: Memory = field(default_factory=Memory)
    forwards: int = 0
    stages: dict[str, int] = field(default_factory=dict)
    compute: dict[str, Any] = field(default_factory=dict)
    _means: dict[Site, Tensor] = field(default_factory=dict)
    _sides: dict[int, tuple[PromptSet, PromptSet]] = field(default_factory=dict)
    _unedited: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sides = align(self.base, self.source) if self.pairs.even else side_by_side(self.base, self.source)
        self.base, self.source = (
            replace(side, positions={_READ: side.read_columns - side.starts, **side.positions}) for side in sides
        )

    # Pairs and their halves

    @cached_property
    def prompts(self) -> PromptSet:
        """Both sides of the pairs as one set, clean first, with the position named that the metric reads."""
        both = one_set(self.pairs)
        return replace(both, positions={_READ: both.read_columns - both.starts, **both.positions})

    @cached_property
    def units(self) -> Units:
        """The independent unit of each pair."""
        return units_of(self.pairs, self.generalize)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The independent unit of each pair, by name."""
        return self.units.names

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
            fix=_FIX[self.generalize],
        )

    def both_sides(self, rows: np.ndarray) -> np.ndarray:
        """Return the prompts of these pairs, by their number in `prompts`."""
        return np.concatenate([rows, rows + len(self.pairs)])

    def reading(self, at: str | int | Selection | None) -> Selection:
        """Return the position at which a concept has to be available; where the metric reads unless said otherwise."""
        if at is not None:
            return Selection.parse(at)
        last = bool((self.prompts.positions[_READ] == self.prompts.lengths - 1).all())
        return Selection.parse(-1) if last else Selection(name=_READ)

    def sides(self, half: int) -> tuple[PromptSet, PromptSet]:
        """Return the base and the source prompts of a half."""
        if half not in self._sides:
            rows = torch.as_tensor(self.split[half])
            self._sides[half] = self.base.take(rows), self.source.take(rows)
        return self._sides[half]

    # Behavior

    def values(
        self,
        cells: Sequence[Cell],
        stage: str,
        *,
        halves: Sequence[int] = BOTH,
        swapped: bool = False,
        base: PromptSet | None = None,
    ) -> np.ndarray:
        """Return the metric of the base run under each cell, [cell pair]; NaN on a half that is not run.

        Args:
            cells: The cells.
            stage: What progress and provenance call them.
            halves: On which halves they are run.
            swapped: Run the source prompts instead, with values of the base run put in.
            base: Other prompts to run, one for each pair.
        """
        wholes = [edit.site.whole for cell in cells for edit in cell if isinstance(edit.do, Mean)]
        means, out = self.means(wholes), np.full((len(cells), len(self.pairs)), np.nan)
        for half in halves if len(cells) else ():
            rows, sides = self.split[half], self.sides(half)
            run, other = sides[::-1] if swapped else sides
            run = run if base is None else base.take(torch.as_tensor(rows))
            plan = Plan(
                run, cells, self.metric, rows=other if base is None else None, means=means,
                reference=None if base is not None else self.pairs.clean.take(torch.as_tensor(rows)), memory=self.memory if base is None else None,
            )  # fmt: skip
            wants = half not in self._unedited and not swapped and base is None
            values = evaluate(
                self.model,
                plan,
                batch_size=self.batch_size,
                progress=f"link: {stage}",
                exact=self.exact,
                unedited=wants,
            )
            if wants:
                self._unedited[half] = values.unedited["base"], values.unedited["source"]
            out[:, rows] = values.values
            self.forwards += values.forwards
            self.stages[stage] = self.stages.get(stage, 0) + values.values.size
            if any(cells):
                self._add(values.compute)
        return out

    def _add(self, engine: Mapping[str, Any]) -> None:
        """Add up what the engine says of its runs."""
        ways = {
            *str(self.compute.get("engine", engine["engine"])).split(" and "),
            *str(engine["engine"]).split(" and "),
        }
        reasons = {**self.compute.get("naive_because", {}), **engine.get("naive_because", {})}
        counted = ("cells", "cells_and_examples", "skipped", "token_layers", "naive_token_layers")
        self.compute = {name: self.compute.get(name, 0) + engine.get(name, 0) for name in counted}
        if self.compute["token_layers"]:
            self.compute["ratio"] = round(self.compute["naive_token_layers"] / self.compute["token_layers"], 2)
        self.compute |= {"engine": " and ".join(sorted(ways, reverse=True))} | (
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
        out = np.full((2, len(self.pairs)), np.nan)
        for half, rows in enumerate(self.split):
            if half not in self._unedited:
                self.values([()], "unedited runs", halves=[half])
            out[:, rows] = self._unedited[half]
        return out[0], out[1]

    @property
    def total(self) -> np.ndarray:
        """The total effect in each pair."""
        return self.unedited[1] - self.unedited[0]

    def changes(self, cells: Sequence[Cell], stage: str, *, halves: Sequence[int] = (ESTIMATE,)) -> np.ndarray:
        """Return what each cell changes, [cell pair]; NaN on a half that is not run."""
        values = self.values(cells, stage, halves=halves)
        return values - self.unedited[0]

    def cells(self, candidates: Sequence[Candidate]) -> list[Cell]:
        """Return one cell for each candidate."""
        return [(candidate.edit(self.do, self.where),) for candidate in candidates]

    def shares(self, change: np.ndarray, rows: np.ndarray) -> Shares:
        """Return shares of the total effect over some of the pairs."""
        clusters = np.asarray(self.clusters)[rows]
        return shares(change[:, rows], self.total[rows], clusters, least=self.smallest)

    # Activations

    @cached_property
    def _twin(self) -> Twin | None:
        """The bare model of the engine, where it may be used."""
        return None if self.exact == "naive" or bridge.is_hooked(self.model) else replayer(self.model).twin

    def recordings(
        self, sites: Sequence[Site], halves: Sequence[int] = BOTH, stage: str = "reading"
    ) -> Iterator[tuple[np.ndarray, tuple[PromptSet, PromptSet], tuple[dict[Site, Tensor], dict[Site, Tensor]]]]:
        """Yield for each batch its pairs, both sides as prompts, and what whole sites hold in their unedited runs."""
        device, size = bridge.device_of(self.model), self.batch_size
        bar = tqdm(
            total=sum(len(self.split[h]) for h in halves), desc=f"link: {stage}", unit="pair", disable=None, leave=False
        )
        for half in halves:
            for start in range(0, len(self.split[half]), size):
                rows = self.split[half][start : start + size]
                index = torch.arange(start, start + len(rows))
                base, source = (side.take(index).to(device) for side in self.sides(half))
                yield rows, (base, source), (self._recorded(base, sites), self._recorded(source, sites))
                bar.update(len(rows))
        bar.close()

    def _recorded(self, batch: PromptSet, sites: Sequence[Site]) -> dict[Site, Tensor]:
        if self._twin is None:
            self.forwards += 1
            return forward(self.model, batch, read=list(sites)).read
        run, forwards = recorded(self._twin, batch, sites, self.memory)
        self.forwards += forwards
        return run.values

    @property
    def _order(self) -> tuple[int, int]:
        """Which side of the pairs is the base, and which the source, where both stand in `prompts`."""
        return (0, 1) if self.direction == "noise" else (1, 0)

    def tokens(self, site: Site, at: Selection, half: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what a whole activation holds at each selected token of a half, [token number], and its prompt."""
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for rows, prompts, read in self.recordings([site], [half]):
            for side, batch, values in zip(self._order, prompts, read, strict=True):
                mask, flat = batch.select(at), values[site].flatten(2)
                row = mask.nonzero()[:, 0].cpu().numpy()
                parts.append((flat[mask].float().cpu().numpy(), rows[row] + side * len(self.pairs)))
        return np.concatenate([x for x, _ in parts]), np.concatenate([row for _, row in parts])

    def read(
        self, sites: Sequence[Site], at: Selection, halves: Sequence[int] = BOTH
    ) -> dict[Site, tuple[np.ndarray, np.ndarray]]:
        """Return what whole activations hold at one position and on average over all positions, [prompt number].

        A prompt that lacks the position, or that lies in another half, has NaN.
        """
        out: dict[tuple[Site, Selection], np.ndarray] = {}
        for rows, prompts, read in self.recordings(sites, halves, "reading candidates"):
            for side, batch, values in zip(self._order, prompts, read, strict=True):
                for site in sites:
                    for selection in (at, ALL):
                        mean, has = _mean_at(values[site], batch, selection)
                        shape = 2 * len(self.pairs), mean.shape[1]
                        numbers = out.setdefault((site, selection), np.full(shape, np.nan))
                        numbers[rows + side * len(self.pairs)] = np.where(has[:, None], mean, np.nan)
        return {site: (out[site, at], out[site, ALL]) for site in sites}

    @torch.no_grad()
    def read_under(
        self, cells: Sequence[Cell], sites: Sequence[Site], at: Sequence[Selection], stage: str
    ) -> list[list[np.ndarray]]:
        """Return what sites hold in the base run under each cell, on the half that is estimated on.

        Returns:
            [cell][site] -> [pair number]. The first entry is the base run itself, the second the source run, the others
            the cells.
        """
        wholes = list(dict.fromkeys(site.whole for site in sites))
        taken = list(dict.fromkeys(edit.site.whole for cell in cells for edit in cell if edit.do.needs_source))
        parts: list[list[list[np.ndarray]]] = []
        means = self.means([edit.site.whole for cell in cells for edit in cell if isinstance(edit.do, Mean)])
        places = list(zip(sites, at, strict=True))
        for rows, (base, source), (base_read, source_read) in self.recordings([*wholes, *taken], [ESTIMATE], stage):
            runs = [base_read, source_read]
            put_in = {site: source_read[site] for site in taken}
            if not self.pairs.even:
                put_in = {site: by_number(value, base, source) for site, value in put_in.items()}
            for cell in cells:
                sources = [source_of(edit, put_in, means, base) for edit in cell]
                runs.append(forward(self.model, base, cell, read=wholes, sources=sources).read)
            self.forwards += len(cells)
            self.stages[stage] = self.stages.get(stage, 0) + len(cells) * len(rows)
            parts.append(
                [[_mean_at(view(run[site.whole], site), base, where)[0] for site, where in places] for run in runs]
            )
        return [
            [np.concatenate([batch[run][site] for batch in parts]) for site in range(len(sites))]
            for run in range(len(cells) + 2)
        ]


def _mean_at(part: Tensor, batch: PromptSet, at: Selection) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the selected positions, [prompt number], and which prompts have any."""
    mask = batch.select(at)[..., None]
    flat = part[..., None] if part.ndim == 2 else part.flatten(2)
    mean = flat.masked_fill(~mask, 0).sum(1) / mask.sum(1).clamp(min=1)
    return mean.float().cpu().numpy(), mask.any(1)[:, 0].cpu().numpy()
