"""Ablation: take a component away, by zero, by its mean, by another prompt's activation, or by a set value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Selection, Site
from mechcausal.arguments import Count, Kind, Model, Seed
from mechcausal.data.contrast import Contrast
from mechcausal.data.forced import several_tokens
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Intervention, Mean, Patch, Resample, from_json
from mechcausal.method import Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, Plan, check_prompts, evaluate, mean_activations
from mechcausal.models.facts import source_facts
from mechcausal.models.sources import SourceRun, check_source
from mechcausal.patching.activation import SweepCost, dry_run
from mechcausal.patching.estimated import MeanInfluence, off_by_themselves, why_known
from mechcausal.patching.sweep import CellSpec, MetricSpec, Positions, Recorder, Swept, as_text, plain, sites_of, swept
from mechcausal.results.result import Result


def _is_ablation(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    if not isinstance(value, (str, Intervention)):
        return False
    made = from_json(value) if isinstance(value, str) else value
    if isinstance(made, Patch) or (made.needs_source and not isinstance(made, (Mean, Resample))):
        raise DataError(f"{made.name} is not an ablation", fix="use zero, mean, resample or set, or mc.patch")
    return True


Ablation = Annotated[
    str | Intervention, Kind("'zero', 'mean', 'resample', or an intervention such as Set(0.5)", _is_ablation)
]


def _read(value: Any) -> Any:  # noqa: ANN401 - the plain form of an intervention, or one as it is
    return from_json(dict(value)) if isinstance(value, Mapping) else value


@dataclass(frozen=True, kw_only=True)
class Ablating(Method[PromptSet | Contrast, Result]):
    """Ablate every cell of a sweep on the (clean) prompts and measure what it changes.

    Estimand: the mean over prompts of `metric(run with this cell ablated)`; `change` is that minus the unedited run.
    Zero ablation leaves the data distribution, mean ablation leaves it less, resample ablation stays in it
    (Chan et al. 2022, "Causal scrubbing"). With a contrast, `effect` is normalised: 1 is unchanged, 0 is as corrupt,
    and negative is worse than corrupt.

    Attributes:
        sites: What to ablate; see `patch`. A tuple of sites within a list is one cell, ablated together.
        at: Which positions; all at once unless said otherwise.
        do: `"zero"`, `"mean"`, `"resample"`, or an intervention such as `Set(0.5)`. Resampling draws prompts of the same
            length; where there is none, prompts of another length that have the positions `at` as often.
        reference: Where means and resamples come from; the prompts themselves (both sides of a contrast) if None.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many prompts at a time.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each cell.
        seed: The seed of resampling.
        source_model: The model that means and resamples are taken from; the model itself where None.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> len(mc.ablate(model, pairs, do="zero"))
        16
        >>> mc.ablate.cost(model, pairs, do="zero").cells
        16
    """

    word: ClassVar[str] = "ablate"
    sites: CellSpec = field(default="z", metadata={"read": as_text})
    at: Positions = field(default="all", metadata={"read": as_text})
    do: Ablation = field(default="mean", metadata={"read": _read})
    reference: PromptSet | Contrast | None = None
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    exact: Exact = "replay"
    seed: Seed = 0
    source_model: Model | None = field(default=None, repr=False)

    def run(self, model: Model, data: PromptSet | Contrast) -> Result:
        """Ablate every cell and measure it."""
        recorder = Recorder(
            model, data, metric_of(self.metric), self.word,
            {
                "sites": plain(self.sites), "at": plain(self.at), "do": self._intervention.to_json(),
                "reference": self._pool(data).hash,
            },
            seed=self.seed,
        )  # fmt: skip
        cells, plans, notes = self._plans(model, data, recorder.metric)
        baselines = recorder.baselines("clean", self.batch_size)
        plans = self._with_means(model, data, plans, recorder.batch_size)
        parts = [
            evaluate(model, plan, batch_size=recorder.batch_size, progress="ablating", exact=self.exact)
            for plan in plans.values()
        ]
        values = np.empty((len(cells), len(baselines["base"])))
        for numbers, part in zip(plans, parts, strict=True):
            values[list(numbers)] = part.values
        influence, uncertainty = self._influence(model, data, plans, recorder.batch_size)
        if influence is not None:
            clusters = recorder.sides["clean"].clusters
            uncertainty |= off_by_themselves(values - baselines["base"], influence, clusters)
        recorder.arguments.update(notes | uncertainty)
        return recorder.result(
            [cell.row() for cell in cells],
            values,
            baselines,
            forwards=sum(part.forwards for part in parts),
            batch_size=min(part.batch_size for part in parts),
            influence=influence,
            **_compute([part.compute for part in parts]),
        )

    def cost(self, model: Model, data: PromptSet | Contrast) -> SweepCost:
        """Return what it would take; only unedited runs are made, those of the reference prompts among them."""
        _, plans, _ = self._plans(model, data, metric_of(self.metric))
        plans = self._with_means(model, data, plans, self.batch_size)
        first, *others = (dry_run(model, plan, self.batch_size, self.exact) for plan in plans.values())
        return sum(others, first)

    def cells(self, model: Model, data: PromptSet | Contrast) -> list[Swept]:
        """Return the cells of the sweep, in the order of its table; nothing is run."""
        return self._plans(model, data, metric_of(self.metric))[0]

    @property
    def needs_others(self) -> bool:
        """Whether the number of a prompt depends on the other prompts: means and resamples come from them."""
        return isinstance(self._intervention, Mean | Resample)

    @property
    def _intervention(self) -> Intervention:
        if isinstance(self.do, Intervention):
            return self.do
        return Resample(self.seed) if self.do == "resample" else from_json(self.do)

    def _pool(self, data: PromptSet | Contrast) -> PromptSet:
        """Return the prompts that means and resamples come from."""
        pool = data if self.reference is None else self.reference
        return pool.pooled if isinstance(pool, Contrast) else pool

    def _plans(
        self, model: Model, data: PromptSet | Contrast, metric: Metric
    ) -> tuple[list[Swept], dict[tuple[int, ...], Plan], dict[str, Any]]:
        """Return the cells of the sweep, what is to be computed for which of them, and notes for the provenance."""
        base, pool, intervention = (
            (data.clean if isinstance(data, Contrast) else data).unaligned,
            self._pool(data),
            self._intervention,
        )
        able = abilities(model)
        cells = swept(self.sites, self.at, able.shape, base)
        able.require(sites_of(cells))
        self._check_source(model, intervention, pool, sites_of(cells))
        notes: dict[str, Any] = source_facts(self.source_model)
        plan = Plan(base, [cell.cell(intervention) for cell in cells], metric, reference=base)
        everything = tuple(range(len(cells)))
        if isinstance(intervention, Resample):
            selections = list(dict.fromkeys(cell.at for cell in cells))
            rows, same_length = draw(pool, base, intervention.seed, selections)
            if same_length:
                source = None if self.source_model is None else SourceRun(self.source_model)
                return cells, {everything: replace(plan, rows=rows, source=source)}, notes
            notes["resample"] = "from prompts of other lengths, position by position"
            plans = {}
            for at in selections:
                numbers = tuple(number for number, cell in enumerate(cells) if cell.at == at)
                plans[numbers] = replace(plan.only(numbers), rows=rows, source=SourceRun(self.source_model, at))
            return cells, plans, notes
        if isinstance(intervention, Mean):
            per_position = lines_up(base, pool)
            if not per_position and any(site.component == "pattern" for site in sites_of(cells)):
                raise DataError(
                    "a mean attention pattern needs prompts of one length, because its keys are positions",
                    fix="ablate z, or use do='zero' or prompts of one length",
                )
            notes["mean"] = "per position" if per_position else "over positions"
        return cells, {everything: plan}, notes

    def _with_means(
        self, model: Model, data: PromptSet | Contrast, plans: dict[tuple[int, ...], Plan], batch_size: int
    ) -> dict[tuple[int, ...], Plan]:
        """Return the plans with the means that mean ablation sets."""
        if not isinstance(self._intervention, Mean):
            return plans
        ((numbers, plan),) = plans.items()
        pool, per_position = self._pool_of_means(plan, data)
        wholes = list(dict.fromkeys(edit.site.whole for cell in plan.cells for edit in cell))
        makes = model if self.source_model is None else self.source_model
        means = mean_activations(makes, pool, wholes, batch_size=batch_size, per_position=per_position)
        means = {site: mean.to(bridge.device_of(model)) for site, mean in means.items()}
        return {numbers: replace(plan, means=means)}

    def _pool_of_means(self, plan: Plan, data: PromptSet | Contrast) -> tuple[PromptSet, bool]:
        """Return the prompts of the means, and whether there is a mean for each position."""
        base, pool = plan.base, self._pool(data)
        per_position = lines_up(base, pool)
        return (pool.padded(base.tokens.shape[1], base.side) if per_position else pool), per_position

    def _influence(
        self, model: Model, data: PromptSet | Contrast, plans: dict[tuple[int, ...], Plan], batch_size: int
    ) -> tuple[np.ndarray | None, dict[str, str]]:
        """Return what each example adds to its cells through the means, and a note where the means count as known."""
        if not isinstance(self._intervention, Mean):
            return None, {}
        (plan,) = plans.values()
        if reason := why_known(plan, same_prompts=self.reference is None):
            return None, {"mean_taken_as_known": reason}
        pool, per_position = self._pool_of_means(plan, data)
        makes = model if self.source_model is None else self.source_model
        return MeanInfluence(model, plan, pool, makes, per_position, batch_size).of_examples(), {}

    def _check_source(self, model: Model, intervention: Intervention, pool: PromptSet, sites: list[Site]) -> None:
        check_prompts(model if self.source_model is None else self.source_model, pool)
        if self.source_model is None:
            return
        if not isinstance(intervention, (Mean, Resample)):
            raise DataError(
                f"{intervention.name} takes nothing from another model", fix="use do='mean' or do='resample' with it"
            )
        check_source(model, self.source_model, sites)


def _compute(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what provenance says of the engine, from what it says of each part."""
    compute = dict(parts[0])
    for part in parts[1:]:
        if part["engine"] != compute["engine"]:
            compute["engine"] = "replay and naive"
        compute["naive_because"] = {**compute.get("naive_because", {}), **part.get("naive_because", {})}
        counts = ("naive_token_layers", "token_layers", "skipped", "cells_and_examples", "cells")
        compute |= {
            name: compute.get(name, 0) + part.get(name, 0) for name in counts if name in compute or name in part
        }
    if len(parts) > 1 and not compute["naive_because"]:
        del compute["naive_because"]
    if len(parts) > 1 and "token_layers" in compute:
        compute["ratio"] = round(compute["naive_token_layers"] / max(1, compute["token_layers"]), 2)
    return compute


