"""Total effects against those of networks that have learned nothing: scales, and the bound that such networks stay below.

A model must lie beyond the bound on one of two scales: the total effect in units of the metric, or the total effect over
the spread of the metric among the prompts of a side. The first compares networks whose logits have one size; the second
does not depend on their size, which redrawing changes. A model that is itself redrawn is one more draw of the same kind,
so that on both scales together it lies beyond in at most one of a hundred cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from mechcausal.errors import DataError
from mechcausal.results.intervals import Interval

FEWEST_NETWORKS = 8  # with fewer, a 99 % bound is so wide that hardly any model lies beyond it
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


UNCLEAR = "the interval of the total effect includes 0, so there is no effect to divide; more pairs would settle it"


@dataclass(frozen=True)
class TotalEffect:
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
    def reason(self) -> str:
        """Why no part of the effect can be judged; empty where it can."""
        if not (self.effect.low > 0 or self.effect.high < 0):
            return UNCLEAR
        return self.sentence if self.networks and not (self.raw.beyond or self.relative.beyond) else ""

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


def compared(
    effects: tuple[float, float], networks: Callable[[int], tuple[float, float]], count: int
) -> tuple[Scale, Scale]:
    """Return both scales of a model against at most `count` redrawn networks.

    After 8 and 16 networks the comparison ends where the model lies beyond the bound, or below the root mean square
    of the redrawn networks on both scales.

    Args:
        effects: The model's effect on both scales.
        networks: From a number to the effect of that redrawn network on both scales.
        count: How many networks at most; none gives no bound.
    """
    drawn: list[tuple[float, float]] = []
    moments, scales_so_far = looks(count), tuple(Scale(value) for value in effects)
    for number in range(count):
        drawn.append(networks(number))
        if number + 1 not in moments:
            continue
        by_scale = zip(effects, zip(*drawn, strict=True), strict=True)
        scales_so_far = tuple(Scale(value, values, bound(values, moments[number + 1])) for value, values in by_scale)
        if any(scale.beyond for scale in scales_so_far) or all(abs(s.effect) <= s.typical for s in scales_so_far):
            break
    return scales_so_far[0], scales_so_far[1]


def looks(count: int) -> dict[int, float]:
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


def scales(base: np.ndarray, source: np.ndarray) -> tuple[float, float]:
    """Return the total effect, and the total effect over the spread of the metric within a side; NaN without spread."""
    effect, spread = float((source - base).mean()), float(np.sqrt((base.var() + source.var()) / 2))
    # A metric that does not vary has no scale of its own.
    return effect, effect / spread if spread > 1e-6 * max(1e-9, float(np.abs([base, source]).max())) else np.nan
