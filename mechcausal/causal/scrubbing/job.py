"""One request to scrub: what is drawn and run for each claim that is spared, and for each control."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.causal.hypothesis import same_kind
from mechcausal.causal.scrubbing.evaluation import Schedule, Tree
from mechcausal.causal.scrubbing.judged import Row, Scale, by_group, frame_of, roles_of
from mechcausal.causal.scrubbing.sampling import Draw, Sampler, Unimportant
from mechcausal.causal.scrubbing.scrubbed import Scrubbed
from mechcausal.causal.scrubbing.spread import Role
from mechcausal.causal.scrubbing.tree import Node, check_tree
from mechcausal.causal.scrubbing.written import Written, at_output
from mechcausal.data.forced import Forced
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, MechcausalError
from mechcausal.metrics import Metric, at_read_position
from mechcausal.metrics.answers import combined, writes
from mechcausal.models import bridge
from mechcausal.models.engine import Exact, check_prompts, in_batches
from mechcausal.models.facts import facts
from mechcausal.models.hooked import forward
from mechcausal.results.provenance import Provenance

_PERMUTATIONS = 8
_MOST_DROPPED = 8
_TRIES = 50
Spared = frozenset[tuple[str, str]]
HYPOTHESIS: dict[tuple[str, str], Spared] = {("hypothesis", ""): frozenset()}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A tree with everything drawn for it, ready to be run.

    Attributes:
        label: What it is called in the result; None for the names of its variants.
        tree: The tree on the model.
        sampler: What draws for it.
        variants: What is spared in each variant, by the node and the kind of claim.
        samples: What each node draws, for each variant, seed and reference.
        schedule: What that takes.
        written: Where answers are several tokens, what each node draws for each text of each answer, and which texts are
            of which answer.
    """

    label: str | None
    tree: Tree
    sampler: Sampler
    variants: Mapping[tuple[str, str], Spared]
    samples: dict[str, Draw]
    schedule: Schedule
    written: tuple[dict[str, Draw], Forced] | None = None

    def roles(self, variant: int) -> tuple[Role, ...]:
        """Return what is drawn in a variant, at every place of the tree."""
        count = len(self.samples[self.tree.root.name].x) // len(self.variants)
        part = slice(variant * count, (variant + 1) * count)
        rows, classes = [], []
        for name, draw in self.samples.items():
            inputs = [] if draw.o is None else [draw.o, *draw.components.values()]
            rows += [draw.x[part], *(drawn[part] for drawn in inputs)]
            classes += [self.sampler.classes[name].of, *(self.sampler.given[name].of for _ in inputs)]
        return roles_of(rows, classes, self.samples[self.tree.root.name].x[part])

    @property
    def self_hits(self) -> float:
        """How often a draw of the first variant is the prompt it replaces."""
        count = len(self.samples[self.tree.root.name].x) // len(self.variants)
        first = {name: Draw(draw.x[:count]) for name, draw in self.samples.items()}
        step = len(self.tree.pool) // self.sampler.count  # a prompt with each answer is several rows
        return self.sampler.self_hits(first, self.tree.same[::step])


