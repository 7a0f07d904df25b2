"""Activation patching: put one run's activation into another and see what of the difference comes along."""

from __future__ import annotations

from typing import Any, Literal

from mechcausal.address import expand
from mechcausal.data.contrast import Contrast
from mechcausal.interventions.specs import Patch
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, Plan, evaluate
from mechcausal.patching.sweep import MetricSpec, Positions, Recorder, SiteSpec, cells_of, places, plain, two_sides
from mechcausal.results.result import Result

Direction = Literal["denoise", "noise"]


def patch(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    *,
    sites: SiteSpec = "resid_pre",
    positions: Positions = None,
    direction: Direction = "denoise",
    metric: MetricSpec = "logit_diff",
    batch_size: int = 64,
    exact: Exact = "replay",
) -> Result:
    """Patch every cell of a sweep, exactly, and measure what it changes.

    Estimand: the mean over pairs of `metric(base run with this cell's activation taken from the source run)`.
    Denoising patches the clean activation into the corrupt run and asks whether the cell *suffices* to restore the
    behavior; noising patches the corrupt one into the clean run and asks whether it is *needed* (Zhang and Nanda 2024,
    "Towards best practices of activation patching"). `effect` is 1 where the run behaves as clean and 0 where it
    behaves as corrupt, in both directions; negative is worse than corrupt.

    Args:
        model: The model.
        pairs: Clean and corrupt prompts.
        sites: What to patch: a component word (all layers; all heads for `z q k v pattern`), a pattern such as
            `"L*.mlp_post.N*"`, a site, or a list of these.
        positions: `"each"`, `"all"` (at once), a selection or a list of selections. None is "each" for streams and
            sublayer outputs, "all" for heads and neurons.
        direction: `"denoise"` or `"noise"`.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time; halved by itself when memory runs out.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each cell.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> sweep = mc.patch(model, mc.contrast("hiring/gender", model, n=8), sites="z")
        >>> len(sweep)
        16
    """
    base, source = two_sides(pairs, direction)
    recorder = Recorder(
        model, pairs, metric_of(metric), "patch",
        {"sites": plain(sites), "positions": plain(positions), "direction": direction},
    )  # fmt: skip
    able = abilities(model)
    where = places(expand(sites, able.shape), positions, base)
    able.require([place.site for place in where])
    plan = Plan(base, cells_of(where, Patch()), recorder.metric, rows=source, reference=pairs.clean)
    found = evaluate(model, plan, batch_size=batch_size, exact=exact, unedited=True)
    sides = ("corrupt", "clean") if direction == "denoise" else ("clean", "corrupt")
    baselines = dict(zip(sides, found.unedited.values(), strict=True))
    baselines = {"base": baselines[sides[0]], **{side: baselines[side] for side in ("clean", "corrupt")}}
    return recorder.result(
        [place.row() for place in where],
        found.values,
        baselines,
        forwards=found.forwards,
        batch_size=found.batch_size,
        **found.told,
    )
