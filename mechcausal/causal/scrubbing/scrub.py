"""Causal scrubbing: if a hypothesis is right, everything it calls irrelevant can be replaced and nothing is lost.

Every node's input is exchanged for a random one that agrees on what the node is said to depend on, recursively, and all
other inputs for random ones (Chan et al. 2022). What is left of the performance, between outputs exchanged at random
(0) and the untouched network (1), is the share that the hypothesis explains. Where it is lost is found by sparing one
claim at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.causal.hypothesis import Hypothesis, same_kind
from mechcausal.causal.scrubbing.evaluation import Schedule, Tree
from mechcausal.causal.scrubbing.sampling import CLAIM, REST, Draw, Sampler, Unimportant
from mechcausal.causal.scrubbing.scrubbed import Scrubbed, frame_of
from mechcausal.causal.scrubbing.tree import EXACT, Node, check_tree, tree_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, MechcausalError
from mechcausal.metrics import Metric, MetricFunction, at_read_position
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.engine import Exact, check_exact, check_prompts, in_batches
from mechcausal.models.facts import facts
from mechcausal.models.hooked import forward
from mechcausal.results.provenance import Provenance

_PERMUTATIONS = 8
_MOST_DROPPED = 8
_TRIES = 50
Spared = frozenset[tuple[str, str]]


def scrub(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    hypothesis: Hypothesis | Node,
    prompts: PromptSet | Contrast,
    *,
    metric: str | MetricFunction | Metric = "logprob",
    n: int | None = None,
    seeds: int = 3,
    seed: int = 0,
    unimportant: Unimportant = "joint",
    pool: int | None = None,
    lonely: str = "refuse",
    report: bool = True,
    controls: bool = True,
    batch_size: int = 64,
    exact: Exact = "replay",
) -> Scrubbed:
    """Measure how much of the network's performance a hypothesis explains, and which of its claims loses the rest.

    Estimand: the mean over reference prompts and draws of `metric(scrubbed output, the reference's own answer)`, as a
    share of the way from outputs of other prompts (0) to the untouched network (1).

    Args:
        model: The model.
        hypothesis: A causal model with its alignment, or a tree of nodes written by hand.
        prompts: The data, whose variables say which prompts agree; it is both the references and what is drawn from.
        metric: A metric that reads the answer's position; the log-probability of the answer unless said.
        n: How many of the prompts are references; all of them unless said.
        seeds: How often everything is drawn anew for each reference.
        seed: The first seed.
        unimportant: Whether a node's unimportant inputs come from one prompt (`"joint"`, one for each node), from one
            for the whole tree (`"together"`), or from one for each component (`"independent"`, the most destructive).
        pool: How many prompts of each class may be drawn; all of them unless said.
        lonely: What to do with values that one prompt alone has: `"refuse"`, or `"keep"` these unscrubbed.
        report: Whether to spare each claim in turn, which finds the one that loses most.
        controls: Whether to run three wrong hypotheses: features permuted, sites shuffled, one node dropped.
        batch_size: How many prompts at a time.
        exact: `"replay"` computes only what can have changed, where the engine was found to agree with the loop;
            `"naive"` runs every distinct input from the start.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, 200, environment="broad")
        >>> found = mc.scrub(model, mc.causal.Hypothesis.of("hiring"), prompts, controls=False, lonely="keep")
        >>> bool(found.recovered.estimate > 0.97)
        True
    """
    job = _Job(
        model, hypothesis, prompts, metric_of(metric), n, seeds, seed, unimportant, pool, lonely, batch_size, exact
    )
    variants: dict[tuple[str, str], Spared] = {("hypothesis", ""): frozenset()}
    if report:
        for node in job.root.walk():
            if node is not job.root and node.feature != EXACT:
                variants[node.name, CLAIM] = frozenset({(node.name, CLAIM)})
            if node.children:
                variants[node.name, REST] = frozenset({(node.name, REST)})
    rows = job.run(job.root, variants)
    if controls:
        rows += job.controls()
    return job.result("scrub", rows, report=report, controls=controls)


def ladder(
    model: Any,  # noqa: ANN401
    hypothesis: Hypothesis | Node,
    prompts: PromptSet | Contrast,
    *,
    metric: str | MetricFunction | Metric = "logprob",
    n: int | None = None,
    seeds: int = 3,
    seed: int = 0,
    unimportant: Unimportant = "joint",
    pool: int | None = None,
    lonely: str = "refuse",
    batch_size: int = 64,
    exact: Exact = "replay",
) -> Scrubbed:
    """Scrub more and more: first nothing, then one claim after the other from the output down, until all is scrubbed.

    Each row adds a claim to those above it, so its loss is the cost of that claim given the earlier ones. The
    arguments are those of `scrub`.
    """
    job = _Job(
        model, hypothesis, prompts, metric_of(metric), n, seeds, seed, unimportant, pool, lonely, batch_size, exact
    )
    steps: list[tuple[str, str]] = []
    level = [job.root]
    while level:
        for node in level:
            steps += [(child.name, CLAIM) for child in node.children if child.feature != EXACT]
            steps += [(node.name, REST)] if node.children else []
        level = [child for node in level for child in node.children]
    everything = frozenset(steps)
    variants: dict[tuple[str, str], Spared] = {("nothing", ""): everything}
    for number, step in enumerate(steps, start=1):
        variants[step] = everything - set(steps[:number])
    return job.result("ladder", job.run(job.root, variants))


def plan(
    model: Any,  # noqa: ANN401
    hypothesis: Hypothesis | Node,
    prompts: PromptSet | Contrast,
    *,
    n: int | None = None,
    seeds: int = 3,
    seed: int = 0,
    unimportant: Unimportant = "joint",
    pool: int | None = None,
    lonely: str = "refuse",
    exact: Exact = "replay",
) -> Cost:
    """Return what scrubbing once, without report and controls, would cost and draw; nothing is run."""
    job = _Job(model, hypothesis, prompts, metric_of("logprob"), n, seeds, seed, unimportant, pool, lonely, 1, exact)
    tree, samples, schedule = job.prepare(job.root, [frozenset()])
    sampler = job.sampler(job.root)
    nodes = [
        {
            "node": node.name,
            "parts": " + ".join(map(str, node.parts)) or "output",
            "edge": node.edge,
            "classes": len(sampler.classes[node.name].sizes),
            "smallest_class": int(sampler.classes[node.name].sizes.min()),
            "distinct_inputs": len(np.unique(schedule.ids[node.name])),
        }
        for node in tree.root.walk()
    ]
    return Cost(
        examples=len(job.rows) * seeds,
        forwards=schedule.forwards,
        plain_forwards=schedule.plain,
        self_hits=sampler.self_hits(samples, tree.same),
        nodes=pd.DataFrame(nodes),
    )


@dataclass(frozen=True, repr=False)
class Cost:
    """What scrubbing would cost.

    Attributes:
        examples: Prompts times draws.
        forwards: How much is run, in forwards of a whole prompt through all layers.
        plain_forwards: How many forwards there are with one for each node and example.
        self_hits: How often a draw returns the prompt itself, which then is not scrubbed.
        nodes: For each node the classes of what it depends on, the smallest of them, and its distinct inputs.
    """

    examples: int
    forwards: int
    plain_forwards: int
    self_hits: float
    nodes: pd.DataFrame

    def __repr__(self) -> str:
        """Print the totals and a line for each node."""
        total = f"{self.examples} examples, {self.forwards} forwards ({self.plain_forwards} without sharing)"
        table = self.nodes.to_string(index=False)
        return f"{total}; {self.self_hits:.1%} of the draws return the prompt itself\n{table}"


@dataclass
class _Job:
    """One request: checked, with the untouched runs it is measured against."""

    model: Any
    hypothesis: Hypothesis | Node
    given: PromptSet | Contrast
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
        bridge.require_bridge(self.model)
        self.pool = self.given.clean if isinstance(self.given, Contrast) else self.given
        self.metric.check(self.pool)
        check_prompts(self.model, self.pool)
        if self.seeds < 1:
            raise DataError("at least one draw is needed", got=self.seeds)
        count = len(self.pool) if self.n is None else self.n
        if not 2 <= count <= len(self.pool):
            raise DataError("the references are some of the prompts", got=count, expected=f"2 to {len(self.pool)}")
        self.rows = np.arange(count)
        self.root = tree_of(self.hypothesis) if isinstance(self.hypothesis, Hypothesis) else self.hypothesis
        check_exact(self.exact)
        self.forwards = self.plain = 0
        self.replayed = False
        self._untouched: Tensor | None = None

    def sampler(self, root: Node, permuted: int | None = None) -> Sampler:
        """Return the sampler of a tree over the prompts."""
        return Sampler(root, self.pool, unimportant=self.unimportant, size=self.size, permuted=permuted)

    def prepare(
        self, root: Node, variants: Sequence[Spared], permuted: int | None = None
    ) -> tuple[Tree, dict[str, Draw], Schedule]:
        """Check a tree, draw for every variant, seed and reference, and schedule it."""
        tree = Tree(self.model, root, self.pool, batch_size=self.batch_size, exact=self.exact)
        sampler = self.sampler(root, permuted)
        sampler.check(lonely=self.lonely)
        drawn = [
            sampler.draw(self.rows, seed, exact=exact, components=tree.components)
            for exact in variants
            for seed in range(self.seed, self.seed + self.seeds)
        ]
        samples = {name: _joined([one[name] for one in drawn]) for name in drawn[0]}
        return tree, samples, tree.schedule(samples)

    def run(
        self, root: Node, variants: Mapping[tuple[str, str], Spared], permuted: int | None = None, kind: str = ""
    ) -> list[dict[str, Any]]:
        """Scrub under every variant; return one row each, with the scores of every reference and draw."""
        tree, samples, schedule = self.prepare(root, list(variants.values()), permuted)
        references = samples[root.name].x

        def score(logits: Tensor, which: np.ndarray) -> np.ndarray:
            return self._scores(logits, references[which])

        found = tree.run(schedule, samples, score).reshape(4, len(variants), -1)
        self.forwards += schedule.forwards
        self.replayed |= schedule.keep
        self.plain += schedule.plain
        count = len(self.rows) * self.seeds  # the first variant's draws
        first = {name: Draw(draw.x[:count]) for name, draw in samples.items()}
        hits = self.sampler(root, permuted).self_hits(first, tree.same)
        rows = []
        for number, (name, claim) in enumerate(variants):
            values, accuracy, agreement, kl = found[:, number]
            node = next((one for one in root.walk() if one.name == name), None)
            rows.append(
                {"node": name, "kind": kind or claim or name, "parts": node.sites if node else (), "examples": values}
                | {"accuracy": accuracy.mean(), "agreement": agreement.mean(), "kl": kl.mean(), "self_hits": hits}
            )
        return rows

    def controls(self) -> list[dict[str, Any]]:
        """Run hypotheses that should fail: features permuted, sites shuffled, one node dropped."""
        whole = {("hypothesis", ""): frozenset()}
        found = []
        for row in self.run(self.root, whole, permuted=self.seed, kind="control"):
            found.append(row | {"node": "features permuted"})
        shuffled = self._shuffled()
        if shuffled is not None:
            found += [row | {"node": "sites shuffled"} for row in self.run(shuffled, whole, kind="control")]
        inner = [node for node in self.root.walk() if node is not self.root]
        for node in inner[:_MOST_DROPPED] if len(inner) > 1 else []:
            dropped = self.root.dropped(node.name)
            if dropped.children:
                rows = self.run(dropped, whole, kind="control")
                found += [row | {"node": f"{node.name} dropped"} for row in rows]
        return found

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

    def result(self, method: str, rows: Sequence[dict[str, Any]], **arguments: Any) -> Scrubbed:  # noqa: ANN401
        """Make the result."""
        clean = self._scores(self.untouched[torch.as_tensor(self.rows)], self.rows)
        draw = np.random.default_rng([self.seed, 29])
        others = [
            self._scores(self.untouched[torch.as_tensor((self.rows + draw.integers(1, len(self.pool), len(self.rows))) % len(self.pool))], self.rows)
            for _ in range(_PERMUTATIONS)
        ]  # fmt: skip
        random = np.mean(others, axis=0)
        repeat = lambda values: np.tile(values, self.seeds)  # noqa: E731
        baselines = {"base": repeat(clean[0]), "clean": repeat(clean[0]), "corrupt": repeat(random[0])}
        clusters = self.pool.clusters or tuple(f"prompt {i}" for i in range(len(self.pool)))
        names = tuple(repeat(np.asarray(clusters)[self.rows]).tolist())
        groups = tuple(repeat(np.asarray(self.pool.groups)[self.rows]).tolist()) if self.pool.groups else ()
        told = {"accuracy": float(clean[1].mean()), "random_accuracy": float(random[1].mean())}
        provenance = Provenance(
            method=method,
            arguments={
                "metric": self.metric.name, "hypothesis": str(self.root), "references": len(self.rows), "draws": self.seeds,
                "unimportant": self.unimportant, "pool": self.size, "lonely": self.lonely, **arguments,
            },
            seed=self.seed,
            **facts(
                self.model, self.pool, started=self.started, forwards=self.forwards, batch_size=self.batch_size,
                plain_forwards=self.plain, engine="replay" if self.replayed else "naive", **told,
            ),
        )  # fmt: skip
        frame, examples = frame_of(rows, baselines, names)
        return Scrubbed(frame, provenance, examples, baselines, groups, names)

    @property
    def untouched(self) -> Tensor:
        """The logits of every prompt at its read position, by the network as it is."""
        if self._untouched is None:
            kept: list[Tensor] = []

            def one_batch(index: Tensor) -> np.ndarray:
                batch = self.pool.take(index).to(bridge.device_of(self.model))
                kept.append(at_read_position(forward(self.model, batch).logits, batch).float())
                return np.zeros((1, len(index)))

            in_batches(len(self.pool), self.batch_size, one_batch)
            self._untouched = torch.cat(kept)
        return self._untouched

    def _scores(self, logits: Tensor, references: np.ndarray) -> np.ndarray:
        """Return metric, accuracy, agreement with the untouched answer, and KL from it, [4 example]."""
        index = torch.as_tensor(references)
        before = self.untouched[index.to(self.untouched.device)]
        # The output was computed elsewhere: only what the reference calls for is known here, not its tokens.
        own = self.pool.take(index)
        asked = replace(
            own, tokens=own.tokens[:, -1:], mask=torch.ones_like(own.mask[:, -1:]), read=None, positions={}
        ).to(logits.device)
        value = self.metric(logits[:, None], asked, before[:, None] if self.metric.compares else None)
        old, new = before.log_softmax(-1), logits.log_softmax(-1)
        kl = (old.exp() * (old - new)).sum(-1)
        best = logits.argmax(-1)
        right = best == asked.answer if asked.answer is not None else torch.full_like(best, -1)
        return (
            torch.stack([value.float(), right.float(), (best == before.argmax(-1)).float(), kl]).double().cpu().numpy()
        )


def _joined(draws: Sequence[Draw]) -> Draw:
    first = draws[0]
    return Draw(
        np.concatenate([one.x for one in draws]),
        None if first.o is None else np.concatenate([one.o for one in draws if one.o is not None]),
        {site: np.concatenate([one.components.get(site, one.x) for one in draws]) for site in first.components},
    )
