"""Controlled direct effects: what the cause does while a mediator is held at one value in both worlds.

    CDE(m) = Y(high, m) - Y(low, m)

A curve that is flat says that the mediator does not modify the effect of what goes past it. Held where the low world has
it, CDE is the natural direct effect, and where the high world has it the total direct effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Place, Site, Vector, vector
from mechcausal.arguments import Count, Model, Seed
from mechcausal.causal.alignment.moves import gather, position_axis, scatter, slots
from mechcausal.causal.fields import read_numbers, read_places
from mechcausal.causal.mediation.mediators import Mediator, joint
from mechcausal.causal.mediation.worlds import MetricSpec, Pairs, Worlds, family_of, wholes
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, SiteError, did_you_mean
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.method import Cost, Method, function
from mechcausal.models.hooked import Source
from mechcausal.results.charted import Charted
from mechcausal.results.charts import Bar, Bars, Lines, bar_chart, line_chart
from mechcausal.results.intervals import mean_interval, ratio_interval
from mechcausal.results.result import mark_of, marked
from mechcausal.results.table import tabulate

WORDS = ("zero", "mean", "low", "high")
_ALIKE = "'zero', 'mean', 'low' or 'high'"
Clamp = str | float | Sequence[float]
Activations = dict[Site, Tensor]


@dataclass(frozen=True, repr=False)
class Controlled(Charted):
    """One row per level at which the mediator is held.

    `value` is Y(high, m), `change` the controlled direct effect Y(high, m) - Y(low, m), whose second term is the
    baseline `base`, and `effect` its share of the total effect. `clamp` says how the mediator is held and `level` is the
    number that is varied, if it is one. For the hypothesis that the controlled effect is zero: `p`, `q`
    (Benjamini-Hochberg over the levels) and `p_max` (max-T over the levels).
    """

    def chart(self) -> Lines | Bars:
        """Lay out the effect as a curve over the level, or as bars where levels are not numbers."""
        arguments, frame = self.provenance.arguments, self.frame
        title = f"Direct effect of {self.provenance.prompts.get('factor', 'the cause')} while {arguments['mediator']} is held"
        total = float((self.baselines["clean"] - self.baselines["corrupt"]).mean())
        axis = f"effect on {arguments['metric']}"
        if frame["level"].notna().all() and len(frame) > 1:
            points = frame[["level", "change", "change_low", "change_high"]].itertuples(index=False, name=None)
            return line_chart(
                [("controlled direct effect", list(points))],
                title,
                arguments["scale"],
                axis,
                marks=[("total effect", total)],
                **self._ringed(frame, "level"),
            )
        rows = [
            Bar(marked(row, row["clamp"]), row["change"], row["change_low"], row["change_high"])
            for _, row in frame.iterrows()
        ]
        return bar_chart(rows, title, axis, note=self._legend)

    @property
    def _tested(self) -> str:
        """What is tested at each level."""
        return "levels have a controlled effect"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know of the metric."""
        return [str(self.provenance.arguments["note"])] if "note" in self.provenance.arguments else []

    def _head_lines(self) -> list[str]:
        """Say what the total effect is."""
        p = self.provenance
        total = mean_interval(self.baselines["clean"] - self.baselines["corrupt"], self.clusters)
        return [
            f"{p.method}: {p.arguments['mediator']} at {len(self)} levels, {self.examples.shape[1]} pairs, metric {p.arguments['metric']}, {p.compute['forwards']} forwards",
            f"total effect {total.estimate:+.3f} [{total.low:+.3f}, {total.high:+.3f}]",
        ]

    def _cell_lines(self, k: int = 9) -> list[str]:
        """Say what the controlled effect is at each level."""
        lines = []
        for _, row in self.frame.head(k).iterrows():
            lines.append(
                f"{mark_of(row)}{row['clamp']:<24} effect {row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}]"
            )
        if len(self) > k:
            lines.append(f"  and {len(self) - k} more")
        return lines


@dataclass(frozen=True)
class _Level:
    """A value to hold a mediator at: a word, a fraction of the way from low to high, or numbers."""

    clamp: str
    number: float = np.nan
    fraction: float | None = None
    numbers: Vector = ()


