"""Ablation: take a component away, by zero, by its mean, by another prompt's activation, or by a set value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from mechcausal.address import Site, expand
from mechcausal.arguments import Count, Kind, Model, Seed
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Intervention, Mean, Patch, Resample, from_json
from mechcausal.method import Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, Plan, evaluate, mean_activations
from mechcausal.patching.activation import SweepCost, dry_run
from mechcausal.patching.sweep import MetricSpec, Place, Positions, Recorder, SiteSpec, as_text, cells_of, places, plain
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
        sites: What to ablate; see `patch`.
        at: Which positions; all at once unless said otherwise.
        do: `"zero"`, `"mean"`, `"resample"`, or an intervention such as `Set(0.5)`.
        reference: Where means and resamples come from; the prompts themselves (both sides of a contrast) if None.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many prompts at a time.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each cell.
        seed: The seed of resampling.

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
    sites: SiteSpec = field(default="z", metadata={"read": as_text})
    at: Positions = field(default="all", metadata={"read": as_text})
    do: Ablation = field(default="mean", metadata={"read": _read})
    reference: PromptSet | Contrast | None = None
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    exact: Exact = "replay"
    seed: Seed = 0

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
        where, plan, notes = self._plan(model, data, recorder.metric)
        baselines = recorder.baselines("clean", self.batch_size)
        recorder.arguments.update(notes)
        found = evaluate(model, plan, batch_size=recorder.batch_size, progress="ablating", exact=self.exact)
        return recorder.result(
            [place.row() for place in where],
            found.values,
            baselines,
            forwards=found.forwards,
            batch_size=found.batch_size,
            **found.told,
        )

    def cost(self, model: Model, data: PromptSet | Contrast) -> SweepCost:
        """Return what it would take; only unedited runs are made, those of the reference prompts among them."""
        _, plan, _ = self._plan(model, data, metric_of(self.metric))
        return dry_run(model, plan, self.batch_size, self.exact)

    @property
    def _intervention(self) -> Intervention:
        if isinstance(self.do, Intervention):
            return self.do
        return Resample(self.seed) if self.do == "resample" else from_json(self.do)

    def _pool(self, data: PromptSet | Contrast) -> PromptSet:
        """Return the prompts that means and resamples come from."""
        pool = data if self.reference is None else self.reference
        return pool.pooled if isinstance(pool, Contrast) else pool

    def _plan(
        self, model: Model, data: PromptSet | Contrast, metric: Metric
    ) -> tuple[list[Place], Plan, dict[str, str]]:
        """Return the places of the sweep, what is to be computed, and what provenance says of the means."""
        base, pool, intervention = (
            data.clean if isinstance(data, Contrast) else data,
            self._pool(data),
            self._intervention,
        )
        able = abilities(model)
        where = places(expand(self.sites, able.shape), self.at, base)
        able.require([place.site for place in where])
        rows, notes = None, {}
        means: dict[Site, Tensor] = {}
        if isinstance(intervention, Resample):
            rows = draw(pool, base, intervention.seed)
        elif isinstance(intervention, Mean):
            per_position = lines_up(base, pool)
            if not per_position and any(place.site.component == "pattern" for place in where):
                raise DataError(
                    "a mean attention pattern needs prompts of one length, because its keys are positions",
                    fix="ablate z, or use do='zero' or prompts of one length",
                )
            pool = pool.padded(base.tokens.shape[1], base.side) if per_position else pool
            wholes = list(dict.fromkeys(place.site.whole for place in where))
            means = mean_activations(model, pool, wholes, batch_size=self.batch_size, per_position=per_position)
            notes["mean"] = "per position" if per_position else "over positions"
        return where, Plan(base, cells_of(where, intervention), metric, rows=rows, means=means, reference=base), notes


def draw(pool: PromptSet, base: PromptSet, seed: int) -> PromptSet:
    """Draw for each base prompt another prompt of the pool with the same number of tokens."""
    generator = torch.Generator().manual_seed(seed)
    picks = []
    by_length: dict[int, list[tuple[int, list[int]]]] = {}
    for number, tokens in enumerate(pool.real_tokens):
        by_length.setdefault(len(tokens), []).append((number, tokens))
    for row, prompt in enumerate(base.real_tokens):
        length = len(prompt)
        others = [number for number, tokens in by_length.get(length, []) if tokens != prompt]
        if not others:
            raise DataError(
                f"no other reference prompt has the length of prompt {row}",
                got=f"{length} tokens",
                fix="give a larger reference set",
            )
        picks.append(others[int(torch.randint(len(others), (1,), generator=generator))])
    return pool.take(picks)


def lines_up(base: PromptSet, pool: PromptSet) -> bool:
    """Say whether all prompts have one length, so that positions can be averaged one by one."""
    lengths = torch.cat([base.lengths, pool.lengths])
    return bool((lengths == lengths[0]).all())


ablate = function(Ablating, data="prompts", about="Prompts, or pairs, whose clean side is ablated.")
