"""Attribution patching: the first-order estimate of every patch from one forward and one forward-backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Place, Selection, Site
from mechcausal.arguments import Count, CountOrZero, Model
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import NumericsError, SiteError
from mechcausal.interventions.apply import spread, view
from mechcausal.interventions.specs import Edit, Interpolate
from mechcausal.method import Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, align, in_batches
from mechcausal.models.hooked import forward, gradient_reads, gradients
from mechcausal.models.plan import Economy
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.verify import Replayer, recorded
from mechcausal.patching.activation import Direction, SweepCost
from mechcausal.patching.backward import differentiable
from mechcausal.patching.gradients import Slopes
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


@dataclass(frozen=True, kw_only=True)
class Attributing(Method[Contrast, Result]):
    """Estimate what `patch` would measure, for every cell at once, from gradients.

    Estimand of `change`: `(source - base) . d metric / d activation` at the base run, the first-order Taylor estimate
    of the patch of the same arguments (Nanda 2023; Syed et al. 2023). It is exact where the metric is linear in the
    activation. With `steps` the gradient is averaged along the straight path from base to source (integrated
    gradients, Sundararajan et al. 2017, midpoint rule): with `path="joint"` a whole activation moves at once and the
    cells share out its exact effect; with `path="cell"` only the cell moves and its number converges to the exact
    effect of that cell. `effect` reads as in `patch`: 1 is as clean, 0 is as corrupt, negative is worse than corrupt;
    an estimate may lie beyond both.

    Attributes:
        sites: What to attribute to; see `patch`.
        at: Which positions; see `patch`.
        direction: `"denoise"` (base corrupt, source clean) or `"noise"` (base clean, source corrupt).
        steps: 0 for the plain gradient at the base run, else the number of points on the path.
        path: What moves along the path when `steps` is given.
        metric: A metric's name, or a differentiable function of (logits, batch).
        batch_size: How many pairs at a time.
        exact: `"replay"` runs and differentiates only the layers and positions that a site can reach; `"naive"` takes
            every gradient through a whole forward.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> estimate = mc.attribute(model, pairs, sites="z", steps=4)
        >>> len(estimate)
        16
        >>> mc.attribute.cost(model, pairs, sites="z", steps=4).naive_forwards  # four steps, for each of four layers
        128.0
    """

    word: ClassVar[str] = "attribute"
    sites: CellSpec = field(default="resid_pre", metadata={"read": as_text})
    at: Positions = field(default=None, metadata={"read": as_text})
    direction: Direction = "denoise"
    steps: CountOrZero = 0
    path: Literal["joint", "cell"] = "joint"
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    exact: Exact = "replay"

    def run(self, model: Model, data: Contrast) -> Result:
        """Estimate every cell."""
        recorder = Recorder(
            model, data, self._metric(), self.word,
            {
                "sites": plain(self.sites), "at": plain(self.at), "direction": self.direction, "steps": self.steps,
                "path": self.path,
            },
        )  # fmt: skip
        cells, estimates, used, job = self._estimated(model, data, recorder.metric, dry=False)
        if job.fast:
            measured = _baselines(estimates[-2], estimates[-1], self.direction)
            if not all(np.isfinite(side).all() for side in measured.values()):
                recorder.baselines("clean", self.batch_size)  # which says where the first number goes wrong
        else:
            measured = recorder.baselines("corrupt" if self.direction == "denoise" else "clean", used)
        return recorder.result(
            [cell.row() for cell in cells],
            measured["base"][None] + estimates[:-2],
            measured,
            forwards=job.forwards,
            batch_size=used,
            estimate="first order",
            **job.compute(),
        )

    def cost(self, model: Model, data: Contrast) -> SweepCost:
        """Return what it would take; only the unedited runs are made."""
        cells, _, _, job = self._estimated(model, data, self._metric(), dry=True)
        per_forward = align(data.clean, data.corrupt)[0].tokens.shape[1] * abilities(model).shape.n_layers
        by_the_loop = job.loop_passes([job.where[number] for number in job.slow]) * len(data) * per_forward
        computed, naive = job.economy.token_layers + by_the_loop, job.economy.naive_token_layers + by_the_loop
        return SweepCost(
            cells=len(cells),
            examples=len(data),
            forwards=computed / per_forward,
            naive_forwards=naive / per_forward,
            token_layers=computed,
            naive_token_layers=naive,
            skipped=job.economy.skipped,
            naive_because=job.reasons if job.slow else {},
        )

    def _metric(self) -> Metric:
        chosen = metric_of(self.metric)
        chosen.require_gradient(at_reference=self.direction == "noise" and self.steps == 0)
        return chosen

    def _estimated(
        self, model: Model, pairs: Contrast, metric: Metric, *, dry: bool
    ) -> tuple[list[Swept], np.ndarray, int, _Job]:
        """Return the cells, their estimates and last the metric of both unedited runs, the batch size, and the job."""
        base, source = two_sides(pairs, self.direction)
        able = abilities(model)
        cells = swept(self.sites, self.at, able.shape, base)
        able.require(sites_of(cells))
        where = list(dict.fromkeys(place for cell in cells for place in cell.places))
        if self.steps and self.path == "cell" and any(len(cell.places) > 1 for cell in cells):
            raise SiteError("path='cell' moves one site at a time", fix="use path='joint' for sites in a tuple")
        base, source, clean = align(base, source, pairs.clean)
        # The caller may have switched gradients off, for good or for a while.
        with torch.inference_mode(False), torch.enable_grad():
            engine, reasons = _replayed(model, where) if self.exact == "replay" else (None, {"all": "asked for"})
            slow = [number for number, place in enumerate(where) if engine is None or place.site.kind in reasons]
            fast = sorted(set(range(len(where))) - set(slow))
            job = _Job(model, metric, self.direction, self.steps, self.path, engine, where, fast, slow, reasons, dry)

            def one_batch(index: Tensor) -> np.ndarray:
                device = bridge.device_of(model)
                sides = [side.take(index).to(device) for side in (base, source, clean)]
                estimates = np.full((len(where) + 2, len(index)), np.nan)
                if fast:
                    estimates[[*fast, -2, -1]] = job.replayed(*sides[:2], [where[number] for number in fast])
                if slow and not dry:
                    estimates[slow] = job.looped(*sides, [where[number] for number in slow])
                return estimates

            estimates, used = in_batches(len(base), self.batch_size, one_batch)
        # To first order, what several sites do together is the sum of what each does.
        number = {place: row for row, place in enumerate(where)}
        together = [estimates[[number[place] for place in cell.places]].sum(0) for cell in cells]
        return cells, np.concatenate([np.stack(together), estimates[-2:]]), used, job


@dataclass
class _Job:
    """What is asked of every batch, and what it has cost so far.

    Attributes:
        model: The bridge.
        metric: The metric.
        direction: Which side is the base.
        steps: How many points of the path; 0 for the base run.
        path: What moves along it.
        engine: What the engine can do.
        where: The places that are differentiated at.
        fast: The numbers of the places that the engine takes.
        slow: Those that are left to whole forwards.
        reasons: Why they are.
        dry: Whether the gradients are only counted.
        forwards: How many runs there were: unedited ones, and those that were differentiated.
        economy: What the engine computed and what it did not.
    """

    model: Any
    metric: Metric
    direction: str
    steps: int
    path: str
    engine: Replayer | None
    where: Sequence[Place]
    fast: Sequence[int]
    slow: Sequence[int]
    reasons: dict[str, str]
    dry: bool = False
    forwards: int = 0
    economy: Economy = field(default_factory=Economy)

    def replayed(self, batch: PromptSet, other: PromptSet, where: Sequence[Place]) -> np.ndarray:
        """Return the estimates of the engine, and last the metric of the unedited base and source run."""
        assert self.engine is not None  # it takes these gradients
        assert self.engine.twin is not None
        twin = self.engine.twin
        wholes = list(dict.fromkeys(place.site.whole for place in where))
        start, goal = (recorded(twin, prompts, wholes)[0] for prompts in (batch, other))
        compared = None
        if self.metric.compares:
            with torch.no_grad():
                compared = twin.logits((goal if self.direction == "denoise" else start).hidden[-1])
        meter = Meter(twin, batch, self.metric, compared, start.hidden[-1])
        slopes = Slopes(twin, start, goal.values, batch.tokens != other.tokens, meter, dry=self.dry)
        if self.steps == 0:
            estimates = slopes.at_base(where)
        else:
            estimates = (slopes.joint if self.path == "joint" else slopes.cells)(where, self.steps)
        for number, place in enumerate(where):
            reached = batch.select(place.at).any(1).cpu().numpy()
            estimates[number] = _checked(estimates[number], reached, place.site)
        sides = meter.base(), Meter(twin, other, self.metric, compared, goal.hidden[-1]).base()
        self.forwards += 2 + slopes.passes
        self.economy += slopes.economy
        return np.concatenate([estimates, np.stack(sides)])

    def looped(self, batch: PromptSet, other: PromptSet, clean: PromptSet, where: Sequence[Place]) -> np.ndarray:
        """Return the estimates through whole forwards of the bridge, with hooks."""
        wholes = list(dict.fromkeys(place.site.whole for place in where))
        reference = forward(self.model, clean).logits if self.metric.compares else None
        start = forward(self.model, batch, read=wholes).read
        goal = forward(self.model, other, read=wholes).read

        def gradient(edits: Sequence[Edit], targets: Sequence[Site]) -> dict[Site, Tensor]:
            self.forwards += 1
            sources = [goal[edit.site.whole] for edit in edits]
            run = forward(self.model, batch, edits, read=gradient_reads(targets), sources=sources, grad=True)
            return gradients(run.score(self.metric, batch, reference).sum(), run, targets)

        self.forwards += 2 + int(self.metric.compares)
        estimates = np.empty((len(where), len(batch)))
        at_base = gradient([], wholes) if self.steps == 0 else {}
        joint = {}
        if self.steps and self.path == "joint":
            joint = {site: _along(gradient, site, site, ALL, self.steps) for site in wholes}
        for number, place in enumerate(where):
            activation = place.site.whole
            if self.steps == 0:
                slope = at_base[activation]
            elif self.path == "joint":
                slope = joint[activation]
            else:
                slope = _along(gradient, place.site, activation, place.at, self.steps)
            estimates[number] = _project(goal[activation] - start[activation], slope, place, batch)
        return estimates

    def loop_passes(self, where: Sequence[Place]) -> int:
        """Return how many whole forwards the loop differentiates for one batch of these places."""
        if not where or self.steps == 0:
            return int(bool(where))
        return self.steps * (len({place.site.whole for place in where}) if self.path == "joint" else len(where))

    def compute(self) -> dict[str, Any]:
        """Return what provenance says of the engine."""
        compute: dict[str, Any] = self.economy.counts() if self.fast else {}
        compute["engine"] = "naive" if not self.fast else "replay" if not self.slow else "replay and naive"
        if self.slow:
            compute["naive_because"] = self.reasons
        return compute


def _replayed(model: Any, where: Sequence[Place]) -> tuple[Replayer | None, dict[str, str]]:  # noqa: ANN401
    """Return the engine, and why it leaves some kinds of sites to whole forwards."""
    kinds = dict.fromkeys(place.site.kind for place in where)
    features = {place.site.kind for place in where if place.site.dictionary is not None}
    engine, reasons = differentiable(model, [kind for kind in kinds if kind not in features])
    reasons |= dict.fromkeys(sorted(features), "gradients at features are taken through whole forwards")
    return engine, reasons if engine is not None else {"all": next(iter(reasons.values()))}


def _baselines(base: np.ndarray, source: np.ndarray, direction: str) -> dict[str, np.ndarray]:
    clean, corrupt = (source, base) if direction == "denoise" else (base, source)
    return {"base": base, "clean": clean, "corrupt": corrupt}


def _along(gradient: Any, moved: Site, target: Site, at: Selection, steps: int) -> Tensor:  # noqa: ANN401
    """Return the mean gradient at the midpoints of `steps` equal parts of the path."""
    total = None
    for step in range(steps):
        edit = Edit(moved, Interpolate((step + 0.5) / steps), at)
        slope = gradient([edit], [target])[target]
        total = slope if total is None else total + slope
    assert total is not None  # steps > 0
    return total / steps


def _project(delta: Tensor, slope: Tensor, place: Place, batch: PromptSet) -> np.ndarray:
    product = view(delta * slope, place.site)
    mask = batch.select(place.at)
    kept = product * spread(mask, place.site, product.ndim)
    total = kept.reshape(len(batch), -1).double().sum(1).cpu().numpy()
    return _checked(total, mask.any(1).cpu().numpy(), place.site)


def _checked(total: np.ndarray, reached: np.ndarray, site: Site) -> np.ndarray:
    """Return the sums over a place with NaN for prompts that do not have it; refuse any other."""
    if not np.isfinite(total[reached]).all():
        raise NumericsError(
            f"the gradient at {site} holds NaN or infinity",
            fix="attribute to a metric that is smooth there, or use mc.patch",
        )
    total[~reached] = np.nan
    return total


attribute = function(Attributing)