@dataclass(frozen=True, kw_only=True)
class Controlling(Method[Pairs, Controlled]):
    """Measure the effect of a contrast with a mediator held at one value after the other.

    Estimand: for each level m, the mean over pairs of Y(high, m) - Y(low, m). `effect` is its share of the total effect:
    1 where holding the mediator takes nothing away, 0 where nothing goes past it, negative against the total effect.

    Attributes:
        mediator: A site, a part with a subspace, a list of these held together.
        values: None for a grid of `points` from where each pair's low world has the mediator (0) to where its high
            world has it (1). Otherwise one value or several: a number for all its entries (the coordinate, in a
            subspace: along the directions as they are given, at unit length), a vector, `"mean"` over both worlds,
            `"zero"`, `"low"` or `"high"`.
        points: The number of points of the grid.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time.
        seed: The seed of the sign flips behind `p_max`.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> pairs = mc.contrast("by_hand/gender", model, n=8)
        >>> len(mc.causal.controlled(model, pairs, "L1.mlp_out@end"))
        9
    """

    word: ClassVar[str] = "controlled"
    mediator: Any = field(kw_only=False, metadata={"read": read_places})
    values: Any = field(default=None, kw_only=False, metadata={"read": read_numbers})
    points: Count = 9
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Pairs) -> Controlled:
        """Run both worlds with the mediator held at each level."""
        worlds, mediator, levels = self._levels(model, data)
        parts = mediator.parts
        read = wholes(parts)
        means = _means(worlds, parts, self.batch_size) if any(level.clamp == "mean" for level in levels) else {}

        def one_batch(high: PromptSet, low: PromptSet) -> list[Tensor]:
            up, down = worlds.run(high, read=read), worlds.run(low, read=read)
            outcomes = [worlds.outcome(up, high, up), worlds.outcome(down, low, up)]
            reached = torch.stack([high.select(part.at).any(1) for part in parts]).any(0)
            for batch in (high, low):
                for level in levels:
                    edits = [_clamped(level, part, up.read, down.read, high, means) for part in parts]
                    outcome = worlds.outcome(worlds.run(batch, edits), batch, up)
                    outcomes.append(outcome.double().masked_fill(~reached, float("nan")))
            return outcomes

        outcomes, used = worlds.evaluate(one_batch, self.batch_size)
        high, low, above, below = outcomes[0], outcomes[1], outcomes[2 : 2 + len(levels)], outcomes[2 + len(levels) :]
        baselines = {"base": below, "clean": high, "corrupt": low}
        clean = worlds.high
        tests = worlds.tested(above - below, (high, low), self.seed)
        rows = [
            {**mediator.row(), "label": level.clamp, "clamp": level.clamp, "level": level.number}
            | {name: column[number] for name, column in tests.items()}
            for number, level in enumerate(levels)
        ]
        frame = tabulate(rows, above, baselines, clean.clusters)
        # The share is that of the controlled effect, not of what the high world has become.
        shares = [ratio_interval(up - down, high - low, clean.clusters) for up, down in zip(above, below, strict=True)]
        frame["effect"] = [share.estimate for share in shares]
        frame["effect_low"], frame["effect_high"] = [s.low for s in shares], [s.high for s in shares]
        grid = f"{mediator.name}, from the low world (0) to the high one (1)"
        provenance = worlds.provenance(
            self.word, used, self.seed, mediator=mediator.name, values=[level.clamp for level in levels],
            scale=grid if self.values is None else f"value of {mediator.name}",
            family=family_of(levels, "controlled effects, one per level"),
        )  # fmt: skip
        return Controlled(frame, provenance, above, baselines, clean.groups, clean.clusters)

    def cost(self, model: Model, data: Pairs) -> Cost:
        """Return how many runs it takes; nothing is run unless the metric may look ahead."""
        worlds, _, levels = self._levels(model, data)
        n, means = worlds.n_rows, 2 * any(level.clamp == "mean" for level in levels)
        return Cost(len(levels), len(worlds.pairs), (2 + means + 2 * len(levels)) * n, (means + 4 * len(levels)) * n)

    def _levels(self, model: Model, pairs: Pairs) -> tuple[Worlds, Mediator, list[_Level]]:
        """Return the two worlds, the mediator and its levels, which are refused where they do not fit it."""
        worlds = Worlds.of(model, pairs, self.metric)
        parts = joint(self.mediator, worlds.able)
        worlds.check(parts)
        levels = _levels(self.values, self.points)
        for level in levels:
            _check(level, parts, worlds)
        return worlds, Mediator(" + ".join(map(str, parts)), parts), levels


def _levels(values: Clamp | Sequence[Clamp] | None, points: int) -> list[_Level]:
    if values is None:
        if points < 2:
            raise DataError("a curve has at least two points", got=points)
        return [_Level(f"{f:.3g} of the way", float(f), fraction=float(f)) for f in np.linspace(0, 1, points)]
    alone = isinstance(values, (str, float, int)) or getattr(values, "ndim", None) == 0  # numbers of numpy and torch
    given = [values] if alone else list(values)
    if not given:
        raise DataError("there are no values to hold the mediator at", fix="give at least one, or none for a grid")
    return [_level(value) for value in given]


