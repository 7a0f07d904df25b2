"""Ablation: take a component away, by zero, by its mean, by another prompt's activation, or by a set value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mechcausal.address import Site, expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Intervention, Mean, Patch, Resample, from_json
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, Plan, evaluate, mean_activations
from mechcausal.patching.sweep import MetricSpec, Positions, Recorder, SiteSpec, cells_of, places, plain
from mechcausal.results.result import Result


def ablate(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompts: PromptSet | Contrast,
    *,
    sites: SiteSpec = "z",
    positions: Positions = "all",
    do: str | Intervention = "mean",
    reference: PromptSet | Contrast | None = None,
    metric: MetricSpec = "logit_diff",
    batch_size: int = 64,
    exact: Exact = "replay",
    seed: int = 0,
) -> Result:
    """Ablate every cell of a sweep on the (clean) prompts and measure what it changes.

    Estimand: the mean over prompts of `metric(run with this cell ablated)`; `change` is that minus the unedited run.
    Zero ablation leaves the data distribution, mean ablation leaves it less, resample ablation stays in it
    (Chan et al. 2022, "Causal scrubbing"). With a contrast, `effect` is normalised: 1 unchanged, 0 as corrupt.

    Args:
        model: The model.
        prompts: Prompts, or pairs, whose clean side is ablated.
        sites: What to ablate; see `patch`.
        positions: Which positions; all at once unless said otherwise.
        do: `"zero"`, `"mean"`, `"resample"`, or an intervention such as `Set(0.5)`.
        reference: Where means and resamples come from; the prompts themselves (both sides of a contrast) if None.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many prompts at a time.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each cell.
        seed: The seed of resampling.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> heads = mc.ablate(model, mc.contrast("hiring/gender", model, n=8), do="zero")
        >>> heads.frame.shape[0]
        16
    """
    intervention = (
        from_json({"do": "resample", "seed": seed} if do == "resample" else do) if isinstance(do, str) else do
    )
    if isinstance(intervention, Patch) or (
        intervention.needs_source and not isinstance(intervention, (Mean, Resample))
    ):
        raise DataError(f"{intervention.name} is not an ablation", fix="use zero, mean, resample or set, or mc.patch")
    base = prompts.clean if isinstance(prompts, Contrast) else prompts
    pool = prompts if reference is None else reference
    pool = pool.pooled if isinstance(pool, Contrast) else pool
    recorder = Recorder(
        model, prompts, metric_of(metric), "ablate",
        {"sites": plain(sites), "positions": plain(positions), "do": intervention.to_json(), "reference": pool.hash},
        seed=seed,
    )  # fmt: skip
    able = abilities(model)
    where = places(expand(sites, able.shape), positions, base)
    able.require([place.site for place in where])
    per_position = lines_up(base, pool)
    if (
        isinstance(intervention, Mean)
        and not per_position
        and any(place.site.component == "pattern" for place in where)
    ):
        raise DataError(
            "a mean attention pattern needs prompts of one length, because its keys are positions",
            fix="ablate z, or use do='zero' or prompts of one length",
        )
    rows = draw(pool, base, intervention.seed) if isinstance(intervention, Resample) else None
    baselines = recorder.baselines("clean", batch_size)
    means: dict[Site, Tensor] = {}
    if isinstance(intervention, Mean):
        pool = pool.padded(base.tokens.shape[1], base.side) if per_position else pool
        wholes = list(dict.fromkeys(place.site.whole for place in where))
        means = mean_activations(model, pool, wholes, batch_size=recorder.batch_size, per_position=per_position)
        recorder.arguments["mean"] = "per position" if per_position else "over positions"
    plan = Plan(base, cells_of(where, intervention), recorder.metric, rows=rows, means=means, reference=base)
    found = evaluate(model, plan, batch_size=recorder.batch_size, progress="ablating", exact=exact)
    return recorder.result(
        [place.row() for place in where],
        found.values,
        baselines,
        forwards=found.forwards,
        batch_size=found.batch_size,
        **found.told,
    )


def draw(pool: PromptSet, base: PromptSet, seed: int) -> PromptSet:
    """Draw for each base prompt another prompt of the pool with the same number of tokens."""
    generator = torch.Generator().manual_seed(seed)
    picks = []
    by_length: dict[int, list[tuple[int, list[int]]]] = {}
    for number, tokens in enumerate(pool.real_tokens):
        by_length.setdefault(len(tokens), []).append((number, tokens))
    for row, own in enumerate(base.real_tokens):
        length = len(own)
        others = [number for number, tokens in by_length.get(length, []) if tokens != own]
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
