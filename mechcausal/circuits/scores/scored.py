"""Scores of edges with their spread over clusters of pairs, and the registry of those who make them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.tiles import Tile
from mechcausal.data.splits import cluster_numbers
from mechcausal.errors import ArgumentError
from mechcausal.registry import Registry

_GROUPS = 64  # sums are kept for so many groups of clusters at most; joining clusters keeps intervals valid


@dataclass(frozen=True)
class Scoring:
    """What is asked of a scorer besides the pairs.

    Attributes:
        steps: How many steps a path of integrated gradients has.
        seed: The seed of what is drawn.
        progress: Whether a progress bar is shown.
        threshold: What a search may lose with one edge; None for its own choice.
        size: How many edges are wanted; None where that is not said.
    """

    steps: int = 10
    seed: int = 0
    progress: bool = True
    threshold: float | None = None
    size: int | None = None


@dataclass(frozen=True)
class Scored:
    """Scores of every edge and sender.

    Attributes:
        edges: The mean over pairs, [sender receiver position]; NaN where nothing was scored.
        nodes: The same of senders, [sender position]: the effect of replacing all that a sender adds; None if not scored.
        spread: The standard error of `edges` over clusters, in its shape; None where there is none.
        about: What is to be said of how they came about.
        kept: Which edges the method itself keeps, [sender receiver position]; None where it only ranks them.
    """

    edges: np.ndarray
    nodes: np.ndarray | None = None
    spread: np.ndarray | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    kept: np.ndarray | None = None


Scorer = Callable[[Masked, Scoring], Scored]

SCORERS: Registry[Scorer] = Registry("scorer of edges", ArgumentError)
"""Who scores edges: from pairs under any set of edges, and what is asked, to scores."""


class Sums:
    """Add up scores of pairs, tile by tile, for the mean and its standard error over clusters.

    Args:
        masked: The pairs.
        shape: The shape of what is added for each pair.
    """

    def __init__(self, masked: Masked, shape: tuple[int, ...]) -> None:
        clusters = cluster_numbers(masked.pairs.clean.clusters, masked.n)
        numbers = np.unique(clusters, return_inverse=True)[1]
        self.groups, self.n = numbers % _GROUPS, masked.n
        self.count = int(self.groups.max()) + 1
        self.total = torch.zeros(self.count, *shape)

    def add(self, tile: Tile, values: Tensor) -> None:
        """Add what belongs to each row of a tile, [row ...]; rows of one prompt are added up."""
        owner = torch.arange(len(tile)) if tile.answers is None else tile.answers.owner.cpu()
        groups = torch.as_tensor(self.groups[tile.index])[owner]
        self.total.index_add_(0, groups, values.detach().float().cpu())

    def add_all(self, values: np.ndarray) -> None:
        """Add what belongs to every pair, [pair ...]."""
        self.total.index_add_(0, torch.as_tensor(self.groups), torch.as_tensor(values, dtype=torch.float32))

    def mean(self) -> np.ndarray:
        """Return the mean over pairs."""
        return (self.total.double().sum(0) / self.n).numpy()

    def spread(self) -> np.ndarray | None:
        """Return the standard error of the mean over clusters; None where there is one cluster."""
        if self.count < 2:
            return None
        sizes = torch.as_tensor(np.bincount(self.groups, minlength=self.count), dtype=torch.double)
        mean = self.total.double().sum(0) / self.n
        apart = self.total.double() - sizes.reshape(-1, *[1] * mean.ndim) * mean
        variance = (apart**2).sum(0) * self.count / (self.count - 1) / self.n**2
        return variance.sqrt().numpy()


def impossible(masked: Masked, scores: np.ndarray) -> np.ndarray:
    """Return scores with NaN where the model has no edge."""
    return np.where(masked.wiring.possible[..., None], scores, np.nan)


def tiles_of(masked: Masked, scoring: Scoring, what: str) -> Iterable[Tile]:
    """Return the tiles, with a progress bar over their pairs."""
    from tqdm.auto import tqdm

    bar = tqdm(total=masked.n, desc=what, unit="pair", disable=None if scoring.progress else True, leave=False)
    for tile in masked.tiles:
        yield tile
        bar.update(len(tile.index))
    bar.close()
