"""Activation patching: put one run's activation into another and see what of the difference comes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from mechcausal.address import Place, expand
from mechcausal.arguments import Count, Model
from mechcausal.data.contrast import Contrast
from mechcausal.interventions.specs import Patch
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, Plan, align, evaluate
from mechcausal.patching.sweep import MetricSpec, Positions, Recorder, SiteSpec, cells_of, places, plain, two_sides
from mechcausal.results.result import Result

Direction = Literal["denoise", "noise"]


@dataclass(frozen=True)
class SweepCost(Cost):
    """What a sweep of cells would take.

    Attributes:
        token_layers: How many tokens all layers together compute.
        naive_token_layers: How many the loop would compute.
        skipped: How many cells and examples are answered without a run.
        naive_because: Why kinds of sites are left to the loop.
    """

    token_layers: int = 0
    naive_token_layers: int = 0
    skipped: int = 0
    naive_because: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say it in a line, and why not less."""
        lines = [f"{super().__str__()}; {self.skipped:,} cells and examples need no run"]
        return "\n".join([*lines, *(f"  {kind}: plain loop, {why}" for kind, why in self.naive_because.items())])


@dataclass(frozen=True, kw_only=True)
class Patching(Method[Contrast, Result]):
    """Patch every cell of a sweep, exactly, and measure what it changes.

    Estimand: the mean over pairs of `metric(base run with this cell's activation taken from the source run)`.
    Denoising patches the clean activation into the corrupt run and asks whether the cell *suffices* to restore the
    behavior; noising patches the corrupt one into the clean run and asks whether it is *needed* (Zhang and Nanda 2024,
    "Towards best practices of activation patching"). `effect` is 1 where the run behaves as clean and 0 where it
    behaves as corrupt, in both directions; negative is worse than corrupt.

    Attributes:
        sites: What to patch: a component word (all layers; all heads for `z q k v pattern`), a pattern such as
            `"L*.mlp_post.N*"`, a site, or a list of these.
        at: At which positions: `"each"`, `"all"` (at once), a selection such as `"@-1"`, or a list of selections. None is
            `"each"` for streams and sublayer outputs, `"all"` for heads and neurons.
        direction: `"denoise"` or `"noise"`.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time; halved by itself when memory runs out.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each cell.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> len(mc.patch(model, pairs, sites="z"))
        16
        >>> mc.patch.cost(model, pairs, sites="z").cells
        16
    """

    word: ClassVar[str] = "patch"
    sites: SiteSpec = "resid_pre"
    at: Positions = None
    direction: Direction = "denoise"
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    exact: Exact = "replay"

    def run(self, model: Model, data: Contrast) -> Result:
        """Patch every cell and measure it."""
        recorder = Recorder(
            model, data, metric_of(self.metric), self.word,
            {"sites": plain(self.sites), "at": plain(self.at), "direction": self.direction},
        )  # fmt: skip
        where, plan = self._plan(model, data, recorder.metric)
        found = evaluate(model, plan, batch_size=self.batch_size, exact=self.exact, unedited=True)
        sides = ("corrupt", "clean") if self.direction == "denoise" else ("clean", "corrupt")
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

    def cost(self, model: Model, data: Contrast) -> SweepCost:
        """Return what it would take; only the unedited runs are made."""
        _, plan = self._plan(model, data, metric_of(self.metric))
        dry = evaluate(model, replace(plan, dry=True), batch_size=self.batch_size, exact=self.exact, unedited=True)
        return sweep_cost(model, plan, dry.told)

    def _plan(self, model: Model, pairs: Contrast, metric: Metric) -> tuple[list[Place], Plan]:
        """Return the places of the sweep, and what is to be computed."""
        base, source = two_sides(pairs, self.direction)
        able = abilities(model)
        where = places(expand(self.sites, able.shape), self.at, base)
        able.require([place.site for place in where])
        return where, Plan(base, cells_of(where, Patch()), metric, rows=source, reference=pairs.clean)


def sweep_cost(model: Model, plan: Plan, dry: Mapping[str, Any]) -> SweepCost:
    """Return the cost of a plan from what its dry run says."""
    n, cells = len(plan.base), len(plan.cells)
    columns = align(plan.base, plan.base if plan.rows is None else plan.rows)[0].tokens.shape[1]
    per_forward = columns * abilities(model).shape.n_layers
    whole = cells * n * per_forward
    computed = dry.get("token_layers", 0) + whole - dry.get("naive_token_layers", 0)
    return SweepCost(
        cells=cells,
        examples=n,
        forwards=computed / per_forward,
        naive_forwards=cells * n,
        token_layers=computed,
        naive_token_layers=whole,
        skipped=dry.get("skipped", 0),
        naive_because=dry.get("naive_because", {}),
    )


patch = function(Patching)
