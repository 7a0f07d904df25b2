"""Activation patching: put one run's activation into another and see what of the difference comes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from mechcausal.arguments import Count, Model
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError
from mechcausal.interventions.specs import Patch
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, Plan, align, check_prompts, evaluate
from mechcausal.models.facts import source_facts
from mechcausal.models.rows import written_out
from mechcausal.models.sources import SourceRun, check_source
from mechcausal.patching.sweep import (
    CellSpec,
    MetricSpec,
    Positions,
    Recorder,
    Swept,
    as_text,
    plain,
    sites_of,
    swept,
    two_sides,
)
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

    def __add__(self, other: SweepCost) -> SweepCost:
        """Return the cost of both, of the same examples."""
        counts = ("cells", "forwards", "naive_forwards", "token_layers", "naive_token_layers", "skipped")
        added: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in counts}
        return replace(self, **added, naive_because={**self.naive_because, **other.naive_because})

    def __str__(self) -> str:
        """Say it in a line, and why not less."""
        lines = [f"{super().__str__()}; {self.skipped:,} cells and examples need no run"]
        return "\n".join([*lines, *(f"  {kind}: plain loop, {why}" for kind, why in self.naive_because.items())])


@dataclass(frozen=True, kw_only=True)
class Patching(Method[Contrast | PromptSet, Result]):
    """Patch every cell of a sweep, exactly, and measure what it changes.

    Estimand: the mean over pairs of `metric(base run with this cell's activation taken from the source run)`.
    Denoising patches the clean activation into the corrupt run and asks whether the cell *suffices* to restore the
    behavior; noising patches the corrupt one into the clean run and asks whether it is *needed* (Zhang and Nanda 2024,
    "Towards best practices of activation patching"). `effect` is 1 where the run behaves as clean and 0 where it
    behaves as corrupt, in both directions; negative is worse than corrupt.

    Attributes:
        sites: What to patch: a component word (all layers; all heads for `z q k v pattern`), a pattern such as
            `"L*.mlp_post.N*"`, a site, or a list of these. A tuple of sites within a list is one cell: its sites are
            patched together and printed as `L0.z.H1 + L2.z.H0`.
        at: At which positions: `"each"`, `"all"` (at once), a selection such as `"@-1"`, or a list of selections. None is
            `"each"` for streams and sublayer outputs, `"all"` for heads and neurons.
        direction: `"denoise"` or `"noise"`.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time; halved by itself when memory runs out.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each cell.
        source_model: The model that makes the source run, such as a fine-tuned twin; the model itself where None. With
            pairs, the source side is run by it. With prompts alone, both models run the same prompts, `effect` is 0
            where the run behaves as `model` and 1 where it behaves as `source_model`, and `direction` says nothing.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> len(mc.patch(model, pairs, sites="z"))
        16
        >>> mc.patch.cost(model, pairs, sites="z").cells
        16
        >>> mc.patch(model, pairs, sites=[("L1.z.H2", "L2.mlp_out")]).frame["site"].item()
        'L1.z.H2 + L2.mlp_out'
    """

    word: ClassVar[str] = "patch"
    sites: CellSpec = field(default="resid_pre", metadata={"read": as_text})
    at: Positions = field(default=None, metadata={"read": as_text})
    direction: Direction = "denoise"
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    exact: Exact = "replay"
    source_model: Model | None = field(default=None, repr=False)

    def run(self, model: Model, data: Contrast | PromptSet) -> Result:
        """Patch every cell and measure it."""
        recorder = Recorder(
            model, data, metric_of(self.metric), self.word,
            {
                "sites": plain(self.sites), "at": plain(self.at), "direction": self.direction,
                **source_facts(self.source_model),
            },
        )  # fmt: skip
        cells, plan = self._plan(model, data, recorder.metric)
        values = evaluate(model, plan, batch_size=self.batch_size, exact=self.exact, unedited=True)
        denoises = self.direction == "denoise" or isinstance(data, PromptSet)
        sides = ("corrupt", "clean") if denoises else ("clean", "corrupt")
        unedited = dict(zip(sides, values.unedited.values(), strict=True))
        baselines = {"base": unedited[sides[0]], **{side: unedited[side] for side in ("clean", "corrupt")}}
        return recorder.result(
            [cell.row() for cell in cells],
            values.values,
            baselines,
            forwards=values.forwards,
            batch_size=values.batch_size,
            **values.compute,
        )

    def cost(self, model: Model, data: Contrast | PromptSet) -> SweepCost:
        """Return what it would take; only the unedited runs are made."""
        _, plan = self._plan(model, data, metric_of(self.metric))
        return dry_run(model, plan, self.batch_size, self.exact)

    def cells(self, model: Model, data: Contrast | PromptSet) -> list[Swept]:
        """Return the cells of the sweep, in the order of its table; nothing is run."""
        return self._plan(model, data, metric_of(self.metric))[0]

    def _plan(self, model: Model, data: Contrast | PromptSet, metric: Metric) -> tuple[list[Swept], Plan]:
        """Return the cells of the sweep, and what is to be computed."""
        if isinstance(data, Contrast):
            (base, source), clean = two_sides(data, self.direction), data.clean
        elif self.source_model is None:
            raise ArgumentError(
                "patch takes activations of the other prompt of a pair",
                got="a PromptSet",
                expected="a Contrast",
                fix="build pairs with mc.contrast or mc.Contrast.from_text, or give source_model=...",
            )
        else:
            base = source = clean = data
        able = abilities(model)
        cells = swept(self.sites, self.at, able.shape, base)
        able.require(sites_of(cells))
        run = None
        if self.source_model is not None:
            check_source(model, self.source_model, sites_of(cells))
            check_prompts(self.source_model, source)
            run = SourceRun(self.source_model)
        return cells, Plan(
            base, [cell.cell(Patch()) for cell in cells], metric, rows=source, reference=clean, source=run
        )


def dry_run(model: Model, plan: Plan, batch_size: int, exact: Exact) -> SweepCost:
    """Return the cost of a plan; only the unedited runs are made."""
    dry = evaluate(model, replace(plan, dry=True), batch_size=batch_size, exact=exact).compute
    run, _ = written_out(plan)  # answers of several tokens have a row each, and are longer than their prompt
    n, cells = len(run.base), len(run.cells)
    rows = run.base if run.rows is None or (run.source and run.source.at) else run.rows
    columns = (run.base if run.base.aligned else align(run.base, rows)[0]).tokens.shape[1]
    per_forward = columns * abilities(model).shape.n_layers
    naive = cells * n * per_forward
    computed = dry.get("token_layers", 0) + naive - dry.get("naive_token_layers", 0)
    return SweepCost(
        cells=cells,
        examples=len(plan.base),
        forwards=computed / per_forward,
        naive_forwards=cells * n,
        token_layers=computed,
        naive_token_layers=naive,
        skipped=dry.get("skipped", 0),
        naive_because=dry.get("naive_because", {}),
    )


patch = function(Patching)