@dataclass
class Job:
    """One request: checked, with the unedited runs it is measured against.

    Attributes:
        model: The bridge.
        root: The tree.
        pool: The prompts.
        metric: The metric.
        n: How many of the prompts are references; None for all.
        seeds: How often everything is drawn anew.
        seed: The first seed.
        unimportant: How unimportant inputs are resampled.
        size: How many prompts of each class may be drawn; None for all.
        lonely: What to do with values that one prompt alone has.
        batch_size: How many prompts at a time.
        exact: Whether the engine may be used.
    """

    model: Any
    root: Node
    pool: PromptSet
    metric: Metric
    n: int | None
    seeds: int
    seed: int
    unimportant: Unimportant
    size: int | None
    lonely: str
    batch_size: int
    exact: Exact

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.metric.check(self.pool)
        check_prompts(self.model, self.pool)
        count = len(self.pool) if self.n is None else self.n
        if not 2 <= count <= len(self.pool):
            raise DataError("the references are some of the prompts", got=count, expected=f"2 to {len(self.pool)}")
        self.rows = np.arange(count)
        self.forwards = self.naive = 0
        self.replayed = False
        self.written = Written.of(self.pool) if self.metric.forces(self.pool) else None
        self._unedited: Tensor | None = None

    def prepare(
        self,
        root: Node,
        variants: Mapping[tuple[str, str], Spared],
        *,
        permuted: int | None = None,
        label: str | None = None,
    ) -> Prepared:
        """Check a tree, draw for every variant, seed and reference, and schedule it."""
        rows = self.pool if self.written is None else self.written.pool
        tree = Tree(self.model, root, rows, batch_size=self.batch_size, exact=self.exact)
        sampler = Sampler(root, self.pool, unimportant=self.unimportant, size=self.size, permuted=permuted)
        sampler.check(lonely=self.lonely)
        drawn = [
            sampler.draw(self.rows, seed, exact=spared, components=tree.components)
            for spared in variants.values()
            for seed in range(self.seed, self.seed + self.seeds)
        ]
        samples = {name: _joined([draws[name] for draws in drawn]) for name in drawn[0]}
        if self.written is None:
            return Prepared(label, tree, sampler, variants, samples, tree.schedule(samples))
        made, texts = self.written.examples(samples[root.name].x)
        drawn_rows = self.written.drawn(samples, made.owner.numpy(), texts)
        return Prepared(label, tree, sampler, variants, samples, tree.schedule(drawn_rows), (drawn_rows, made))

    def run(self, prepared: Prepared) -> list[Row]:
        """Scrub under every variant; return one row each, with the scores of every reference and draw."""
        root, schedule = prepared.tree.root, prepared.schedule
        references = prepared.samples[root.name].x

        def score(logits: Tensor, which: np.ndarray) -> np.ndarray:
            return self._scores(logits, references[which])

        if prepared.written is None:
            scores = prepared.tree.run(schedule, prepared.samples, score)
        else:
            scores = self._by_rows(prepared.tree, schedule, *prepared.written, references)
        scores = scores.reshape(4, len(prepared.variants), -1)
        self.forwards += schedule.forwards
        self.naive += schedule.plain
        self.replayed |= schedule.keep
        rows = []
        for number, (name, claim) in enumerate(prepared.variants):
            values, accuracy, agreement, kl = scores[:, number]
            node = next((node for node in root.walk() if node.name == name), None)
            rows.append(
                Row.of(
                    prepared.label or name,
                    "control" if prepared.label else claim or name,
                    node.sites if node else (),
                    values,
                    prepared.roles(number),
                    accuracy=accuracy.mean(),
                    agreement=agreement.mean(),
                    kl=kl.mean(),
                    self_hits=prepared.self_hits,
                )
            )
        return rows

    def controls(self) -> list[Prepared]:
        """Return hypotheses that should fail: features permuted, sites shuffled, one node dropped."""
        prepared = [self.prepare(self.root, HYPOTHESIS, permuted=self.seed, label="features permuted")]
        shuffled = self._shuffled()
        if shuffled is not None:
            prepared.append(self.prepare(shuffled, HYPOTHESIS, label="sites shuffled"))
        inner = [node for node in self.root.walk() if node is not self.root]
        for node in inner[:_MOST_DROPPED] if len(inner) > 1 else []:
            dropped = self.root.dropped(node.name)
            if dropped.children:
                prepared.append(self.prepare(dropped, HYPOTHESIS, label=f"{node.name} dropped"))
        return prepared

    def _shuffled(self) -> Node | None:
        """Move every site to another of its kind, at random, so that the tree is still a tree."""
        tree = Tree(self.model, self.root, self.pool)
        named = list(dict.fromkeys(part.site for node in self.root.walk() for part in node.sites))
        draw = np.random.default_rng([self.seed, 23])
        for _ in range(_TRIES):
            taken: dict[Site, Site] = {}
            for site in named:
                rooms = [room.site for room in same_kind(tree.able, Place(site), [*named, *taken.values()])]
                if not rooms:
                    return None
                taken[site] = rooms[draw.integers(len(rooms))]
            moved = self.root.placed(lambda part, to=taken: replace(part, site=to[part.site]))
            try:
                check_tree(tree.able, moved, self.pool)
            except MechcausalError:
                continue
            return moved
        return None

    def result(self, method: str, rows: Sequence[Row], **arguments: Any) -> Scrubbed:  # noqa: ANN401
        """Make the result."""
        clean = self._unedited_scores(self.rows)
        draw = np.random.default_rng([self.seed, 29])
        count = len(self.pool)
        drawn = np.stack([(self.rows + draw.integers(1, count, len(self.rows))) % count for _ in range(_PERMUTATIONS)])
        others = np.stack([self._unedited_scores(prompts) for prompts in drawn])
        repeated = lambda values: np.tile(values, self.seeds)  # noqa: E731
        names = self.pool.clusters or tuple(f"prompt {i}" for i in range(count))
        numbers = np.unique(names, return_inverse=True)[1]
        scale = Scale(repeated(self.rows), numbers, repeated(clean[0]), others[:, 0], drawn)
        baselines = {"base": scale.clean, "clean": scale.clean, "corrupt": scale.corrupt}
        clusters = tuple(repeated(np.asarray(names)[self.rows]).tolist())
        groups = tuple(repeated(np.asarray(self.pool.groups)[self.rows]).tolist()) if self.pool.groups else ()
        tables = {"by_group": by_group(rows, scale, groups)} if groups else {}
        frame, examples = frame_of(rows, scale, baselines, clusters)
        provenance = Provenance(
            method=method,
            arguments={
                "metric": self.metric.name, "hypothesis": str(self.root), "references": len(self.rows), "draws": self.seeds,
                "unimportant": self.unimportant, "pool": self.size, "lonely": self.lonely, **arguments,
            },
            seed=self.seed,
            **facts(
                self.model, self.pool, started=self.started, forwards=self.forwards, batch_size=self.batch_size,
                naive_forwards=self.naive, engine="replay" if self.replayed else "naive",
                accuracy=float(clean[1].mean()), random_accuracy=float(others[:, 1].mean()),
            ),
        )  # fmt: skip
        return Scrubbed(frame, provenance, examples, baselines, groups, clusters, tables)

    @property
    def unedited(self) -> Tensor:
        """The logits of every prompt at its read position, by the network as it is."""
        if self._unedited is None:
            kept: list[Tensor] = []

            def one_batch(index: Tensor) -> np.ndarray:
                batch = self.pool.take(index).to(bridge.device_of(self.model))
                kept.append(at_read_position(forward(self.model, batch).logits, batch).float())
                return np.zeros((1, len(index)))

            in_batches(len(self.pool), self.batch_size, one_batch)
            self._unedited = torch.cat(kept)
        return self._unedited

    def _unedited_scores(self, prompts: np.ndarray) -> np.ndarray:
        """Return the scores of unedited outputs of prompts, each judged by the answer of a reference, [4 example]."""
        if self.written is None:
            return self._scores(self.unedited[torch.as_tensor(prompts)], self.rows)
        made, texts = self.written.examples(self.rows)
        rows = self.written.pool.take(prompts[made.owner.numpy()] * self.written.count + texts)
        references = self.rows[made.owner.numpy()]

        def one_batch(index: Tensor) -> np.ndarray:
            batch = rows.take(index).to(bridge.device_of(self.model))
            logits = at_output(forward(self.model, batch).logits, batch).float()
            return self._row_scores(logits, rows.take(index), references[index.numpy()])

        return self._of_examples(in_batches(len(rows), self.batch_size, one_batch)[0], made)

    def _by_rows(
        self, tree: Tree, schedule: Schedule, drawn: Mapping[str, Draw], made: Forced, references: np.ndarray
    ) -> np.ndarray:
        """Return the scores of examples from a run for each text of their answers, [4 example]."""
        owner, root_rows = made.owner.numpy(), drawn[tree.root.name].x

        def score(logits: Tensor, which: np.ndarray) -> np.ndarray:
            return self._row_scores(logits, tree.pool.take(root_rows[which]), references[owner[which]])

        return self._of_examples(tree.run(schedule, drawn, score), made)

    def _row_scores(self, logits: Tensor, rows: PromptSet, references: np.ndarray) -> np.ndarray:
        """Return the piece of the metric, whether the text is written, and agreement and KL at its first token, [4 row]."""
        steps = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        forced_steps = torch.full((len(rows),), logits.shape[1] - 1, device=logits.device)
        assert rows.answers is not None  # each is for one
        answers = rows.answers.to(logits.device)
        asked = PromptSet(tokens=steps.long(), mask=steps, answers=answers, forced=forced_steps)
        before = self.unedited[torch.as_tensor(references).to(self.unedited.device)]
        value, right = self.metric.piece(logits, asked), writes(logits, asked)
        return _stacked(value, right, logits[:, 0], before)

    def _of_examples(self, scores: np.ndarray, made: Forced) -> np.ndarray:
        """Return the scores of examples from those of their rows, [4 example]."""
        value, right, *first = torch.as_tensor(scores)
        kind = self.metric.answers
        assert kind is not None  # else there would be one row for each example
        of_first = [column[made.answers[:, 0]] for column in first]
        return torch.stack([combined(kind, value, made), combined("written", right, made), *of_first]).numpy()

    def _scores(self, logits: Tensor, references: np.ndarray) -> np.ndarray:
        """Return metric, accuracy, agreement with the unedited answer, and KL from it, [4 example]."""
        index = torch.as_tensor(references)
        before = self.unedited[index.to(self.unedited.device)]
        # The output was computed elsewhere: only what the reference calls for is known here, not its tokens.
        prompts = self.pool.take(index)
        asked = replace(
            prompts,
            tokens=prompts.tokens[:, -1:],
            mask=torch.ones_like(prompts.mask[:, -1:]),
            read_at=None,
            positions={},
        ).to(logits.device)
        value = self.metric(logits[:, None], asked, before[:, None] if self.metric.compares else None)
        best = logits.argmax(-1)
        right = best == asked.answer if asked.answer is not None else torch.full_like(best, -1)
        return _stacked(value, right, logits, before)


def _stacked(value: Tensor, right: Tensor, logits: Tensor, before: Tensor) -> np.ndarray:
    """Return metric, accuracy, agreement with the unedited output, and KL from it, [4 example]."""
    old, new = before.log_softmax(-1), logits.log_softmax(-1)
    kl = (old.exp() * (old - new)).sum(-1)
    agrees = logits.argmax(-1) == before.argmax(-1)
    return torch.stack([value.float(), right.float(), agrees.float(), kl]).double().cpu().numpy()


def _joined(draws: Sequence[Draw]) -> Draw:
    first = draws[0]
    return Draw(
        np.concatenate([draw.x for draw in draws]),
        None if first.o is None else np.concatenate([draw.o for draw in draws if draw.o is not None]),
        {site: np.concatenate([draw.components.get(site, draw.x) for draw in draws]) for site in first.components},
    )
