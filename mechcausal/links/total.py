"""The total effect, and whether networks that have learned nothing have one as large.

All weights are redrawn in place, each tensor with the mean and the spread it had, and both sides of the pairs are run.
The model must lie beyond the bound of these networks on one of two scales: the total effect in units of the metric, or
the total effect over the spread of the metric among the prompts of a side. The first compares networks whose logits
have one size; the second does not depend on their size, which redrawing changes. A model that is itself redrawn is one
more draw of the same kind, so that on both scales together it lies beyond in at most one of a hundred cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.data.forced import forced
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.links.bench import ESTIMATE, Bench
from mechcausal.links.verdict import INCONCLUSIVE, Verdict
from mechcausal.models import bridge
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import forward
from mechcausal.models.redrawn import redrawing
from mechcausal.models.rows import of_prompts
from mechcausal.results.intervals import Interval, mean_interval

FEWEST_NETWORKS = 8  # with fewer, a 99 % bound is so wide that hardly any model lies beyond it
_MOST_PAIRS = 128  # that every redrawn network is run on
# How many networks there are at the early looks at the bound, and which part of the error of 1 % each may spend.
_LOOKS = {8: 0.1, 16: 0.3}
_ERROR = 0.01
_SCALES = 2


@dataclass(frozen=True)
class Scale:
    """The total effect of the model on one scale, and that of redrawn networks.

    Attributes:
        effect: That of the model.
        redrawn: That of each redrawn network.
        bound: What another redrawn network stays below at the error of this look; NaN without networks.
    """

    effect: float
    redrawn: tuple[float, ...] = ()
    bound: float = np.nan

    @property
    def beyond(self) -> bool:
        """Whether the model lies beyond the bound."""
        return bool(abs(self.effect) > self.bound)

    @property
    def typical(self) -> float:
        """The root mean square over the redrawn networks."""
        return float(np.sqrt(np.mean(np.square(self.redrawn)))) if self.redrawn else np.nan


@dataclass(frozen=True)
class Total:
    """The total effect, and what networks that have learned nothing do.

    Attributes:
        effect: The mean total effect on the half that effects are estimated on, with its interval.
        raw: The total effect in units of the metric, against redrawn networks.
        relative: The same over the spread of the metric among the prompts of a side.
    """

    effect: Interval
    raw: Scale
    relative: Scale

    @property
    def networks(self) -> int:
        """How many networks were redrawn."""
        return len(self.raw.redrawn)

    @property
    def blocked(self) -> Verdict | None:
        """Why no candidate can be judged, where that is so."""
        if not (self.effect.low > 0 or self.effect.high < 0):
            return Verdict(
                INCONCLUSIVE,
                "the interval of the total effect includes 0, so there is no effect to divide; more pairs would settle it",
            )
        if self.networks and not (self.raw.beyond or self.relative.beyond):
            return Verdict(INCONCLUSIVE, self.sentence)
        return None

    @property
    def sentence(self) -> str:
        """What the comparison with redrawn networks says, and what would settle it where it says nothing."""
        if not self.networks:
            return "not compared with networks with redrawn weights"
        raw, relative = self.raw, self.relative
        facts = (
            f"{self.networks} copies with redrawn weights have total effects of {raw.typical:.3g} (rms; bound "
            f"{raw.bound:.3g}), or {relative.typical:.2f} spreads of the metric (bound {relative.bound:.2f}); this model has "
            f"{abs(raw.effect):.3g}, or {abs(relative.effect):.2f} spreads"
        )
        if raw.beyond or relative.beyond:
            return f"{facts}: more than a network with random weights"
        return (
            f"a network with random weights may move the behavior as much: {facts}. Pairs with more different texts on "
            "both sides would lower the bound"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON data."""
        return {
            "effect": self.effect.estimate, "low": self.effect.low, "high": self.effect.high,
            "redrawn": self.networks, "sentence": self.sentence,
            **{
                name: {"effect": s.effect, "networks": list(s.redrawn), "bound": s.bound}
                for name, s in (("raw", self.raw), ("relative", self.relative))
            },
        }  # fmt: skip


def check_networks(count: int) -> None:
    """Refuse a number of redrawn networks from which no bound follows."""
    if 0 < count < FEWEST_NETWORKS:
        raise DataError(
            "so few networks with redrawn weights give no useful bound on the total effect",
            got=f"redrawn={count}", expected=f"0 (no comparison), or at least {FEWEST_NETWORKS}",
        )  # fmt: skip


