"""Activation patching: put one run's activation into another and see what of the difference comes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mechcausal.address import expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Place
from mechcausal.interventions.specs import Patch
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, Plan, align, evaluate
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
    recorder = Recorder(
        model, pairs, metric_of(metric), "patch",
        {"sites": plain(sites), "positions": plain(positions), "direction": direction},
    )  # fmt: skip
    where, plan = _asked(model, pairs, sites, positions, direction, recorder.metric)
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


@dataclass(frozen=True)
class Cost:
    """What a sweep would cost.

    Attributes:
        cells: How many cells it has.
        pairs: How many pairs.
        naive_forwards: The forwards of one prompt that the loop runs for the cells.
        naive_token_layers: The tokens that all layers together compute in these.
        token_layers: The tokens that the engine has to compute, in the cells it takes; in the others all of them.
        skipped: The cells and examples that are answered without a run.
        naive_because: Why cells are left to the loop, by kind of site.
    """

    cells: int
    pairs: int
    naive_forwards: int
    naive_token_layers: int
    token_layers: int
    skipped: int
    naive_because: Mapping[str, str]

    @property
    def ratio(self) -> float:
        """How many times less that is than the loop."""
        return self.naive_token_layers / max(1, self.token_layers)

    def __str__(self) -> str:
        """Say it in a line, and why not less."""
        told = (
            f"{self.cells} cells x {self.pairs} pairs: {self.naive_forwards:,} forwards one by one; "
            f"{self.token_layers:,} of {self.naive_token_layers:,} token-layers ({self.ratio:.1f} times fewer), "
            f"{self.skipped:,} cells and pairs without a run"
        )
        return "\n".join([told, *(f"  {kind}: left to the loop, {why}" for kind, why in self.naive_because.items())])


def cost(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    *,
    sites: SiteSpec = "resid_pre",
    positions: Positions = None,
    direction: Direction = "denoise",
    metric: MetricSpec = "logit_diff",
    batch_size: int = 64,
    exact: Exact = "replay",
) -> Cost:
    """Return what `patch` would cost with these arguments; only the unedited runs are made.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> cost = mc.patching.cost(model, mc.contrast("hiring/gender", model, n=8))
        >>> cost.token_layers < cost.naive_token_layers
        True
    """
    chosen = metric_of(metric)
    _, plan = _asked(model, pairs, sites, positions, direction, chosen)
    told = evaluate(model, replace(plan, dry=True), batch_size=batch_size, exact=exact, unedited=True).told
    n, cells = len(pairs), len(plan.cells)
    layers = abilities(model).shape.n_layers
    whole = n * align(plan.base, plan.rows)[0].tokens.shape[1] * layers
    by_the_loop = cells * whole - told.get("naive_token_layers", 0)
    return Cost(
        cells=cells,
        pairs=n,
        naive_forwards=cells * n,
        naive_token_layers=cells * whole,
        token_layers=told.get("token_layers", 0) + by_the_loop,
        skipped=told.get("skipped", 0),
        naive_because=told.get("naive_because", {}),
    )


def _asked(
    model: Any,  # noqa: ANN401
    pairs: Contrast,
    sites: SiteSpec,
    positions: Positions,
    direction: Direction,
    metric: Metric,
) -> tuple[list[Place], Plan]:
    """Return the places of a sweep, and what is to be computed."""
    base, source = two_sides(pairs, direction)
    able = abilities(model)
    where = places(expand(sites, able.shape), positions, base)
    able.require([place.site for place in where])
    return where, Plan(base, cells_of(where, Patch()), metric, rows=source, reference=pairs.clean)
