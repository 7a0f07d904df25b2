"""Evaluate a scrubbing tree: prompts as they are, then inner nodes from the leaves up, then the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Place, Site
from mechcausal.causal.scrubbing.runs import Forced, Outcome, Runs
from mechcausal.causal.scrubbing.sampling import Draw
from mechcausal.causal.scrubbing.schedule import Schedule, Scheduler, Step, Steps, arrives
from mechcausal.causal.scrubbing.tree import Node, check_tree
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.anatomy import heads, mlps
from mechcausal.models.engine import Exact, in_batches
from mechcausal.models.readout import Readouts

_CHUNK = 1024  # examples scored at a time, each with a row of logits

Score = Callable[[Tensor, np.ndarray], np.ndarray]


class Tree:
    """A scrubbing tree on one model and one set of prompts.

    Args:
        model: The bridge.
        root: The tree.
        pool: The prompts that samples are rows of.
        batch_size: How many prompts at a time.
        exact: `"replay"` uses the exact engine where it can; `"naive"` runs every distinct input from the start.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        root: Node,
        pool: PromptSet,
        *,
        batch_size: int = 64,
        exact: Exact = "replay",
    ) -> None:
        if any(node.is_mask for node in root.walk()):  # masks of other prompts are laid over the end
            pool = pool.padded(pool.tokens.shape[1], "left")
        self.model, self.root, self.pool = model, root, pool
        self.able = abilities(model)
        check_tree(self.able, root, pool)
        self.readouts = Readouts(model, self.able)
        self.runs = partial(Runs, model, self.able, pool, batch_size, exact=exact)
        self.scheduler = Scheduler(root, pool, self.runs())
        self.executed = 0  # token-layers

    @property
    def same(self) -> np.ndarray:
        """For each prompt the first one that is the same input: tokens, named positions and the one read."""
        return self.scheduler.same

    def components(self, node: Node) -> list[Site]:
        """Return the heads and MLPs upstream of a node that no child of it covers."""
        if len(self.pool.lengths.unique()) > 1:
            raise DataError(
                "components resampled one by one move at every position, so all prompts must have one length",
                got=f"{int(self.pool.lengths.min())} to {int(self.pool.lengths.max())} tokens",
                fix='use prompts of one length, or unimportant="joint"',
            )
        shape = self.able.shape
        ends = [part.depth for part in node.parts] or [(shape.n_layers, 0.0)]
        covered = {part.site for child in node.children for part in child.sites}
        # Side by side in one layer, heads do not read each other.
        early = [site for site in (*heads(self.able), *mlps(self.able)) if site.depth < max(ends)]
        return [site for site in early if site not in covered and site.whole not in covered]

    def schedule(self, samples: Mapping[str, Draw]) -> Schedule:
        """Turn samples into distinct keys."""
        return self.scheduler.of(samples)

    def run(
        self, schedule: Schedule, samples: Mapping[str, Draw], score: Score, *, progress: str = "scrubbing"
    ) -> np.ndarray:
        """Evaluate the tree for every example.

        Args:
            schedule: The schedule of these samples.
            samples: What each node draws.
            score: From the logits at the read position, one row per example, and the examples' numbers, to
                [number example] scores.
            progress: The label of the progress bar.
        """
        total = len(schedule.rows) + sum(
            len(schedule.steps[name].all) * len(keys) for name, keys in schedule.keys.items()
        )
        with tqdm(total=total, desc=progress, unit="run", disable=None, leave=False) as bar:
            job = _Evaluation(self, schedule, samples, self.runs(), bar.update)
            scores = job.run(score)
        self.executed += job.runs.token_layers
        return scores