def _level(value: Any) -> _Level:  # noqa: ANN401 - a word, a number or a vector
    if isinstance(value, str):
        if value not in WORDS:
            raise DataError(f"a mediator cannot be held at {value!r}", fix=did_you_mean(value, WORDS))
        return _Level(value, fraction={"low": 0.0, "high": 1.0}.get(value), numbers=(0.0,) if value == "zero" else ())
    if np.ndim(value) == 0:
        return _Level(f"{float(value):.3g}", float(value), numbers=(float(value),))
    numbers = vector(value)
    return _Level(f"({', '.join(f'{number:.3g}' for number in numbers)})", numbers=numbers)


def _check(level: _Level, parts: Sequence[Place], worlds: Worlds) -> None:
    if not np.isfinite(level.numbers).all():
        raise DataError(f"a mediator cannot be held at {level.clamp}", expected="finite numbers")
    for part in parts:
        pattern = part.site.component == "pattern"
        if pattern and level.numbers and level.clamp != "zero":
            raise SiteError(f"{part} is a distribution over positions, not a number", fix=f"hold it at {_ALIKE}")
        if level.clamp == "mean" and worlds.forces and part.at == ALL:
            raise DataError(
                f"{part} at all positions includes those of answers of several tokens, of which there is no mean",
                fix="name positions of the prompt, or hold it at another value",
            )
        if level.clamp == "mean":
            slots(worlds.high.select(part.at))  # the same number in every prompt, or the mean means nothing
            if pattern and len(worlds.high.lengths.unique()) > 1:
                raise DataError(f"prompts of different length have no mean of {part}", fix="use prompts of one length")
    if len(level.numbers) < 2:
        return
    if len(parts) > 1:
        raise DataError(f"the vector {level.clamp} cannot be the value of {len(parts)} parts", fix="name one part")
    part = parts[0]
    if part.site.unit is not None:
        raise SiteError(f"{part} is one number, not a vector", got=level.clamp)
    width = len(part.basis) or worlds.able.shape_at(part.site)[-1]
    if len(level.numbers) != width:
        raise DataError(f"the vector {level.clamp} does not fit {part}", got=len(level.numbers), expected=width)


def _means(worlds: Worlds, parts: Sequence[Place], batch_size: int) -> dict[Place, Tensor]:
    """Return the mean of each part over both worlds, by position of the selection, [slot feature...]."""
    sums: dict[Place, Tensor] = {}

    def one_batch(high: PromptSet, low: PromptSet) -> list[Tensor]:
        runs = [worlds.run(batch, read=wholes(parts)).read for batch in (high, low)]
        added: dict[Place, Tensor] = {}
        for part in parts:
            mask, axis = high.select(part.at), position_axis(part.site)
            both = [gather(read[part.site.whole], mask, axis=axis) for read in runs]
            added[part] = torch.cat(both).double().sum(0)
        for part, value in added.items():  # only now: a batch that ran out of memory is tried again
            sums[part] = sums[part] + value if part in sums else value
        return [torch.zeros(len(high))]

    worlds.evaluate(one_batch, batch_size, outcomes=False)
    return {part: total / (2 * len(worlds.pairs)) for part, total in sums.items()}


def _clamped(
    level: _Level, part: Place, high: Activations, low: Activations, batch: PromptSet, means: dict[Place, Tensor]
) -> tuple[Edit, Source]:
    """Return the edit that holds a part at a level; it is the same in both worlds."""
    up, down = high[part.site.whole], low[part.site.whole]
    mask, basis = batch.select(part.at), part.columns(up)
    if level.fraction is not None:
        # Where both worlds agree they stay exactly, and so at both ends.
        target = up if level.fraction == 1 else down + level.fraction * (up - down)
    elif level.clamp == "mean":
        mean = means[part].expand(len(batch), *means[part].shape)
        target = scatter(mean, mask, up, axis=position_axis(part.site))
    else:
        target = torch.zeros_like(up)
        view(target, part.site)[...] = _aim(level, part, up)
    return Edit(part.site, Patch(), part.at), Source(target, mask, basis)


def _aim(level: _Level, part: Place, like: Tensor) -> Tensor:
    """Return the activation that has these coordinates: along unit vectors of the given directions in a subspace."""
    numbers = torch.tensor(level.numbers, dtype=torch.float64)
    if part.basis:
        directions = torch.tensor(part.basis, dtype=torch.float64)
        directions = directions / directions.norm(dim=1, keepdim=True)
        numbers = torch.linalg.pinv(directions) @ numbers.expand(len(part.basis))
    return numbers.squeeze().to(dtype=like.dtype, device=like.device)


controlled = function(Controlling)
