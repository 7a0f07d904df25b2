"""What scrubbing draws: for every node and example the input it sees, and the inputs of what is said not to matter.

Each node has random numbers of its own, seeded by its name: adding a node does not change what the others draw.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mechcausal.address import Site
from mechcausal.causal.scrubbing.tree import EXACT, Node, classes, presence
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError

Unimportant = Literal["joint", "together", "independent"]
CLAIM, REST = "claim", "rest"


@dataclass(frozen=True)
class Draw:
    """What one node sees, one entry per example, as rows of the pool.

    Attributes:
        x: The input it stands for.
        o: The input of everything unimportant that it reads (internal nodes).
        components: The input of each unimportant component, where they are resampled independently.
    """

    x: np.ndarray
    o: np.ndarray | None = None
    components: dict[Site, np.ndarray] = field(default_factory=dict)


class Sampler:
    """Draws inputs that agree with others.

    Args:
        root: The tree.
        pool: The prompts.
        unimportant: `"joint"`: one input for all that is unimportant to a node; `"together"`: one for the whole tree;
            `"independent"`: one for each component.
        size: How many inputs of each class may be drawn; None for all.
        permuted: A seed by which the classes are permuted over the prompts, as a negative control.
    """

    def __init__(
        self,
        root: Node,
        pool: PromptSet,
        *,
        unimportant: Unimportant = "joint",
        size: int | None = None,
        permuted: int | None = None,
    ) -> None:
        self.root, self.unimportant, self.size = root, unimportant, size
        self.count = len(pool)
        order = np.random.default_rng([permuted or 0, 17]).permutation(self.count)
        features = {node.name: classes(node.feature, pool) for node in root.walk()}
        self.values = {name: len(np.unique(of)) for name, of in features.items()}
        self.classes: dict[str, _Classes] = {}
        self.given: dict[str, _Classes] = {}
        for node in root.walk():
            have = presence(node.sites, pool)
            of = _Classes(features[node.name])
            if permuted is not None and not of.exact:
                of = _Classes(_shuffled(of.of, have, order))
            # What a prompt lacks it can neither give nor take.
            self.classes[node.name] = of if of.exact else _Classes(_both(of.of, have))
            inputs = presence([part for child in node.children for part in child.sites], pool)
            given = classes(node.given, pool) if node.given else np.zeros(self.count, dtype=int)
            self.given[node.name] = _Classes(_both(given, inputs))

    def check(self, *, lonely: str = "refuse") -> None:
        """Refuse features that the data do not vary, and values that only one input has."""
        for node in self.root.walk():
            if node is self.root or node.feature == EXACT:
                continue
            sizes = self.classes[node.name].sizes
            if self.values[node.name] < 2:
                raise DataError(
                    f"the prompts never vary what {node.name!r} depends on, so scrubbing it tests nothing",
                    got="one value",
                    fix="add prompts in which it differs",
                )
            alone = int((sizes == 1).sum())
            if alone and lonely == "refuse":
                raise DataError(
                    f"{alone} of {len(sizes)} values of {node.name!r} occur in one prompt only, which nothing can replace",
                    expected="at least two inputs that agree on each value",
                    fix="draw more prompts, or pass lonely='keep' to leave these unscrubbed",
                )
            if (sizes == 1).all():
                raise DataError(
                    f"no two prompts agree on {node.name!r}, so nothing can be exchanged", fix="use a coarser feature"
                )

    def draw(
        self,
        rows: np.ndarray,
        seed: int,
        *,
        exact: Collection[tuple[str, str]] = (),
        components: Callable[[Node], Sequence[Site]] = lambda node: (),
    ) -> dict[str, Draw]:
        """Draw for the reference inputs `rows`; the claims and rests in `exact` are not scrubbed."""
        out: dict[str, Draw] = {}

        def visit(node: Node, seen: np.ndarray) -> None:
            keep = node is self.root or (node.name, CLAIM) in exact or self.classes[node.name].exact
            drawn = (
                seen
                if keep
                else self.classes[node.name].like(seen, self._uniform(seed, node.name, len(rows)), self.size)
            )
            if not node.children:
                out[node.name] = Draw(drawn)
                return
            label = "all nodes together" if self.unimportant == "together" else f"{node.name}, rest"
            spared = (node.name, REST) in exact

            def other(label: str, name: str = node.name) -> np.ndarray:
                uniform = self._uniform(seed, label, len(rows))
                return drawn if spared else self.given[name].like(drawn, uniform, self.size)

            apart = components(node) if self.unimportant == "independent" else ()
            out[node.name] = Draw(drawn, other(label), {site: other(f"{node.name}, {site}") for site in apart})
            for child in node.children:
                visit(child, drawn)

        visit(self.root, np.asarray(rows))
        return out

    def self_hits(self, samples: dict[str, Draw], same: np.ndarray) -> float:
        """Return how often a resampled input is the one it replaces; `same` numbers equal inputs alike."""
        hits = [
            (same[samples[child.name].x] == same[samples[node.name].x]).mean()
            for node in self.root.walk()
            for child in node.children
            if not self.classes[child.name].exact
        ]
        return float(np.mean(hits)) if hits else np.nan

    def _uniform(self, seed: int, label: str, n: int) -> np.ndarray:
        return np.random.default_rng([seed, zlib.crc32(label.encode())]).random(n)


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the numbers of classes in which prompts agree on both."""
    return np.unique(np.stack([first, second], axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _shuffled(of: np.ndarray, within: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return numbers permuted over the prompts of each class of `within`."""
    shuffled = of.copy()
    for number in np.unique(within):
        members = np.flatnonzero(within == number)
        shuffled[members] = of[order[np.isin(order, members)]]
    return shuffled


class _Classes:
    """Class numbers of the pool, laid out so that drawing a member of a class is one look-up."""

    def __init__(self, of: np.ndarray) -> None:
        self.of = of
        self.sizes = np.bincount(of)
        self.exact = len(self.sizes) == len(of)
        self.order = np.argsort(of, kind="stable")
        self.starts = np.cumsum(self.sizes) - self.sizes

    def like(self, rows: np.ndarray, uniform: np.ndarray, size: int | None) -> np.ndarray:
        """Return for each row a member of its class, the row itself included."""
        kind = self.of[rows]
        choices = self.sizes[kind] if size is None else np.minimum(self.sizes[kind], size)
        return self.order[self.starts[kind] + np.floor(uniform * choices).astype(int)]