class _Evaluation:
    """One evaluation of a tree.

    Attributes:
        values: The value of each part of each node, by number: of all prompts for a leaf, of all keys for an inner node.
    """

    def __init__(
        self, tree: Tree, schedule: Schedule, samples: Mapping[str, Draw], runs: Runs, tick: Callable[[int], object]
    ) -> None:
        self.tree, self.schedule, self.samples, self.runs, self.tick = tree, schedule, samples, runs, tick
        self.values: dict[tuple[str, Place], Tensor] = {}

    def run(self, score: Score) -> np.ndarray:
        """Return the scores of every example."""
        schedule, runs, root = self.schedule, self.runs, self.tree.root
        runs.bare(schedule.rows, schedule.wanted, keep=schedule.keep, tick=self.tick)
        for node in reversed(list(root.walk())):  # children before parents
            if node is root:
                continue
            if node.children:
                self._fill(node)
            else:
                for part in node.sites:
                    estimated = node.estimate is not None
                    value = self._estimate(node, part) if estimated else runs.values[part.site, part.at]
                    self.values[node.name, part] = value
        return self._root(score)

    def _fill(self, node: Node) -> None:
        """Compute an inner node for all its keys."""
        schedule = self.schedule
        keys, moved, steps = schedule.keys[node.name], schedule.moved[node.name], schedule.steps[node.name]

        def put(part: Place, index: np.ndarray, value: Tensor) -> None:
            if (node.name, part) not in self.values:
                self.values[node.name, part] = value.new_zeros(len(keys), *value.shape[1:])
            self.values[node.name, part][torch.as_tensor(index, device=value.device)] = value

        still = np.flatnonzero(~moved)
        for part in node.sites if len(still) else ():
            put(part, still, self.runs.values[part.site, part.at][torch.as_tensor(keys[still, 0])])
        self.tick(len(still) * len(steps.all))

        def one_batch(index: np.ndarray) -> None:
            for outcome in self._outcomes(node, keys[index], steps):
                for part, value in outcome.values.items():
                    put(part, index, value)

        self._in_groups(keys, np.flatnonzero(moved), steps, one_batch)

    def _root(self, score: Score) -> np.ndarray:
        """Compute the output for all its keys, and score the examples of each."""
        root, schedule = self.tree.root, self.schedule
        keys, ids, moved, steps = (
            schedule.keys[root.name],
            schedule.ids[root.name],
            schedule.moved[root.name],
            schedule.steps[root.name],
        )
        order = np.argsort(ids, kind="stable")
        starts = np.searchsorted(ids[order], np.arange(len(keys) + 1))
        examples: list[np.ndarray] = []
        parts: list[np.ndarray] = []

        def scored(index: np.ndarray, logits: Tensor) -> None:
            which = np.concatenate([order[starts[key] : starts[key + 1]] for key in index])
            each = np.repeat(np.arange(len(index)), starts[index + 1] - starts[index])
            chunks = [slice(low, low + _CHUNK) for low in range(0, len(which), _CHUNK)]
            chunk_scores = [score(logits[torch.as_tensor(each[chunk])].float(), which[chunk]) for chunk in chunks]
            # Only now: a batch that ran out of memory is tried again.
            examples.append(which)
            parts.extend(chunk_scores)

        def one_batch(index: np.ndarray) -> None:
            (outcome,) = self._outcomes(root, keys[index], steps)
            assert outcome.logits is not None  # asked for below
            scored(index, outcome.logits)

        def unmoved(index: np.ndarray) -> None:
            scored(index, self.runs.unedited_logits(keys[index, 0]))

        self._in_groups(keys, np.flatnonzero(moved), steps, one_batch)
        self._in_groups(keys, np.flatnonzero(~moved), steps, unmoved)
        out = np.concatenate(parts, axis=1)
        by_example = np.empty_like(out)
        by_example[:, np.concatenate(examples)] = out
        return by_example

    def _in_groups(
        self, keys: np.ndarray, which: np.ndarray, steps: Steps, one_batch: Callable[[np.ndarray], None]
    ) -> None:
        """Call `one_batch` on the numbers of keys that can be run together."""
        if not len(which):
            return
        widest = min((step.route for step in steps.all), key=lambda route: route.start)
        for group, batch_size in self.runs.groups(keys[which, 0], widest):

            def some(index: Tensor, group: np.ndarray = group) -> np.ndarray:
                one_batch(which[group[index.numpy()]])
                self.tick(len(index) * len(steps.all))
                return np.zeros((1, len(index)))

            in_batches(len(group), batch_size, some)

    def _outcomes(self, node: Node, keys: np.ndarray, steps: Steps) -> list[Outcome]:
        """Run a node's unimportant inputs with its children's values in place: once for each stream it reads."""
        rows = keys[:, 0]
        seen: PromptSet | None = None
        forced: list[Forced] = []
        direct: list[tuple[Place, Tensor]] = []
        moved: list[tuple[Place, Tensor]] = []
        for column, child in enumerate(node.children, start=1):
            if child.is_mask:
                batch = self.runs.prompts(rows)
                seen = PromptSet(tokens=batch.tokens, mask=self.runs.prompts(keys[:, column]).mask, side=batch.side)
                continue
            for part in child.sites:
                value = self.values[child.name, part]
                given = value[torch.as_tensor(keys[:, column], device=value.device)]
                estimated = child.estimate is not None
                if estimated:  # what is no part of the estimate stays as it is
                    given = given - value[torch.as_tensor(rows, device=value.device)]
                if child.edge == "all":
                    forced.append(Forced(part, given, added=estimated))
                else:
                    (moved if estimated else direct).append((part, given))
        first = 1 + len(node.children)
        for column, site in enumerate(self.samples[node.name].components, start=first):
            part = Place(site)
            forced.append(Forced(part, self.runs.values[site, part.at][torch.as_tensor(keys[:, column])]))

        def run(step: Step, also: Sequence[Forced] = (), *, logits: bool) -> Outcome:
            return self.runs.patched(rows, step.route, [*forced, *also], step.parts, seen=seen, logits=logits)

        at_the_end = node is self.tree.root
        if not direct and not moved:
            return [run(steps.each[0], logits=at_the_end)]
        if steps.before is None:
            values_before = {part: self.runs.values[part.site, part.at][torch.as_tensor(rows)] for part, _ in direct}
        else:
            values_before = run(steps.before, logits=False).values
        moved += [(part, value - values_before[part]) for part, value in direct]
        outcomes = []
        for step in steps.each:
            assert step.stream is not None  # a node with direct children reads streams
            arriving = [(part, change) for part, change in moved if arrives(part, step.stream)]
            change = Forced(Place(step.stream), self._delta(rows, arriving), added=True, everywhere=True)
            outcomes.append(run(step, [change] if arriving else [], logits=at_the_end))
        return outcomes

    def _delta(self, rows: np.ndarray, direct: Sequence[tuple[Place, Tensor]]) -> Tensor:
        """Return how the stream changes where the values of direct children do."""
        batch = self.runs.prompts(rows)
        delta = torch.zeros(*batch.tokens.shape, self.tree.able.shape.d_model, device=batch.tokens.device)
        for part, change in direct:
            basis = part.columns(change)
            change = change if basis is None else change @ basis @ basis.T
            added = self.tree.readouts.contribution(part.site)(change)
            delta = delta.to(added.dtype)
            mask = batch.select(part.at)
            delta[mask] += added[mask.any(1)].flatten(0, 1)
        return delta

    def _estimate(self, node: Node, part: Place) -> Tensor:
        assert node.estimate is not None  # the caller has looked
        pool = self.tree.pool
        value = torch.as_tensor(node.estimate(pool)).to(bridge.device_of(self.tree.model))
        count = int(pool.select(part.at)[0].sum())
        value = value[:, None] if value.ndim == 1 or (count == 1 and value.shape[1] != 1) else value
        if len(value) != len(pool) or value.shape[1] != count:
            raise DataError(
                f"the estimate of {node.name!r} must give one value per prompt and position",
                got=tuple(value.shape),
                expected=f"({len(pool)}, {count}, ...)",
            )
        return value
