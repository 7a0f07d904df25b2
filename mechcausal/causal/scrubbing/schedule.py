"""What a scrubbing tree has to run: every distinct (node, input) once, each in the cheaper of two ways.

What a node computes depends on its inputs only: a leaf's on its prompt, an inner node's on the prompt of its unimportant
inputs and on which values its children have. In a causal model all of this depends on no token after the place where the
node is. So examples are turned into keys, equal keys become one, and the cost is known before anything is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mechcausal.address import Place, Selection, Site
from mechcausal.causal.scrubbing.route import Route
from mechcausal.causal.scrubbing.runs import Runs
from mechcausal.causal.scrubbing.sampling import Draw
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.data.prompts import PromptSet
from mechcausal.models.anatomy import entry


@dataclass(frozen=True)
class Step:
    """One of the runs that a key of an inner node takes.

    Attributes:
        stream: The stream at which the direct paths of this run arrive; None for a run without them.
        parts: What is read.
        route: Where the run begins and ends.
    """

    stream: Site | None
    parts: tuple[Place, ...]
    route: Route


@dataclass(frozen=True)
class Steps:
    """All runs that a key of an inner node takes.

    Attributes:
        before: The run that tells what direct children give before they are replaced, where that is not known.
        each: One run for each stream that the node reads.
    """

    before: Step | None
    each: tuple[Step, ...]

    @property
    def all(self) -> tuple[Step, ...]:
        """Every one of them."""
        return ((self.before,) if self.before else ()) + self.each

    @property
    def fast(self) -> bool:
        """Whether the exact engine can take all of them."""
        return all(step.route.fast for step in self.all)

    def slow(self, n_layers: int) -> Steps:
        """Return them as runs of everything, through hooks."""
        full_route = Route(0, n_layers, 0, fast=False)
        each = tuple(Step(step.stream, step.parts, full_route) for step in self.each)
        return Steps(Step(None, self.before.parts, full_route) if self.before else None, each)


@dataclass(frozen=True)
class Schedule:
    """What is to be run.

    Attributes:
        rows: The prompts that are run as they are, once each.
        keys: For each inner node the distinct keys: column 0 its prompt, then one column for each child (the number of
            its value, or of its prompt), then one for each component.
        ids: For each node and example the number of its value: a prompt for a leaf, a key for an inner node.
        moved: For each inner node which keys have to be run; in the others every child has the value it has anyway.
        steps: For each inner node the runs that one key takes.
        wanted: The sites that are read in prompts as they are, with their positions.
        token_layers: How many tokens all layers together compute.
        size: How many that are for one prompt.
        plain: How many runs the tree would take without anything being shared.
    """

    rows: np.ndarray
    keys: dict[str, np.ndarray]
    ids: dict[str, np.ndarray]
    moved: dict[str, np.ndarray]
    steps: dict[str, Steps]
    wanted: tuple[tuple[Site, Selection], ...]
    token_layers: int
    size: int
    plain: int

    @property
    def forwards(self) -> int:
        """How much is run, in forwards of a whole prompt through all layers, rounded up."""
        return -(-self.token_layers // self.size)

    @property
    def keep(self) -> bool:
        """Whether the engine needs the unedited runs."""
        return any(steps.fast for steps in self.steps.values())


class Scheduler:
    """Schedules one tree over one set of prompts.

    Args:
        root: The tree.
        pool: The prompts.
        runs: What runs them.
    """

    def __init__(self, root: Node, pool: PromptSet, runs: Runs) -> None:
        self.root, self.pool, self.runs = root, pool, runs
        self.same = _first_equal(_tokens(pool, pool.tokens.shape[1] - 1), *_places(pool, []))
        self._alike: dict[str, np.ndarray] = {}

    def of(self, samples: Mapping[str, Draw]) -> Schedule:
        """Turn samples into distinct keys, and choose how each node is run."""
        keys: dict[str, np.ndarray] = {}
        ids: dict[str, np.ndarray] = {}
        moved: dict[str, np.ndarray] = {}
        bare: list[np.ndarray] = []

        def visit(node: Node) -> None:
            draw = samples[node.name]
            if not node.children:
                ids[node.name] = self.alike(node)[draw.x]
                if node.estimate is None and not node.is_mask:
                    bare.append(ids[node.name])
                return
            assert draw.o is not None  # inner nodes have unimportant inputs
            rest_ids = self.alike(node)[draw.o]
            others = [self.alike(node)[component] for component in draw.components.values()]
            for child in node.children:
                visit(child)
            bare.extend([*others, rest_ids] if as_it_is(node, draw) else others)
            columns = [rest_ids, *(ids[child.name] for child in node.children), *others]
            rows, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
            keys[node.name], ids[node.name] = rows, inverse.reshape(-1)
            moved[node.name] = self._moved(node, rows)

        visit(self.root)
        return self._cheapest(samples, keys, ids, moved, np.unique(np.concatenate(bare)) if bare else np.zeros(0, int))

    def alike(self, node: Node) -> np.ndarray:
        """Return for each prompt the first in which a node computes the same from the prompt as it is."""
        if node.name not in self._alike:
            self._alike[node.name] = self._first_alike(node)
        return self._alike[node.name]

    def _first_alike(self, node: Node) -> np.ndarray:
        if any(member.estimate is not None for member in (node, *node.children)):
            return np.arange(len(self.pool))  # an estimate may look at more of a prompt than its tokens
        if node.is_mask or any(child.is_mask for child in node.children) or not self.runs.causal:
            return self.same
        masks = [self.pool.select(part.at) for part in node.sites]
        if node is self.root:
            extra = 0 if self.pool.forced is None else self.pool.forced  # tokens of an answer
            column = torch.arange(self.pool.tokens.shape[1])[None]
            masks = [column == at[:, None] for at in (self.pool.read_columns, self.pool.read_columns + extra)]
        if node.sites and all(part.site.component == "embed" for part in node.sites):
            # Tokens are embedded one by one.
            return _first_equal(*(self.pool.tokens[mask].reshape(len(self.pool), -1) for mask in masks))
        last = torch.stack(masks).any(0).int().flip(1).argmax(1)
        # Where the values of children go, too, is a matter of the prompt.
        below = [self.pool.select(part.at) for child in node.children for part in child.sites]
        tokens_read = _tokens(self.pool, self.pool.tokens.shape[1] - 1 - last)
        return _first_equal(tokens_read, *_places(self.pool, [*masks, *below]))

    def _moved(self, node: Node, keys: np.ndarray) -> np.ndarray:
        """Say in which keys a child, or a component, has another value than it has in the prompt that is run."""
        anywhere = np.zeros(len(keys), dtype=bool)
        for column, child in enumerate(node.children, start=1):
            anywhere |= bool(child.children) or keys[:, column] != self.alike(child)[keys[:, 0]]
        for column in range(1 + len(node.children), keys.shape[1]):
            anywhere |= keys[:, column] != keys[:, 0]
        return anywhere

    def _cheapest(
        self,
        samples: Mapping[str, Draw],
        keys: dict[str, np.ndarray],
        ids: dict[str, np.ndarray],
        moved: dict[str, np.ndarray],
        bare: np.ndarray,
    ) -> Schedule:
        """Give each inner node to the engine where that computes fewer tokens."""
        n_layers, width = self.runs.able.shape.n_layers, self.pool.tokens.shape[1]
        full_run = n_layers * width
        inner = [node for node in self.root.walk() if node.children]
        possible = {node.name: self.steps(node, samples[node.name]) for node in inner}
        wanted = self._wanted(samples)
        plain = sum(self._plain_runs(node) for node in self.root.walk()) * len(samples[self.root.name].x)

        def scheduled(engine: bool) -> Schedule:
            rows, steps, moves, total = bare, {}, {}, 0
            for node in reversed(inner):
                node_steps, count = possible[node.name], len(keys[node.name])
                slow = node_steps.slow(n_layers)
                joined = np.union1d(rows, keys[node.name][:, 0])
                runs = int(moved[node.name].sum())
                quick = runs * sum(step.route.token_layers(n_layers, width) for step in node_steps.all)
                long = count * len(node_steps.all) * full_run
                if engine and node_steps.fast and quick + (len(joined) - len(rows)) * full_run < long:
                    rows, steps[node.name], moves[node.name] = joined, node_steps, moved[node.name]
                    total += quick
                else:
                    steps[node.name], moves[node.name] = slow, np.ones(count, dtype=bool)
                    total += long
            total += len(rows) * full_run
            fast = [node for node in inner if steps[node.name].fast]
            # Of prompts in which nothing moves the value itself is read; an embedding moves from what it is.
            read = [*wanted, *((part.site, part.at) for node in fast for part in node.sites)]
            below = [part for node in fast for child in node.children for part in child.sites]
            read += [(part.site, part.at) for part in below if part.site.component == "embed"]
            if fast and any(site.component == "embed" for site, _ in read):
                total += self.runs.embedding_cost()
            return Schedule(rows, keys, ids, moves, steps, tuple(dict.fromkeys(read)), total, full_run, plain)

        slow = scheduled(engine=False)
        if not self.runs.reads([site for site, _ in wanted]):
            return slow
        return min(slow, scheduled(engine=True), key=lambda schedule: schedule.token_layers)

    def steps(self, node: Node, draw: Draw) -> Steps:
        """Return the runs that a key of an inner node takes."""
        is_root = node is self.root
        edited = [child for child in node.children if child.edge == "all" and not child.is_mask]
        changed = [part for child in edited for part in child.sites] + [Place(site) for site in draw.components]
        masked = any(child.is_mask for child in node.children)
        direct = [part for child in node.children if child.edge == "direct" for part in child.sites]
        replaced = [
            part for child in node.children if child.edge == "direct" and child.estimate is None for part in child.sites
        ]
        n_layers = self.runs.able.shape.n_layers

        def step(stream: Site | None, parts: Sequence[Place], also: Sequence[Place], *, logits: bool) -> Step:
            several = [*changed, *also]
            route = Route(0, n_layers, 0, fast=False)
            if several and not masked:
                route = self.runs.route(several, parts, logits=logits)
            return Step(stream, tuple(parts), route)

        if not direct:
            return Steps(None, (step(None, node.sites, (), logits=is_root),))
        before = None if as_it_is(node, draw) or not replaced else step(None, replaced, (), logits=False)
        each = []
        for stream, parts in self._streams(node).items():
            arriving = [Place(stream, part.at) for part in direct if arrives(part, stream)]
            each.append(step(stream, parts, arriving, logits=is_root))
        return Steps(before, tuple(each))

    def _streams(self, node: Node) -> dict[Site, list[Place]]:
        """Return the streams at which direct paths arrive, with the parts that read each."""
        able = self.runs.able
        if node is self.root:
            return {entry(Site("logits"), able): []}
        streams: dict[Site, list[Place]] = {}
        for part in node.sites:
            streams.setdefault(entry(part.site, able), []).append(part)
        return streams

    def _wanted(self, samples: Mapping[str, Draw]) -> tuple[tuple[Site, Selection], ...]:
        """Return what leaves, components and direct paths need of prompts as they are."""
        leaves = [
            (part.site, part.at)
            for node in self.root.walk()
            for part in node.sites
            if node.estimate is None and (not node.children or node.edge == "direct")
        ]
        components = [(site, Place(site).at) for draw in samples.values() for site in draw.components]
        return tuple(dict.fromkeys([*leaves, *components]))

    def _plain_runs(self, node: Node) -> int:
        """Count the runs one example of a node takes when nothing is shared."""
        if not node.children:
            return int(node.estimate is None and not node.is_mask)
        direct = any(child.edge == "direct" for child in node.children)
        return len(self._streams(node)) + 1 if direct else 1


def as_it_is(node: Node, draw: Draw) -> bool:
    """Whether direct children replace what the node's own prompt gives, changed by nothing else."""
    return bool(node.children) and all(child.edge == "direct" for child in node.children) and not draw.components


def arrives(part: Place, stream: Site) -> bool:
    """Say whether what a part writes is in a stream."""
    return part.depth < Place(stream).depth or stream == part.site


def _tokens(pool: PromptSet, last: torch.Tensor | int) -> torch.Tensor:
    """Return the tokens of each prompt up to a column."""
    column = torch.arange(pool.tokens.shape[1])[None]
    tokens = torch.where(pool.mask, pool.tokens, -1)
    return torch.where(column <= torch.as_tensor(last).reshape(-1, 1), tokens, -2)


def _places(pool: PromptSet, masks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return what else must be equal: the places that are read, all that have a name unless said."""
    if masks:
        return [mask.long() for mask in masks]
    return [pool.read_columns[:, None], *(index[:, None] for _, index in sorted(pool.positions.items()))]


def _first_equal(*columns: torch.Tensor) -> np.ndarray:
    """Return for each row the first one that is equal to it."""
    rows = torch.cat([column.cpu().long() for column in columns], dim=1).numpy()
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]
