"""Attribution patching: the first-order estimate of every patch from one forward and one forward-backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Place, Selection, Site, expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, NumericsError
from mechcausal.interventions.apply import spread, view
from mechcausal.interventions.specs import Edit, Interpolate
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, align, check_exact, in_batches
from mechcausal.models.hooked import forward, gradient_reads, gradients
from mechcausal.models.plan import Economy
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.verify import Replayer, recorded
from mechcausal.patching.activation import Direction
from mechcausal.patching.backward import differentiable
from mechcausal.patching.gradients import Slopes
from mechcausal.patching.sweep import MetricSpec, Positions, Recorder, SiteSpec, places, plain, two_sides
from mechcausal.results.result import Result


def attribute(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    *,
    sites: SiteSpec = "resid_pre",
    positions: Positions = None,
    direction: Direction = "noise",
    steps: int = 0,
    path: Literal["joint", "cell"] = "joint",
    metric: MetricSpec = "logit_diff",
    batch_size: int = 64,
    exact: Exact = "replay",
) -> Result:
    """Estimate what `patch` would measure, for every cell at once, from gradients.

    Estimand of `change`: `(source - base) . d metric / d activation` at the base run, the first-order Taylor estimate
    of the patch (Nanda 2023; Syed et al. 2023). It is exact where the metric is linear in the activation. With
    `steps` the gradient is averaged along the straight path from base to source (integrated gradients, Sundararajan
    et al. 2017, midpoint rule): with `path="joint"` a whole activation moves at once and the cells share out its
    exact effect; with `path="cell"` only the cell moves and its number converges to the exact effect of that cell.

    Args:
        model: The model.
        pairs: Clean and corrupt prompts.
        sites: What to attribute to; see `patch`.
        positions: Which positions; see `patch`.
        direction: `"noise"` (base clean, source corrupt) or `"denoise"`.
        steps: 0 for the plain gradient at the base run, else the number of points on the path.
        path: What moves along the path when `steps` is given.
        metric: A metric's name, or a differentiable function of (logits, batch).
        batch_size: How many pairs at a time.
        exact: `"replay"` runs and differentiates only the layers and positions that a site can reach; `"naive"` takes
            every gradient through a whole forward.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> estimate = mc.attribute(model, mc.contrast("hiring/gender", model, n=8), sites="z", steps=4)
        >>> len(estimate)
        16
    """
    if steps < 0 or path not in ("joint", "cell"):
        raise DataError("steps is 0 or more and path is 'joint' or 'cell'", got=f"steps {steps}, path {path!r}")
    base, source = two_sides(pairs, direction)
    chosen = metric_of(metric)
    chosen.require_gradient(at_reference=direction == "noise" and steps == 0)
    check_exact(exact)
    recorder = Recorder(
        model, pairs, chosen, "attribute",
        {"sites": plain(sites), "positions": plain(positions), "direction": direction, "steps": steps, "path": path},
    )  # fmt: skip
    able = abilities(model)
    where = places(expand(sites, able.shape), positions, base)
    able.require([place.site for place in where])
    base, source, clean = align(base, source, pairs.clean)
    # The caller may have switched gradients off, for good or for a while.
    with torch.inference_mode(False), torch.enable_grad():
        known, reasons = _replayed(model, where) if exact == "replay" else (None, {"all": "asked for"})
        slow = [number for number, place in enumerate(where) if known is None or place.site.kind in reasons]
        fast = sorted(set(range(len(where))) - set(slow))
        job = _Job(model, chosen, direction, steps, path, known)
        measured = None if fast else recorder.baselines("corrupt" if direction == "denoise" else "clean", batch_size)

        def one_batch(index: Tensor) -> np.ndarray:
            device = bridge.device_of(model)
            batch, other = base.take(index).to(device), source.take(index).to(device)
            found = np.full((len(where) + 2, len(index)), np.nan)
            if fast:
                found[[*fast, -2, -1]] = job.replayed(batch, other, [where[number] for number in fast])
            if slow:
                found[slow] = job.looped(batch, other, clean.take(index).to(device), [where[number] for number in slow])
            return found

        found, used = in_batches(len(base), recorder.batch_size if measured else batch_size, one_batch)
    if measured is None:
        measured = _baselines(found[-2], found[-1], direction)
        if not all(np.isfinite(side).all() for side in measured.values()):
            recorder.baselines("clean", batch_size)  # which says where the first number goes wrong
    return recorder.result(
        [place.row() for place in where],
        measured["base"][None] + found[:-2],
        measured,
        forwards=job.forwards,
        batch_size=used,
        estimate="first order",
        **_told(fast, slow, reasons, job.economy),
    )


@dataclass
class _Job:
    """What is asked of every batch, and what it has cost so far.

    Attributes:
        model: The bridge.
        metric: The metric.
        direction: Which side is the base.
        steps: How many points of the path; 0 for the base run.
        path: What moves along it.
        known: What the engine can do.
        forwards: How many runs there were: unedited ones, and those that were differentiated.
        economy: What the engine computed and what it did not.
    """

    model: Any
    metric: Metric
    direction: str
    steps: int
    path: str
    known: Replayer | None
    forwards: int = 0
    economy: Economy = field(default_factory=Economy)

    def replayed(self, batch: PromptSet, other: PromptSet, where: Sequence[Place]) -> np.ndarray:
        """Return the estimates of the engine, and last the metric of the unedited base and source run."""
        assert self.known is not None  # it takes these gradients
        assert self.known.twin is not None
        twin = self.known.twin
        wholes = list(dict.fromkeys(place.site.whole for place in where))
        start, goal = (recorded(twin, prompts, wholes)[0] for prompts in (batch, other))
        compared = None
        if self.metric.compares:
            with torch.no_grad():
                compared = twin.logits((goal if self.direction == "denoise" else start).hidden[-1])
        meter = Meter(twin, batch, self.metric, compared, start.hidden[-1])
        slopes = Slopes(twin, start, goal.values, batch.tokens != other.tokens, meter)
        if self.steps == 0:
            found = slopes.at_base(where)
        else:
            found = (slopes.joint if self.path == "joint" else slopes.cells)(where, self.steps)
        for number, place in enumerate(where):
            reached = batch.select(place.at).any(1).cpu().numpy()
            found[number] = _checked(found[number], reached, place.site)
        sides = meter.base(), Meter(twin, other, self.metric, compared, goal.hidden[-1]).base()
        self.forwards += 2 + slopes.passes
        self.economy += slopes.economy
        return np.concatenate([found, np.stack(sides)])

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
            output = run.output_for(needs_logits=self.metric.needs_logits)
            return gradients(self.metric(output, batch, reference).sum(), run, targets)

        self.forwards += 2 + int(self.metric.compares)
        found = np.empty((len(where), len(batch)))
        plain = gradient([], wholes) if self.steps == 0 else {}
        joint = {}
        if self.steps and self.path == "joint":
            joint = {site: _along(gradient, site, site, ALL, self.steps) for site in wholes}
        for number, place in enumerate(where):
            whole = place.site.whole
            if self.steps == 0:
                slope = plain[whole]
            elif self.path == "joint":
                slope = joint[whole]
            else:
                slope = _along(gradient, place.site, whole, place.at, self.steps)
            found[number] = _project(goal[whole] - start[whole], slope, place, batch)
        return found


def _replayed(model: Any, where: Sequence[Place]) -> tuple[Replayer | None, dict[str, str]]:  # noqa: ANN401
    """Return the engine, and why it leaves some kinds of sites to whole forwards."""
    kinds = dict.fromkeys(place.site.kind for place in where)
    features = {place.site.kind for place in where if place.site.dictionary is not None}
    known, reasons = differentiable(model, [kind for kind in kinds if kind not in features])
    reasons |= dict.fromkeys(sorted(features), "gradients at features are taken through whole forwards")
    return known, reasons if known is not None else {"all": next(iter(reasons.values()))}


def _baselines(base: np.ndarray, source: np.ndarray, direction: str) -> dict[str, np.ndarray]:
    clean, corrupt = (source, base) if direction == "denoise" else (base, source)
    return {"base": base, "clean": clean, "corrupt": corrupt}


def _told(fast: Sequence[int], slow: Sequence[int], reasons: dict[str, str], economy: Economy) -> dict[str, Any]:
    """Return what provenance says of the engine."""
    told: dict[str, Any] = economy.told() if fast else {}
    told["engine"] = "naive" if not fast else "replay" if not slow else "replay and naive"
    if slow:
        told["naive_because"] = reasons
    return told


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
