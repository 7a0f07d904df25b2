"""What nothing looks like: untrained networks, directions turned at random, and others of the same kind."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from mechcausal.address import Site
from mechcausal.causal.alignment.search import untrained as untrained_copy
from mechcausal.interventions.specs import Edit
from mechcausal.links.bench import Bench
from mechcausal.links.candidates import Candidate, Directions
from mechcausal.links.verdict import INCONCLUSIVE, Verdict
from mechcausal.models import bridge
from mechcausal.models.binding import Bound, attach, bound, detach
from mechcausal.models.engine import Cell, align, in_batches
from mechcausal.models.hooked import forward
from mechcausal.results.intervals import Interval, mean_interval

_LEVEL = 0.99


@dataclass(frozen=True)
class Total:
    """The total effect, and what networks that have learned nothing do.

    Attributes:
        effect: The mean total effect on the half that effects are estimated on, with its interval.
        untrained: The mean total effect of each untrained network.
        bound: What another untrained network stays below in 99 of 100 cases; 0 where none was asked.
    """

    effect: Interval
    untrained: tuple[float, ...]
    bound: float

    @property
    def blocked(self) -> Verdict | None:
        """Why no candidate can be judged, where that is so."""
        if not (self.effect.low > 0 or self.effect.high < 0):
            return Verdict(INCONCLUSIVE, "the pairs do not move the behavior, so there is no effect to share out")
        if abs(self.effect.estimate) <= self.bound:
            return Verdict(INCONCLUSIVE, "a network with random weights moves the behavior as much")
        return None


def total_effect(bench: Bench, count: int) -> Total:
    """Measure the total effect, and that of `count` copies of the model with random weights.

    The bound is a prediction interval: the model's own total effect lies beyond it by chance in one of a hundred
    models that have learned nothing.
    """
    rows = bench.split[1]
    effect = mean_interval(bench.total[rows], tuple(np.asarray(bench.clusters)[rows]))
    found = tuple(_total_of(bench, untrained_copy(bench.model, seed), rows) for seed in range(count))
    if not found:
        return Total(effect, (), 0.0)
    spread = float(np.sqrt(np.mean(np.square(found))))
    return Total(effect, found, float(stats.t.ppf(0.5 + _LEVEL / 2, count) * spread * np.sqrt(1 + 1 / count)))


@torch.no_grad()
def _total_of(bench: Bench, model: Any, rows: np.ndarray) -> float:  # noqa: ANN401 - a TransformerBridge
    sides = align(bench.base, bench.source, bench.pairs.clean)

    def one_batch(index: Tensor) -> np.ndarray:
        device = bridge.device_of(model)
        base, source, clean = (side.take(torch.as_tensor(rows)[index]).to(device) for side in sides)
        compared = forward(model, clean).logits if bench.metric.compares else None
        values = [bench.metric(forward(model, side).logits, side, compared).float() for side in (base, source)]
        return (values[1] - values[0]).cpu().numpy()[None]

    return float(in_batches(len(rows), bench.batch_size, one_batch)[0].mean())


class Turned:
    """Features that write along directions turned at random, as far as they did before."""

    def __init__(self, own: Bound, numbers: Sequence[int], copies: int, draw: np.random.Generator) -> None:
        self.own, self.numbers = own, torch.as_tensor([number for number in numbers for _ in range(copies)])
        weight = own.W_dec
        noise = torch.as_tensor(draw.normal(size=(len(self.numbers), weight.shape[1]))).to(weight)
        sizes = weight[self.numbers.to(weight.device)].norm(dim=1, keepdim=True)
        self.W_dec = noise / noise.norm(dim=1, keepdim=True) * sizes

    def encode(self, x: Tensor) -> Tensor:
        """Return the numbers of the features."""
        return self.own.dictionary.encode(x)[..., self.numbers.to(x.device)]

    def decode(self, feature_acts: Tensor, /) -> Tensor:
        """Return what they write."""
        return feature_acts @ self.W_dec.to(feature_acts)


@contextmanager
def for_now(
    bench: Bench,
    dictionary: Any,  # noqa: ANN401 - a Dictionary
    site: Site,
    name: str,
    site_out: Site | None = None,
) -> Generator[list[Cell]]:
    """Attach a dictionary, give the cells of all its features, and take it away again."""
    own = attach(bench.model, dictionary, site, name=name, site_out=site_out)
    try:
        yield [(Edit(own.feature(number), bench.do, bench.where),) for number in range(own.n_features)]
    finally:
        detach(bench.model, name)


def random_directions(bench: Bench, candidates: Sequence[Candidate], copies: int) -> dict[Site, np.ndarray]:
    """Return for each place of a dictionary what directions drawn at random there change, patched like a candidate.

    That is [copy pair] for each.
    """
    found: dict[Site, np.ndarray] = {}
    places = dict.fromkeys(bound(bench.model, one.site.dictionary).written for one in candidates if one.site.dictionary)
    for number, site in enumerate(places if copies else ()):
        width = int(np.prod(bench.able.components[site.component].shape[2:]))
        rows = np.random.default_rng([bench.seed, 2, number]).normal(size=(copies, width))
        drawn = Directions(rows, bridge.device_of(bench.model))
        with for_now(bench, drawn, site, "link-random") as cells:
            found[site] = bench.changes(cells)
    return found


def turned(bench: Bench, candidates: Sequence[Candidate], copies: int) -> np.ndarray:
    """Return what directions turned at random change that move as far as each candidate, [candidate copy pair].

    They need not lie where activations ever vary, so this is what the behavior is sensitive to, not what it hears. A
    candidate that has no direction (a head, a neuron) has NaN.
    """
    out = np.full((len(candidates), max(copies, 1), len(bench.pairs)), np.nan)
    draw = np.random.default_rng([bench.seed, 3])
    names = list(dict.fromkeys(one.site.dictionary for one in candidates if one.site.dictionary is not None))
    for name in names if copies else ():
        own = bound(bench.model, name)
        which = [number for number, one in enumerate(candidates) if one.site.dictionary == name]
        made = Turned(own, [candidates[number].site.feature or 0 for number in which], copies, draw)
        with for_now(bench, made, own.site, f"{name}-turned", own.site_out) as cells:
            found = bench.changes(cells)
        out[which] = found.reshape(len(which), copies, -1)
    return out


@dataclass(frozen=True)
class Peers:
    """Others of the same kind that are active about as often: the range of their shares, and where a candidate stands."""

    low: float
    high: float
    percentile: float
    count: int


def peers(candidates: Sequence[Candidate], frequency: np.ndarray, share: np.ndarray, number: int, count: int) -> Peers:
    """Compare a candidate with the `count` others of its kind whose frequency is nearest to its own."""
    alike = [i for i, one in enumerate(candidates) if i != number and one.family == candidates[number].family]
    alike.sort(key=lambda i: abs(frequency[i] - frequency[number]))
    theirs = share[alike[:count]]
    theirs = theirs[np.isfinite(theirs)]
    if len(theirs) == 0:
        return Peers(np.nan, np.nan, np.nan, 0)
    below = float((np.abs(theirs) < abs(share[number])).mean())
    return Peers(float(theirs.min()), float(theirs.max()), 100 * below, len(theirs))
