"""Null distributions: directions drawn at random, features turned at random, and other candidates of the same kind."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.interventions.specs import Edit
from mechcausal.links.bench import Bench
from mechcausal.links.candidates import Candidate, Directions
from mechcausal.models import bridge
from mechcausal.models.binding import Bound, attach, bound, detach
from mechcausal.models.engine import Cell


class Turned:
    """Features that write along directions turned at random, as far as they did before."""

    def __init__(self, dictionary: Bound, numbers: Sequence[int], copies: int, draw: np.random.Generator) -> None:
        self.bound, self.numbers = dictionary, torch.as_tensor([number for number in numbers for _ in range(copies)])
        weight = dictionary.W_dec
        noise = torch.as_tensor(draw.normal(size=(len(self.numbers), weight.shape[1]))).to(weight)
        sizes = weight[self.numbers.to(weight.device)].norm(dim=1, keepdim=True)
        self.W_dec = noise / noise.norm(dim=1, keepdim=True) * sizes

    def encode(self, x: Tensor) -> Tensor:
        """Return the numbers of the features."""
        return self.bound.dictionary.encode(x)[..., self.numbers.to(x.device)]

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
    attached = attach(bench.model, dictionary, site, name=name, site_out=site_out)
    try:
        yield [(Edit(attached.feature(number), bench.do, bench.where),) for number in range(attached.n_features)]
    finally:
        detach(bench.model, name)


def random_directions(bench: Bench, candidates: Sequence[Candidate], copies: int) -> dict[Site, np.ndarray]:
    """Return for each place of a dictionary what random directions there change, patched like a candidate: [copy pair]."""
    changes: dict[Site, np.ndarray] = {}
    places = dict.fromkeys(
        bound(bench.model, candidate.site.dictionary).written for candidate in candidates if candidate.site.dictionary
    )
    for number, site in enumerate(places if copies else ()):
        width = int(np.prod(bench.able.components[site.component].shape[2:]))
        rows = np.random.default_rng([bench.seed, 2, number]).normal(size=(copies, width))
        drawn = Directions(rows, bridge.device_of(bench.model))
        with for_now(bench, drawn, site, "link-random") as cells:
            changes[site] = bench.changes(cells, "random directions")
    return changes


def turned(bench: Bench, candidates: Sequence[Candidate], copies: int) -> np.ndarray:
    """Return what each candidate changes when it writes along a random direction instead, [candidate copy pair].

    Random directions may lie where activations never vary: this measures the sensitivity of the behavior to a change of
    that size, not the information that passes. A candidate without a direction (a head, a neuron) has NaN.
    """
    out = np.full((len(candidates), max(copies, 1), len(bench.pairs)), np.nan)
    draw = np.random.default_rng([bench.seed, 3])
    names = list(
        dict.fromkeys(candidate.site.dictionary for candidate in candidates if candidate.site.dictionary is not None)
    )
    for name in names if copies else ():
        dictionary = bound(bench.model, name)
        which = [number for number, candidate in enumerate(candidates) if candidate.site.dictionary == name]
        made = Turned(dictionary, [candidates[number].site.feature or 0 for number in which], copies, draw)
        with for_now(bench, made, dictionary.site, f"{name}-turned", dictionary.site_out) as cells:
            change = bench.changes(cells, "turned features")
        out[which] = change.reshape(len(which), copies, -1)
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
    alike = [
        i for i, candidate in enumerate(candidates) if i != number and candidate.family == candidates[number].family
    ]
    alike.sort(key=lambda i: abs(frequency[i] - frequency[number]))
    theirs = share[alike[:count]]
    theirs = theirs[np.isfinite(theirs)]
    if len(theirs) == 0:
        return Peers(np.nan, np.nan, np.nan, 0)
    below = float((np.abs(theirs) < abs(share[number])).mean())
    return Peers(float(theirs.min()), float(theirs.max()), 100 * below, len(theirs))