def draw(
    pool: PromptSet, base: PromptSet, seed: int, selections: Sequence[Selection] = (ALL,)
) -> tuple[PromptSet, bool]:
    """Draw another prompt of the pool for each base prompt, and say whether all have the number of tokens of theirs.

    Prompts of the same number of tokens are drawn where every base prompt has another one; else prompts in which each
    selection names as many positions as in the base prompt.
    """
    generator = torch.Generator().manual_seed(seed)
    for same_length in (True, False):
        measures = [pool.lengths[:, None], base.lengths[:, None]] if same_length else _counts(pool, base, selections)
        if measures is None:
            break
        candidates: dict[tuple[int, ...], list[int]] = {}
        for number, measure in enumerate(measures[0].tolist()):
            candidates.setdefault(tuple(measure), []).append(number)
        tokens, picks = pool.real_tokens, []
        for prompt, measure in zip(base.real_tokens, measures[1].tolist(), strict=True):
            others = [number for number in candidates.get(tuple(measure), []) if tokens[number] != prompt]
            if not others:
                break
            picks.append(others[int(torch.randint(len(others), (1,), generator=generator))])
        if len(picks) == len(base):
            return pool.take(picks), same_length
    row = len(picks)
    raise DataError(
        f"no other reference prompt has the length of prompt {row}, or the positions that are ablated",
        got=f"{int(base.lengths[row])} tokens",
        fix="give a larger reference set, or positions that all prompts have, such as at='@-1'",
    )


def _counts(pool: PromptSet, base: PromptSet, selections: Sequence[Selection]) -> list[Tensor] | None:
    """Return how many positions each selection names in each prompt of either set; None where one set lacks a name."""
    names = {selection.name for selection in selections if selection.name is not None}
    if not names <= set(pool.positions):
        return None
    return [torch.stack([prompts.select(at).sum(1) for at in selections], dim=1) for prompts in (pool, base)]


def lines_up(base: PromptSet, pool: PromptSet) -> bool:
    """Say whether all prompts have one length, so that positions can be averaged one by one."""
    lengths = torch.cat([base.lengths, pool.lengths])
    return bool((lengths == lengths[0]).all()) and not several_tokens(base)


ablate = function(Ablating, data="prompts", about="Prompts, or pairs, whose clean side is ablated.")
