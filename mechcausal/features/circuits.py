"""Sparse feature circuits: which features, in which layers, carry a behavior, and through which edges.

    node   a feature of one of several dictionaries, or the error of one: what it does not reconstruct
    edge   from a node to one of a later dictionary, or to the metric, along all ways that pass no dictionary between

Both are integrated gradients (Marks et al. 2024). For the nodes of one dictionary the whole activation moves from one
prompt of a pair to the other, and features and error share out its exact effect. For the edges into a node the
activation of an earlier dictionary moves in the same way, what lies between is held, and the earlier features and error
share out the change of the later node, weighted by what a unit of it does to the metric. Where positions are told apart,
what lies elsewhere is no node: it is neither moved nor held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.circuits.graph import Graph, Node, turn_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions, places
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, SiteError
from mechcausal.features.attribution import add_scores, changes, differentiable, slope
from mechcausal.features.kept import Faithfulness, faithfulness, in_turn, told_apart
from mechcausal.features.links.effects import halves
from mechcausal.interventions.specs import Edit, Interpolate, Patch
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import Bound, attached
from mechcausal.models.engine import align, in_batches
from mechcausal.models.hooked import Source, forward, gradient_reads
from mechcausal.patching.sweep import MetricSpec, two_sides
from mechcausal.results.result import load as load_result

OUTPUT = Node(Site("logits"))


@dataclass(frozen=True, repr=False)
class FeatureCircuit:
    """A circuit of features: the graph, and how much of the behavior it keeps.

    Attributes:
        graph: Nodes and edges with their scores, on the pairs by which they were chosen.
        faithfulness: What the circuit keeps of the behavior, on the other pairs.
    """

    graph: Graph
    faithfulness: Faithfulness

    @property
    def coverage(self) -> pd.DataFrame:
        """For each dictionary: the exact effect of its whole activation, the sum of all nodes, the share of the error.

        Where sum and effect differ, take more steps. Where the error's share is large, the dictionary misses what
        matters, and a circuit of its features tells only part of the story.
        """
        return pd.DataFrame(self.graph.about["coverage"])

    def summary(self) -> str:
        """Say what the circuit is, how much it keeps, and how much the dictionaries miss."""
        lines = [self.graph.summary(), self.faithfulness.summary()]
        for _, row in self.coverage.iterrows():
            lines.append(
                f"  {row['dictionary']} at {row['site']}: effect {row['effect']:+.3f}, sum of nodes {row['sum']:+.3f}, "
                f"error {row['error_share']:.0%}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        import html

        from mechcausal.circuits.drawing import still

        return f"<div>{still(self.graph)}<pre>{html.escape(self.summary())}</pre></div>"

    def save(self, folder: str | Path) -> Path:
        """Write graph and faithfulness to a folder."""
        folder = Path(folder)
        self.graph.save(folder / "graph.json")
        self.faithfulness.save(folder / "faithfulness.parquet")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> FeatureCircuit:
        """Read what `save` wrote."""
        plain = load_result(Path(folder) / "faithfulness.parquet")
        return cls(Graph.load(Path(folder) / "graph.json"), Faithfulness(**vars(plain)))


def circuit(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    dictionaries: Sequence[Bound | str] | None = None,
    *,
    nodes: int = 40,
    node_threshold: float = 0.0,
    edge_threshold: float = 0.0,
    steps: int = 8,
    positions: Positions = "all",
    direction: str = "noise",
    metric: MetricSpec = "logit_diff",
    random: int = 5,
    batch_size: int = 64,
    seed: int = 0,
) -> FeatureCircuit:
    """Find the circuit of features behind a behavior, and measure what it keeps of it.

    Estimand of a node: its share of the exact effect of taking the whole activation from the other prompt, by integrated
    gradients. Of an edge: its sender's share of the change of its receiver, times what a unit of the receiver does.
    Nodes and edges are chosen on one half of the clusters; `faithfulness` is measured by intervention on the other.

    Args:
        model: The model.
        pairs: Pairs of prompts.
        dictionaries: Dictionaries of different activations, or their names; all that are attached unless given.
        nodes: How many nodes are kept at most, over all dictionaries.
        node_threshold: The smallest score of a node that is kept.
        edge_threshold: The smallest score of an edge that is kept.
        steps: How many points on the paths.
        positions: At which positions nodes are told apart: `"all"` at once, `"each"`, or a list; elsewhere nothing is
            exchanged.
        direction: `"noise"` (base clean) or `"denoise"`.
        metric: A metric's name, or a differentiable function of (logits, batch).
        random: How many random circuits of the same size are measured beside it.
        batch_size: How many pairs at a time.
        seed: The seed of the halves and of the random circuits.

    Example:
        >>> import mechcausal as mc, torch
        >>> from mechcausal.models.dictionaries import attach
        >>> class Axes:
        ...     W_dec = torch.eye(48)
        ...     encode = decode = lambda self, x: x
        >>> model = mc.load("organism:hiring")
        >>> axes = [attach(model, Axes(), f"L{i}.resid_post", name=f"axes{i}") for i in (1, 2)]
        >>> found = circuit(model, mc.contrast("hiring/gender", model, n=32), axes, nodes=6, steps=2)
        >>> len(found.graph)
        7
    """
    if nodes < 1 or steps < 1:
        raise DataError("a circuit has nodes, and its paths have steps", got=f"nodes {nodes}, steps {steps}")
    known = in_turn(model, list(attached(model)) if dictionaries is None else dictionaries)
    if not known:
        raise SiteError("no dictionary is attached to this model", fix="mc.features.load(PATH, model) attaches one")
    chosen = differentiable(metric)
    abilities(model).require([one.features for one in known])
    chosen_by, measured_on = halves(pairs.clean.clusters, len(pairs), seed)
    ours = pairs.take(chosen_by.tolist())
    at = tuple(place.at for place in places([known[0].features], positions, ours.clean))
    job = Scorer(model, known, chosen, at, steps, direction, batch_size)
    scores = job.nodes(ours)
    ranked = Graph(_scored(known, at, scores)).threshold(node=max(node_threshold, 1e-12)).top(nodes=nodes)
    edges = job.edges(ours, list(ranked.nodes))
    about = {
        "metric": chosen.name, "direction": direction, "steps": steps, "pairs": ours.hash, "n": len(ours),
        "positions": [str(place) for place in at],
        "candidates": int(sum((table != 0).sum() for table in scores.values())), "coverage": job.coverage(scores),
    }  # fmt: skip
    graph = Graph({**ranked.nodes, OUTPUT: np.nan}, edges, about).threshold(edge=edge_threshold)
    measured = faithfulness(
        model, graph, pairs.take(measured_on.tolist()), among=known, positions=at, direction=direction, metric=chosen,
        random=random, batch_size=batch_size, seed=seed,
    )  # fmt: skip
    return FeatureCircuit(graph, measured)


def _scored(known: Sequence[Bound], at: Sequence[Selection], scores: dict[str, np.ndarray]) -> dict[Node, float]:
    """Return the nodes that have a score; the error comes after the features."""
    found = {}
    for one in known:
        for place, number in zip(*np.nonzero(scores[one.name]), strict=True):
            site = one.error if number == one.n_features else one.feature(int(number))
            found[Node(site, at[place])] = float(scores[one.name][place, number])
    return found


@dataclass
class Scorer:
    """Scores of nodes and of edges.

    Attributes:
        model: The bridge.
        known: The dictionaries, in the order in which the model meets them.
        metric: The metric.
        at: The positions at which nodes are told apart.
        steps: How many points on each path.
        direction: Which side of a pair is the base.
        batch_size: How many pairs at a time.
        effects: The exact effect of the whole activation of each dictionary at these positions, once nodes are scored.
    """

    model: Any
    known: Sequence[Bound]
    metric: Metric
    at: Sequence[Selection]
    steps: int
    direction: str
    batch_size: int
    effects: dict[str, float] = field(default_factory=dict)

    def nodes(self, pairs: Contrast) -> dict[str, np.ndarray]:
        """Return the score of every node of every dictionary, [place feature]; the error comes last."""
        n = len(pairs)
        totals = {one.name: torch.zeros(len(self.at), one.n_features + 1, dtype=torch.double) for one in self.known}
        exact = dict.fromkeys(totals, 0.0)

        def one_batch(batch: _Batch) -> None:
            new = {one.name: batch.shares(one, self.steps) for one in self.known}
            effects = {one.name: batch.effect(one) for one in self.known}
            for name in new:  # only now: a batch that ran out of memory is tried again
                totals[name] += new[name].cpu()
                exact[name] += effects[name]

        self._over(pairs, one_batch)
        self.effects = {name: total / n for name, total in exact.items()}
        return {name: (total / n).numpy() for name, total in totals.items()}

    def edges(self, pairs: Contrast, nodes: Sequence[Node]) -> dict[tuple[Node, Node], float]:
        """Return the score of every edge between these nodes, and from them to the metric."""
        totals: dict[tuple[Node, Node], float] = {}

        def one_batch(batch: _Batch) -> None:
            new: dict[tuple[Node, Node], float] = {}
            for number, sender in enumerate(self.known):
                for receiver in (*self.known[number + 1 :], None):
                    new |= batch.between(sender, receiver, nodes, self.steps)
            for edge, value in new.items():
                totals[edge] = totals.get(edge, 0.0) + value

        self._over(pairs, one_batch)
        return {edge: value / len(pairs) for edge, value in totals.items() if value != 0}

    def coverage(self, scores: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return for each dictionary the effect of its activation, what its nodes sum to, and the share of the error."""
        rows = []
        for one in self.known:
            total, error = float(scores[one.name].sum()), float(scores[one.name][:, -1].sum())
            rows.append(
                {
                    "dictionary": one.name, "site": str(one.site), "effect": self.effects[one.name], "sum": total,
                    "error_share": error / total if abs(total) > 1e-12 else float("nan"),
                }
            )  # fmt: skip
        return rows

    def _over(self, pairs: Contrast, one_batch: Any) -> None:  # noqa: ANN401 - a function of a batch
        base, source = two_sides(pairs, self.direction)
        base, source, clean = align(base, source, pairs.clean)

        def run(index: Tensor) -> np.ndarray:
            device = bridge.device_of(self.model)
            one_batch(_Batch(self, *(side.take(index).to(device) for side in (base, source, clean))))
            return np.zeros((0, len(index)))

        with torch.inference_mode(False):
            in_batches(len(base), self.batch_size, run)


