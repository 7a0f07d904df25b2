"""The gradients behind an attribution: by the engine where it agrees with whole forwards, else through these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Place, Selection, Site
from mechcausal.data.contrast import Contrast
from mechcausal.data.forced import Forced, forced
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import NumericsError
from mechcausal.interventions.apply import spread, view
from mechcausal.interventions.specs import Edit, Interpolate
from mechcausal.metrics import Metric
from mechcausal.metrics.answers import WEIGHT, combined, continuation, spread_over, weights
from mechcausal.models.engine import align
from mechcausal.models.hooked import forward, gradient_reads, gradients
from mechcausal.models.plan import Economy
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.verify import Replayer, recorded
from mechcausal.models.rows import MATCHED, side_by_side, uneven
from mechcausal.models.sources import SourceRun
from mechcausal.patching.backward import differentiable
from mechcausal.patching.gradients import Slopes

SETS = "sets of texts"  # under this name is told why answers of several tokens are left to the loop


@dataclass
class Job:
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
        both_measured: Whether the engine has measured both unedited runs of all pairs.
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
    both_measured: bool = True
    forwards: int = 0
    economy: Economy = field(default_factory=Economy)

    def estimated(self, base: PromptSet, source: PromptSet, clean: PromptSet, *, matched: bool) -> np.ndarray:
        """Return the estimates of all places, and last the metric of both unedited runs where the engine was used.

        Args:
            base: The prompts that are differentiated.
            source: The prompts that activations come from.
            clean: The prompts that a metric compares with.
            matched: Whether positions are those that a pair shares.
        """
        answers = forced(base) if self.metric.forces(base) else None
        fast, slow = list(self.fast), list(self.slow)
        metric = self.metric
        if answers is not None:
            source, base = forced(source, base).prompts, answers.prompts
            clean, self.both_measured = base, False
            if self.steps and not (answers.single and metric.answers in ("odds", "logprob")):
                # How much each text of a set counts changes along the path, on which the engine runs them apart.
                matched, self.reasons[SETS] = True, "texts of a set count differently along the path"
        if matched:
            fast, slow, self.both_measured = [], sorted([*fast, *slow]), False
        estimates = np.full((len(self.where) + 2, len(base)), np.nan)
        if fast:
            asked, rows = (metric, base) if answers is None else self._weighted(base, answers)
            estimates[[*fast, -2, -1]] = self.replayed(rows, source, [self.where[number] for number in fast], asked)
        if slow and not self.dry:
            asked = metric if answers is None else _of_rows(metric, answers)
            estimates[slow] = self.looped(base, source, clean, [self.where[number] for number in slow], asked)
        if answers is None:
            return estimates
        owner = answers.owner.cpu().numpy()
        return np.stack([np.bincount(owner, row, minlength=len(answers.answers)) for row in estimates])

    def _weighted(self, rows: PromptSet, answers: Forced) -> tuple[Metric, PromptSet]:
        """Return what is differentiated row by row: the log-probability of each answer, as much as it counts in the base run."""
        kind = self.metric.answers
        assert kind is not None  # else there would be no rows
        scores = torch.zeros(len(rows), device=rows.tokens.device)
        if not (answers.single and kind in ("odds", "logprob")):
            with torch.no_grad():
                scores = forward(self.model, rows).score(self.metric.piece, rows)
            self.forwards += 1
        weight = weights(kind, scores, answers)
        return self.metric.piece, replace(rows, variables={**rows.variables, WEIGHT: weight})

    def replayed(self, batch: PromptSet, other: PromptSet, where: Sequence[Place], metric: Metric) -> np.ndarray:
        """Return the estimates of the engine, and last the metric of the unedited base and source run."""
        assert self.engine is not None  # it takes these gradients
        assert self.engine.twin is not None
        twin = self.engine.twin
        wholes = list(dict.fromkeys(place.site.whole for place in where))
        # Both sides in one run, the base first, so that weights are fetched once; slopes look at the base rows alone.
        both = recorded(twin, _together(batch, other), wholes)[0]
        final, final_of_other = both.hidden[-1].split(len(batch))
        goal = {site: value[len(batch) :] for site, value in both.values.items()}
        base = replace(both, values={site: value[: len(batch)] for site, value in both.values.items()})
        compared = None
        if metric.compares:
            with torch.no_grad():
                compared = twin.logits(final_of_other if self.direction == "denoise" else final)
        meter = Meter(twin, batch, metric, compared, final)
        slopes = Slopes(twin, base, goal, batch.tokens != other.tokens, meter, dry=self.dry)
        if self.steps == 0:
            estimates = slopes.at_base(where)
        else:
            estimates = (slopes.joint if self.path == "joint" else slopes.cells)(where, self.steps)
        for number, place in enumerate(where):
            reached = batch.select(place.at).any(1).cpu().numpy()
            estimates[number] = _checked(estimates[number], reached, place.site)
        sides = meter.base(), Meter(twin, other, metric, compared, final_of_other).base()
        self.forwards += 2 + slopes.passes
        self.economy += slopes.economy
        return np.concatenate([estimates, np.stack(sides)])

    def looped(
        self, batch: PromptSet, other: PromptSet, clean: PromptSet, where: Sequence[Place], metric: Metric
    ) -> np.ndarray:
        """Return the estimates through whole forwards of the bridge, with hooks."""
        wholes = list(dict.fromkeys(place.site.whole for place in where))
        reference = forward(self.model, clean).logits if metric.compares else None
        start = forward(self.model, batch, read=wholes).read
        by_number = bool(uneven(batch, other).any())
        goal, _ = SourceRun(by_number=by_number).recorded(self.model, batch, other, wholes)

        def gradient(edits: Sequence[Edit], targets: Sequence[Site]) -> dict[Site, Tensor]:
            self.forwards += 1
            sources = [goal[edit.site.whole] for edit in edits]
            run = forward(self.model, batch, edits, read=gradient_reads(targets), sources=sources, grad=True)
            return gradients(run.score(metric, batch, reference).sum(), run, targets)

        self.forwards += 2 + int(metric.compares)
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
        if not self.both_measured and set(self.reasons) & {SETS, MATCHED}:
            compute["engine"] = "replay and naive" if MATCHED in self.reasons and self.fast else "naive"
        if self.slow or set(self.reasons) & {SETS, MATCHED}:
            compute["naive_because"] = self.reasons
        return compute


def _together(first: PromptSet, second: PromptSet) -> PromptSet:
    """Return prompts of the same columns below each other, as they are run."""
    tokens, mask = (torch.cat([getattr(first, name), getattr(second, name)]) for name in ("tokens", "mask"))
    return PromptSet(tokens, mask, first.side)


def _of_rows(metric: Metric, answers: Forced) -> Metric:
    """Return a metric of prompts as one of their rows, of which those of a prompt add up to it."""
    kind = metric.answers
    assert kind is not None  # else there would be no rows

    def function(logits: Tensor, batch: PromptSet) -> Tensor:
        return spread_over(combined(kind, continuation(logits, batch), answers), answers)

    return replace(metric, function=function, answers=None, reads="continuation")


def in_columns(
    pairs: Contrast, base: PromptSet | None = None, source: PromptSet | None = None
) -> tuple[PromptSet, ...]:
    """Return base, source and clean prompts in the same columns; if they differ in length, all end in one column."""
    base, source = base or pairs.clean, source or pairs.corrupt
    return align(base, source, pairs.clean) if pairs.even else tuple(side_by_side(base, source, pairs.clean))


def split_by_engine(model: Any, where: Sequence[Place]) -> tuple[Replayer | None, dict[str, str]]:  # noqa: ANN401
    """Return the engine, and why it leaves some kinds of sites to whole forwards."""
    kinds = dict.fromkeys(place.site.kind for place in where)
    features = {place.site.kind for place in where if place.site.dictionary is not None}
    engine, reasons = differentiable(model, [kind for kind in kinds if kind not in features])
    reasons |= dict.fromkeys(sorted(features), "gradients at features are taken through whole forwards")
    return engine, reasons if engine is not None else {"all": next(iter(reasons.values()))}


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