def total_effect(bench: Bench, count: int) -> Total:
    """Measure the total effect, and compare it with at most `count` redrawn networks.

    After 8 and 16 networks the comparison ends where the model lies beyond the bound, or below the root mean square
    of the redrawn networks on both scales.
    """
    rows = bench.split[ESTIMATE]
    effect = mean_interval(bench.total[rows], tuple(np.asarray(bench.clusters)[rows]))
    some = rows[np.random.default_rng([bench.seed, 6]).permutation(len(rows))[:_MOST_PAIRS]]
    scales_of_model = _scales(*(values[some] for values in bench.unedited))
    if not count:
        return Total(effect, *(Scale(value) for value in scales_of_model))
    runs = _Runs(bench, some)
    networks: list[tuple[float, float]] = []
    looks = _looks(count)
    scales = tuple(Scale(value) for value in scales_of_model)
    bar = tqdm(total=count, desc="link: redrawn networks", unit="network", disable=None, leave=False)
    with redrawing(bench.model) as draw:
        for number in range(count):
            draw(bench.seed * 1000 + number)
            networks.append(_scales(*runs.values()))
            bar.update(1)
            if number + 1 not in looks:
                continue
            by_scale = zip(scales_of_model, zip(*networks, strict=True), strict=True)
            scales = tuple(Scale(value, drawn, bound(drawn, looks[number + 1])) for value, drawn in by_scale)
            if any(scale.beyond for scale in scales) or all(abs(s.effect) <= s.typical for s in scales):
                break
    bar.close()
    bench.stages["redrawn networks"] = len(networks)
    bench.forwards += runs.forwards
    return Total(effect, *scales)


def _looks(count: int) -> dict[int, float]:
    """Return at which numbers of networks the bound is looked at, and the error of each look; the last spends the rest."""
    before = {n: part * _ERROR for n, part in _LOOKS.items() if n < count}
    return {**before, count: _ERROR - sum(before.values())}


def bound(drawn: Sequence[float], error: float) -> float:
    """Return what another redrawn network stays below, on one of two scales, but for an error shared by both.

    The prediction interval of one more draw from a normal distribution around 0, which the sign of the effect of a
    redrawn network is symmetric about.
    """
    values = np.asarray(drawn)
    if not np.isfinite(values).all():
        return np.inf
    n, spread = len(values), float(np.sqrt(np.mean(values**2)))
    return float(stats.t.ppf(1 - error / _SCALES / 2, n) * spread * np.sqrt(1 + 1 / n))


def _scales(base: np.ndarray, source: np.ndarray) -> tuple[float, float]:
    """Return the total effect, and the total effect over the spread of the metric within a side; NaN without spread."""
    effect, spread = float((source - base).mean()), float(np.sqrt((base.var() + source.var()) / 2))
    # A metric that does not vary has no scale of its own.
    return effect, effect / spread if spread > 1e-6 * max(1e-9, float(np.abs([base, source]).max())) else np.nan


class _Runs:
    """Both sides of some pairs as they are, each different prompt run once."""

    def __init__(self, bench: Bench, rows: np.ndarray) -> None:
        self.bench, self.forwards, self.count = bench, 0, len(rows)
        index = torch.as_tensor(rows)
        self.sides = [side.take(index) for side in (bench.base, bench.source)]
        self.clean = bench.pairs.clean.take(index).padded(bench.base.tokens.shape[1], bench.base.side)
        keys = [_content(side, row) for side in self.sides for row in range(len(rows))]
        places = {key: place for place, key in reversed(list(enumerate(keys)))}
        self.distinct = sorted(places.values())
        number = {place: i for i, place in enumerate(self.distinct)}
        self.number = np.array([number[places[key]] for key in keys])

    @torch.no_grad()
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the metric of the base and of the source prompts."""
        bench, model = self.bench, self.bench.model
        place = np.asarray(self.distinct)

        def one_batch(index: Tensor) -> np.ndarray:
            out = np.empty(len(index))
            chosen = place[index.numpy()]
            for number, side in enumerate(self.sides):
                mine = np.flatnonzero(chosen // self.count == number)
                if len(mine) == 0:
                    continue
                rows = torch.as_tensor(chosen[mine] % self.count)
                batch = side.take(rows).to(bridge.device_of(model))
                compared = None
                if bench.metric.compares:
                    compared = forward(model, self.clean.take(rows).to(bridge.device_of(model))).logits
                answers = forced(batch) if bench.metric.forces(batch) else None
                prompts, metric = (batch, bench.metric) if answers is None else (answers.prompts, bench.metric.piece)
                numbers = forward(model, prompts).score(metric, prompts, compared).float().cpu().numpy()
                out[mine] = of_prompts(bench.metric, numbers, answers)
                self.forwards += 1
            return out[None]

        values = in_batches(len(place), bench.batch_size, one_batch)[0][0][self.number]
        return values[: self.count], values[self.count :]


def _content(side: PromptSet, row: int) -> tuple[object, ...]:
    """Return all of a prompt that a metric can depend on."""
    asked = side.answer, side.foil, side.answers, side.foils, side.read_at
    columns = [value for value in (*asked, *side.variables.values()) if value is not None]
    values = [value[row].tolist() for value in (*columns, *side.positions.values())]
    marked = [names[row] for names in (side.labels, side.groups, side.environments) if names]
    return tuple(side.real_tokens_of(row)), repr(values), repr(marked)