class _Batch:
    """One batch: what is read of both sides, and what a unit of each activation does to the metric."""

    def __init__(self, job: Scorer, batch: PromptSet, other: PromptSet, clean: PromptSet) -> None:
        self.job, self.model, self.batch = job, job.model, batch
        self.compared = forward(self.model, clean).logits if job.metric.compares else None
        reads = list(dict.fromkeys(site for one in job.known for site in (one.site, one.written)))
        self.here = forward(self.model, batch, read=reads).read
        self.there = forward(self.model, other, read=reads).read
        self.chosen = told_apart(job.at, batch)
        self.inside = torch.stack(self.chosen).any(0)
        self._slopes: dict[str, Tensor] = {}

    def slope(self, one: Bound, steps: int) -> Tensor:
        """Return what a unit of the activation does to the metric, on average along the path, [batch pos d_out]."""
        if one.name not in self._slopes:
            path = Source(self.there[one.written], self.inside), steps
            found = slope(self.model, self.batch, self.job.metric, self.compared, one.written, path=path)[0]
            self._slopes[one.name] = found.flatten(2)
        return self._slopes[one.name]

    def shares(self, one: Bound, steps: int) -> Tensor:
        """Return the sum over examples of what each node does, [place feature]; the error comes last."""
        weights = self.slope(one, steps)
        moved = (self.there[one.written] - self.here[one.written]).flatten(2)
        out = torch.zeros(len(self.chosen), one.n_features + 1, dtype=torch.double, device=moved.device)
        for number, chosen in enumerate(self.chosen):
            f, change = changes(one, self.here[one.site][chosen], self.there[one.site][chosen])
            rows = torch.zeros(len(f), dtype=torch.long, device=f.device)
            scores = out.new_zeros(1, one.n_features)
            add_scores(scores, one, f, change, weights[chosen], rows)
            out[number, :-1] = scores[0]
            missed = moved[chosen] - change @ one.W_dec
            out[number, -1] = (missed.double() * weights[chosen].double()).sum()
        return out

    @torch.no_grad()
    def effect(self, one: Bound) -> float:
        """Return the sum over examples of what taking the whole activation from the other prompt changes."""
        edit, source = Edit(one.written, Patch()), Source(self.there[one.written], self.inside)
        moved = forward(self.model, self.batch, [edit], sources=[source]).logits
        still = forward(self.model, self.batch).logits
        after, before = (self.job.metric(x, self.batch, self.compared).double().sum() for x in (moved, still))
        return float(after - before)

    def between(
        self, sender: Bound, receiver: Bound | None, nodes: Sequence[Node], steps: int
    ) -> dict[tuple[Node, Node], float]:
        """Return the edges from one dictionary to another, or to the metric, with everything between them held."""
        begin = turn_of(sender.written)
        end = OUTPUT.turn if receiver is None else turn_of(receiver.site)
        senders = [node for node in nodes if node.site.dictionary == sender.name]
        ends = [OUTPUT] if receiver is None else [node for node in nodes if node.site.dictionary == receiver.name]
        if begin >= end or not senders or not ends:
            return {}
        held = [one.written for one in self.job.known if begin < turn_of(one.written) < end]
        edits = [Edit(site, Patch()) for site in held]
        taken = [self.there[sender.written], *(self.here[site] for site in held)]
        sources = [Source(values, self.inside) for values in taken]
        (leaf,) = gradient_reads([sender.written])
        reads = [leaf, *([] if receiver is None else [receiver.site, receiver.written])]
        slopes = [torch.zeros_like(self.here[sender.written]).flatten(2) for _ in ends]
        for step in range(steps):
            moving = Edit(sender.written, Interpolate((step + 0.5) / steps))
            run = forward(
                self.model, self.batch, [moving, *edits], read=list(dict.fromkeys(reads)), sources=sources, grad=True
            )
            with torch.enable_grad():
                targets = self._targets(receiver, ends, run)
            for total, target in zip(slopes, targets, strict=True):
                if not target.requires_grad:
                    return {}
                (found,) = torch.autograd.grad(target, run.read[leaf], retain_graph=True, allow_unused=True)
                if found is None:  # what is held cuts every way: the stream itself, between two of its own layers
                    return {}
                total += found.flatten(2) / steps
        out: dict[tuple[Node, Node], float] = {}
        for end_node, weights in zip(ends, slopes, strict=True):
            out |= {(node, end_node): value for node, value in self._shared(sender, senders, weights)}
        return out

    def _targets(self, receiver: Bound | None, ends: Sequence[Node], run: Any) -> list[Tensor]:  # noqa: ANN401 - a Run
        """Return for each receiving node what it does to the metric, as a function of what it receives."""
        if receiver is None:
            return [self.job.metric(run.logits, self.batch, self.compared).sum()]
        unit = self.slope(receiver, self.job.steps)
        x, y = run.read[receiver.site], run.read[receiver.written]
        f = receiver.encode(x)
        error = None
        if any(node.site.error for node in ends):
            error = ((y - receiver.like(receiver.decode(f), y)).flatten(2) * unit).sum(-1)
        out = []
        for node in ends:
            chosen = self.chosen[list(self.job.at).index(node.at)]
            if node.site.error:
                assert error is not None
                out.append(error[chosen].sum())
            else:
                number = int(node.site.feature or 0)
                out.append((f[..., number] * (unit @ receiver.W_dec[number]))[chosen].sum())
        return out

    def _shared(self, sender: Bound, nodes: Sequence[Node], weights: Tensor) -> list[tuple[Node, float]]:
        """Return what each sending node adds to one receiver, the receiver's slope given."""
        moved = (self.there[sender.written] - self.here[sender.written]).flatten(2)
        numbers = [int(node.site.feature) for node in nodes if node.site.feature is not None]
        with torch.no_grad():
            change = changes(sender, self.here[sender.site], self.there[sender.site])[1]
            units = weights @ sender.W_dec[numbers].T
            found = []
            for node in nodes:
                chosen = self.chosen[list(self.job.at).index(node.at)]
                if node.site.error:
                    value = ((moved - change @ sender.W_dec) * weights).sum(-1)
                else:
                    number = int(node.site.feature or 0)
                    value = change[..., number] * units[..., numbers.index(number)]
                found.append((node, float(value[chosen].double().sum())))
        return found
