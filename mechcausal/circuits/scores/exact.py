"""The exact effect of every edge: the clean run with this one edge replaced, the model computing everything after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from tqdm.auto import tqdm

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, Sums, impossible

Index = tuple[int, int, int]


def exact_effects(masked: Masked, edges: Sequence[Index], *, progress: bool = False) -> np.ndarray:
    """Return the effect of replacing each edge alone, [edge pair]: clean metric minus that of the run without it.

    Args:
        masked: The pairs.
        edges: Sender, receiver and position of each.
        progress: Whether a progress bar is shown.
    """
    out = np.zeros((len(edges), masked.n))
    bar = tqdm(total=len(edges), desc="exact edges", unit="edge", disable=None if progress else True, leave=False)
    for numbers, first in _together(masked, edges):
        for low in range(0, len(numbers), 256):
            some = numbers[low : low + 256]
            cut = torch.zeros(len(some), *masked.shape)
            for row, number in enumerate(some):
                cut[(row, *edges[number])] = 1
            out[some] = masked.clean - masked.of(cut.to(masked.inputs.device), first)
            bar.update(len(some))
    bar.close()
    return out


def _together(masked: Masked, edges: Sequence[Index]) -> Iterable[tuple[list[int], int]]:
    """Yield the numbers of edges into one receiver each, and the layer that their runs begin with."""
    order: dict[int, list[int]] = {}
    for number, (_, receiver, _) in enumerate(edges):
        order.setdefault(receiver, []).append(number)
    for receiver, numbers in order.items():
        layer = masked.wiring.receivers[receiver].layer
        yield numbers, len(masked.inputs.layers) if layer is None else layer


def node_effects(masked: Masked, *, progress: bool = False) -> np.ndarray:
    """Return the effect of replacing all that each sender adds, [sender position pair]."""
    senders, _, places = masked.shape
    out = np.zeros((senders, places, masked.n))
    bar = tqdm(total=senders, desc="exact nodes", unit="node", disable=None if progress else True, leave=False)
    for number, site in enumerate(masked.wiring.senders):
        cut = torch.zeros(places, *masked.shape)
        for place in range(places):
            cut[place, number, masked.wiring.possible[number], place] = 1
        out[number] = masked.clean - masked.of(cut.to(masked.inputs.device), site.layer or 0)
        bar.update()
    bar.close()
    return out


@SCORERS.register("exact")
def exact(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges and senders by their exact effects."""
    possible = np.broadcast_to(masked.wiring.possible[..., None], masked.shape)
    edges = [tuple(index) for index in np.argwhere(possible).tolist()]
    means, spread = np.full(masked.shape, np.nan), np.full(masked.shape, np.nan)
    for low in range(0, len(edges), 4096):
        some = edges[low : low + 4096]
        effects = exact_effects(masked, some, progress=scoring.progress)
        sums = Sums(masked, (len(some),))
        sums.add_all(effects.T)
        index = tuple(np.array(some).T)
        means[index] = sums.mean()
        found = sums.spread()
        spread[index] = np.nan if found is None else found
    nodes = node_effects(masked, progress=scoring.progress).mean(-1)
    return Scored(impossible(masked, means), nodes, spread if np.isfinite(spread).any() else None)
