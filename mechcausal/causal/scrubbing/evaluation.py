"""Evaluate a scrubbing tree: every distinct (node, input) once, leaves of all nodes in one run.

What a node computes depends on its inputs only: a leaf's on its prompt, an inner node's on the prompt of its unimportant
inputs and on which values its children have. So examples are first turned into keys, equal keys become one, and only
then does the network run. The number of runs is known before the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Site
from mechcausal.causal.hypothesis import Part, entry
from mechcausal.causal.scrubbing.sampling import Draw
from mechcausal.causal.scrubbing.tree import Node, check_tree
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.interventions.specs import AddDelta, Edit, Patch
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import Run, Source, forward
from mechcausal.models.readout import Readouts, pick, place

_CHUNK = 1024  # examples scored at a time, each with a row of logits


@dataclass(frozen=True)
class Schedule:
    """What is to be run.

    Attributes:
        rows: The prompts that are run as they are, once each.
        keys: For each inner node the distinct keys: column 0 its prompt, then one column for each child (the number of
            its value, or of its prompt), then one for each component.
        ids: For each node and example the number of its value: a prompt for a leaf, a key for an inner node.
        runs: For each inner node the runs that one key takes.
        plain: How many runs the tree would take without anything being shared.
    """

    rows: np.ndarray
    keys: dict[str, np.ndarray]
    ids: dict[str, np.ndarray]
    runs: dict[str, int]
    plain: int

    @property
    def forwards(self) -> int:
        """How many prompts are run, patched or not."""
        return len(self.rows) + sum(len(keys) * self.runs[name] for name, keys in self.keys.items())


@dataclass
class _Values:
    """The value of each part of a node, by number: of all prompts for a leaf, of all keys for an inner node."""

    parts: dict[Part, Tensor] = field(default_factory=dict)


class Tree:
    """A scrubbing tree on one model and one set of prompts.

    Args:
        model: The bridge.
        root: The tree.
        pool: The prompts that samples are rows of.
        batch_size: How many prompts at a time.
    """

    def __init__(self, model: Any, root: Node, pool: PromptSet, *, batch_size: int = 64) -> None:  # noqa: ANN401
        self.model, self.root, self.pool, self.batch_size = model, root, pool, batch_size
        self.able = abilities(model)
        self.readouts = Readouts(model, self.able)
        check_tree(self.able, root, pool)
        self.same = _same_input(pool)

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
        heads = [Site("z", layer, head=head) for layer in range(shape.n_layers) for head in range(shape.n_heads)]
        mlps = (
            [Site("mlp_out", layer) for layer in range(shape.n_layers)]
            if self.able.components["mlp_out"].writes
            else []
        )
        # Side by side in one layer, heads do not read each other.
        early = [site for site in (*heads, *mlps) if Part(site).depth < max(ends)]
        return [site for site in early if site not in covered and site.whole not in covered]

    def schedule(self, samples: Mapping[str, Draw]) -> Schedule:
        """Turn samples into distinct keys."""
        keys: dict[str, np.ndarray] = {}
        ids: dict[str, np.ndarray] = {}
        runs: dict[str, int] = {}
        bare: list[np.ndarray] = []

        def visit(node: Node) -> None:
            draw = samples[node.name]
            if not node.children:
                # An estimate may look at more of a prompt than its tokens.
                ids[node.name] = draw.x if node.estimate is not None else self.same[draw.x]
                if node.estimate is None and not node.is_mask:
                    bare.append(ids[node.name])
                return
            assert draw.o is not None  # inner nodes have unimportant inputs
            own = self.same[draw.o]
            others = [self.same[component] for component in draw.components.values()]
            for child in node.children:
                visit(child)
            columns = [own, *(ids[child.name] for child in node.children), *others]
            as_it_is = _as_it_is(node, draw)
            bare.extend([*others, own] if as_it_is else others)
            runs[node.name] = len(self._streams(node)) + int(_has_direct(node) and not as_it_is)
            rows, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
            keys[node.name], ids[node.name] = rows, inverse.reshape(-1)

        visit(self.root)
        distinct = np.unique(np.concatenate(bare)) if bare else np.zeros(0, dtype=int)
        n = len(samples[self.root.name].x)
        plain = sum(self._plain_runs(node) for node in self.root.walk())
        return Schedule(distinct, keys, ids, runs, plain * n)

    def run(
        self,
        schedule: Schedule,
        samples: Mapping[str, Draw],
        score: Callable[[Tensor, np.ndarray], np.ndarray],
        *,
        progress: str = "scrubbing",
    ) -> np.ndarray:
        """Evaluate the tree for every example.

        Args:
            schedule: The schedule of these samples.
            samples: What each node draws.
            score: From the logits at the read position, one row per example, and the examples' numbers, to
                [number example] scores.
            progress: The label of the progress bar.
        """
        bar = tqdm(total=schedule.forwards, desc=progress, unit="run", disable=None, leave=False)
        values = {node.name: _Values() for node in self.root.walk()}
        bare = self._bare(schedule.rows, samples, bar)
        for node in reversed(list(self.root.walk())):  # children before parents
            if node is self.root:
                continue
            if not node.children:
                for part in node.sites:
                    estimated = node.estimate is not None
                    values[node.name].parts[part] = (
                        self._estimate(node, part) if estimated else bare[part.site, str(part.at)]
                    )
            else:
                self._fill(node, schedule.keys[node.name], samples, values, bare, bar)
        found = self._root(schedule, samples, values, bare, score, bar)
        bar.close()
        return found

    # How a node is run

    def _fill(
        self,
        node: Node,
        keys: np.ndarray,
        samples: Mapping[str, Draw],
        values: dict[str, _Values],
        bare: dict[tuple[Site, str], Tensor],
        bar: tqdm,
    ) -> None:
        store = values[node.name].parts

        def one_batch(index: Tensor) -> np.ndarray:
            rows = keys[index.numpy()]
            batch = self._prompts(rows[:, 0])
            runs = self._patched(node, rows, batch, samples, values, bare)
            for stream, parts in self._streams(node).items():
                for part in parts:
                    value = pick(runs[stream].read[part.site.whole], part.site, batch.select(part.at))
                    if part not in store:
                        store[part] = value.new_zeros(len(keys), *value.shape[1:])
                    store[part][index.to(value.device)] = value
            bar.update(len(rows) * len(runs))
            return np.zeros((1, len(rows)))

        in_batches(len(keys), self.batch_size, one_batch)

    def _root(
        self,
        schedule: Schedule,
        samples: Mapping[str, Draw],
        values: dict[str, _Values],
        bare: dict[tuple[Site, str], Tensor],
        score: Callable[[Tensor, np.ndarray], np.ndarray],
        bar: tqdm,
    ) -> np.ndarray:
        root = self.root
        keys, ids = schedule.keys[root.name], schedule.ids[root.name]
        order = np.argsort(ids, kind="stable")
        starts = np.searchsorted(ids[order], np.arange(len(keys) + 1))
        examples: list[np.ndarray] = []

        def one_batch(index: Tensor) -> np.ndarray:
            rows = keys[index.numpy()]
            batch = self._prompts(rows[:, 0])
            (run,) = self._patched(root, rows, batch, samples, values, bare).values()
            logits = run.logits
            last = logits[torch.arange(len(rows), device=logits.device), batch.read_columns]
            sizes = starts[index.numpy() + 1] - starts[index.numpy()]
            which = order[starts[index[0]] : starts[index[-1] + 1]]
            each = np.repeat(np.arange(len(rows)), sizes)
            chunks = range(0, len(which), _CHUNK)
            found = [score(last[torch.as_tensor(each[c : c + _CHUNK])].float(), which[c : c + _CHUNK]) for c in chunks]
            examples.append(which)
            bar.update(len(rows))
            parts.extend(found)
            return np.zeros((1, len(rows)))

        parts: list[np.ndarray] = []
        in_batches(len(keys), self.batch_size, one_batch)
        out = np.concatenate(parts, axis=1)
        found = np.empty_like(out)
        found[:, np.concatenate(examples)] = out
        return found

    def _patched(
        self,
        node: Node,
        rows: np.ndarray,
        batch: PromptSet,
        samples: Mapping[str, Draw],
        values: dict[str, _Values],
        bare: dict[tuple[Site, str], Tensor],
    ) -> dict[Site | None, Run]:
        """Run a node's unimportant inputs with its children's values in place: once for each stream it reads."""
        seen = batch
        edits: list[Edit] = []
        sources: list[Source] = []
        direct: list[tuple[Part, Tensor]] = []
        for column, child in enumerate(node.children, start=1):
            if child.is_mask:
                mask = self._prompts(rows[:, column]).mask
                seen = PromptSet(tokens=batch.tokens, mask=mask, side=batch.side)
                continue
            for part in child.parts:
                stored = values[child.name].parts[part]
                value = stored[torch.as_tensor(rows[:, column], device=stored.device)]
                if child.edge == "direct":
                    direct.append((part, value))
                else:
                    edits.append(Edit(part.site, Patch(), part.at))
                    sources.append(self._source(part, value, batch))
        first = 1 + len(node.children)
        for column, site in enumerate(samples[node.name].components, start=first):
            value = bare[site, "@all"][torch.as_tensor(rows[:, column])]
            edits.append(Edit(site, Patch()))
            sources.append(self._source(Part(site), value, batch))
        read = list(dict.fromkeys(part.site.whole for part in node.parts))
        if not direct:
            return {None: forward(self.model, seen, edits, read=read, sources=sources)}
        if not edits and seen is batch:
            own = {part: bare[part.site, str(part.at)][torch.as_tensor(rows[:, 0])] for part, _ in direct}
        else:
            wholes = list(dict.fromkeys(part.site.whole for part, _ in direct))
            before = forward(self.model, seen, edits, read=wholes, sources=sources).read
            own = {part: pick(before[part.site.whole], part.site, batch.select(part.at)) for part, _ in direct}
        runs: dict[Site | None, Run] = {}
        for stream in self._streams(node):
            assert stream is not None  # a node with direct children reads streams
            arriving = [
                (part, value - own[part])
                for part, value in direct
                if part.depth < Part(stream).depth or stream == part.site
            ]
            added = Source(self._delta(batch, arriving), mask=torch.ones_like(batch.mask))
            change = Edit(stream, AddDelta())
            runs[stream] = forward(self.model, seen, [*edits, change], read=read, sources=[*sources, added])
        return runs

    def _delta(self, batch: PromptSet, direct: Sequence[tuple[Part, Tensor]]) -> Tensor:
        """Return how the stream changes where the values of direct children do."""
        width = self.able.shape.d_model
        delta = torch.zeros(*batch.tokens.shape, width, device=batch.tokens.device)
        for part, change in direct:
            basis = part.columns(change)
            change = change if basis is None else change @ basis @ basis.T
            added = self.readouts.contribution(part.site)(change)
            delta = delta.to(added.dtype)
            delta[batch.select(part.at)] += added.flatten(0, 1)
        return delta

    def _source(self, part: Part, value: Tensor, batch: PromptSet) -> Source:
        n, width = batch.tokens.shape
        if part.site.component == "pattern":
            shape = (n, self.able.shape.n_heads, width, width)
        else:
            shape = (n, width, *self.able.shape_at(part.site))
        mask = batch.select(part.at)
        return Source(place(value, part.site, mask, shape), mask=mask, basis=part.columns(value))

    # What is run as it is

    def _bare(self, rows: np.ndarray, samples: Mapping[str, Draw], bar: tqdm) -> dict[tuple[Site, str], Tensor]:
        """Run prompts as they are and keep what leaves, components and direct paths need of them."""
        wanted = dict.fromkeys(
            (part.site, part.at)
            for node in self.root.walk()
            for part in node.sites
            if (not node.children and node.estimate is None) or node.edge == "direct"
        )
        wanted |= dict.fromkeys(
            (site, Part(site).at) for draw in samples.values() for site in draw.components
        )  # fmt: skip
        wholes = list(dict.fromkeys(site.whole for site, _ in wanted))
        store: dict[tuple[Site, str], Tensor] = {}

        def one_batch(index: Tensor) -> np.ndarray:
            own = rows[index.numpy()]
            batch = self._prompts(own)
            run = forward(self.model, batch, read=wholes)
            for site, at in wanted:
                value = pick(run.read[site.whole], site, batch.select(at))
                key = site, str(at)
                if key not in store:
                    store[key] = value.new_zeros(len(self.pool), *value.shape[1:])
                store[key][torch.as_tensor(own, device=value.device)] = value
            bar.update(len(own))
            return np.zeros((1, len(own)))

        if len(rows) and wholes:
            in_batches(len(rows), self.batch_size, one_batch)
        return store

    def _estimate(self, node: Node, part: Part) -> Tensor:
        assert node.estimate is not None  # the caller has looked
        value = torch.as_tensor(node.estimate(self.pool)).to(bridge.device_of(self.model))
        count = int(self.pool.select(part.at)[0].sum())
        value = value[:, None] if value.ndim == 1 or (count == 1 and value.shape[1] != 1) else value
        if len(value) != len(self.pool) or value.shape[1] != count:
            raise DataError(
                f"the estimate of {node.name!r} must give one value per prompt and position",
                got=tuple(value.shape),
                expected=f"({len(self.pool)}, {count}, ...)",
            )
        return value

    def _prompts(self, rows: np.ndarray) -> PromptSet:
        taken = replace(self.pool, texts=(), labels=(), groups=(), environments=(), clusters=(), variables={})
        return taken.take(torch.as_tensor(rows)).to(bridge.device_of(self.model))

    def _streams(self, node: Node) -> dict[Site | None, list[Part]]:
        """Return the streams at which direct paths arrive, with the parts that read each; None without such paths."""
        if not _has_direct(node):
            return {None: list(node.parts)}
        if node is self.root:
            return {entry("logits", None, self.able): []}
        streams: dict[Site | None, list[Part]] = {}
        for part in node.parts:
            streams.setdefault(entry(part.site.component, part.site.layer, self.able), []).append(part)
        return streams

    def _plain_runs(self, node: Node) -> int:
        """Count the runs one example of a node takes when nothing is shared."""
        if not node.children:
            return int(node.estimate is None and not node.is_mask)
        return len(self._streams(node)) + int(_has_direct(node))


def _has_direct(node: Node) -> bool:
    return any(child.edge == "direct" for child in node.children)


def _as_it_is(node: Node, draw: Draw) -> bool:
    """Whether direct children replace what the node's own prompt gives, changed by nothing else."""
    return _has_direct(node) and all(child.edge == "direct" for child in node.children) and not draw.components


def _same_input(pool: PromptSet) -> np.ndarray:
    """Return for each prompt the first one that is the same input: tokens, named positions and the one read."""
    columns = [torch.where(pool.mask, pool.tokens, -1), pool.read_columns[:, None]]
    columns += [index[:, None] for _, index in sorted(pool.positions.items())]
    rows = torch.cat([column.cpu() for column in columns], dim=1).numpy()
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]
