"""Sparse feature circuits: which features, in which layers, carry a behavior, and through which edges.

    node   a feature of one of several dictionaries, or the error of one: what it does not reconstruct
    edge   from a node to one of a later dictionary, or to the metric, along all ways that pass no dictionary between

Both are integrated gradients (Marks et al. 2024). All nodes of one dictionary move from what they are to what ablation
sets them to, what they are in the other prompt of a pair unless asked otherwise, and features and error share out the
exact effect. For the edges into a node the nodes of an earlier dictionary move in the same way, what lies between is held, and the earlier features and error
share out the change of the later node, weighted by what a unit of it does to the metric. Where positions are told apart,
what lies elsewhere is no node: it is neither moved nor held.

Gradients do not see a feature that jumps from zero to its threshold, as those of top-k and JumpReLU encoders do: into
such a node the edges may sum to less than its score. The node's own score does not suffer, because the path of the nodes
is straight whatever the encoder does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mechcausal.address import Place, Selection
from mechcausal.arguments import Count, CountOrZero, Model, Seed
from mechcausal.circuits.features.ablating import Ablation, AblationKind
from mechcausal.circuits.features.kept import Faithfulness, Keeping, in_turn
from mechcausal.circuits.features.scores import OUTPUT, Scorer
from mechcausal.circuits.graph import Graph
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions, places
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import FEWEST, cluster_numbers, split
from mechcausal.dictionaries.screening.attribution import differentiable
from mechcausal.errors import SiteError
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import Bound, attached
from mechcausal.patching.sweep import MetricSpec


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
        """For each dictionary: the exact effect of ablating all its nodes, the sum of all nodes, the share of the error.

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

    def write(self, path: str | Path, **options: Any) -> Path:  # noqa: ANN401 - those of mc.circuits.write
        """Write the graph for another tool, such as `format="attribution-graph"`; `mc.circuits.write` has the options."""
        return self.graph.write(path, **options)

    @classmethod
    def load(cls, folder: str | Path) -> FeatureCircuit:
        """Read what `save` wrote."""
        measured = Faithfulness.load(Path(folder) / "faithfulness.parquet")
        return cls(Graph.load(Path(folder) / "graph.json"), measured)


@dataclass(frozen=True, kw_only=True)
class FeatureCircuiting(Method[Contrast, FeatureCircuit]):
    """Find the circuit of features behind a behavior, and measure what it keeps of it.

    Estimand of a node: its share of the exact effect of ablating all nodes of its dictionary, by integrated gradients.
    Of an edge: its sender's share of the change of its receiver, times what a unit of the receiver does. A negative
    score works against the change. Nodes and edges are chosen on one half of the clusters; `faithfulness` is measured by
    intervention on the other. The clean prompts are the run that is ablated; exchange the sides of the pairs for the
    other way around.

    Attributes:
        dictionaries: Dictionaries of different activations, or their names; by default all that are attached.
        nodes: How many nodes are kept at most, over all dictionaries.
        node_threshold: The smallest score of a node that is kept.
        edge_threshold: The smallest score of an edge that is kept.
        steps: How many points on the paths.
        at: At which positions nodes are told apart: `"all"` at once, `"each"`, or a list; elsewhere nothing is ablated.
        ablation: What nodes are set to, in their scores and outside the circuit: `"counterfactual"`, `"mean"` or
            `"zero"`; see `faithfulness`, which measures a circuit that was found by one under another.
        reference: The prompts whose means are taken; by default both sides of the half at hand.
        metric: A metric's name, or a differentiable function of (logits, batch).
        random: How many random circuits of the same size are measured beside it.
        batch_size: How many pairs at a time.
        seed: The seed of the halves and of the random circuits.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> sae = mc.features.load(model, "organism:hiring")
        >>> small = circuit(model, mc.contrast("hiring/gender", model, n=32), [sae], nodes=6, steps=2)
        >>> len(small.graph)
        7
    """

    word: ClassVar[str] = "feature_circuit"
    dictionaries: Sequence[Bound | str] | None = field(default=None, kw_only=False)
    nodes: Count = 40
    node_threshold: float = 0.0
    edge_threshold: float = 0.0
    steps: Count = 8
    at: Positions = "all"
    ablation: AblationKind = "counterfactual"
    reference: PromptSet | Contrast | None = None
    metric: MetricSpec = "logit_diff"
    random: CountOrZero = 5
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Contrast) -> FeatureCircuit:
        """Score nodes and edges on one half of the pairs, and measure the circuit on the other."""
        dictionaries, metric = self._asked(model)
        chosen_by, measured_on = split(
            cluster_numbers(data.clean.clusters, len(data)), 0.5, self.seed, fewest=FEWEST, what="pairs"
        )
        pairs = data.take(chosen_by.tolist())
        at = tuple(place.at for place in places([dictionaries[0].features], self.at, pairs.clean))
        ablation = Ablation.of(model, dictionaries, at, pairs, self.ablation, self.reference, self.batch_size)
        scorer = Scorer(model, dictionaries, metric, at, self.steps, self.batch_size, ablation)
        scores = scorer.nodes(pairs)
        scored = Graph(_scored(dictionaries, at, scores))
        ranked = scored.threshold(node=max(self.node_threshold, 1e-12)).top(nodes=self.nodes)
        edges = scorer.edges(pairs, list(ranked.nodes))
        about = {
            "metric": metric.name, "steps": self.steps, "pairs": pairs.hash, "n": len(pairs),
            "at": [str(place) for place in at], **ablation.described,
            "candidates": int(sum((table != 0).sum() for table in scores.values())),
            "coverage": scorer.coverage(scores),
        }  # fmt: skip
        graph = Graph({**ranked.nodes, OUTPUT: np.nan}, edges, about).threshold(edge=self.edge_threshold)
        measured = Keeping(
            graph, among=dictionaries, at=at, ablation=self.ablation, reference=self.reference, metric=metric,
            random=self.random, batch_size=self.batch_size, seed=self.seed,
        ).run(model, data.take(measured_on.tolist()))  # fmt: skip
        return FeatureCircuit(graph, measured)

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Return what it would take: forwards and backwards of scores and edges, and the runs of faithfulness."""
        dictionaries, _ = self._asked(model)
        half, count = len(data) // 2, len(dictionaries)
        scoring = half * (2 + 2 * count + self.steps * (count + count * (count + 1) // 2))
        measuring = half * (1 + (count + 2) * (3 + self.random))
        features = sum(dictionary.n_features for dictionary in dictionaries)
        return Cost(features, len(data), scoring + measuring, features * len(data))

    def _asked(self, model: Model) -> tuple[list[Bound], Metric]:
        """Return the dictionaries in the order of the model, and the metric."""
        dictionaries = in_turn(model, list(attached(model)) if self.dictionaries is None else self.dictionaries)
        if not dictionaries:
            raise SiteError("no dictionary is attached to this model", fix="mc.features.load(model, PATH) attaches one")
        abilities(model).require([dictionary.features for dictionary in dictionaries])
        return dictionaries, differentiable(self.metric)


circuit = function(FeatureCircuiting, about="Pairs of prompts.", name="circuit")


def _scored(
    dictionaries: Sequence[Bound], at: Sequence[Selection], scores: dict[str, np.ndarray]
) -> dict[Place, float]:
    """Return the nodes that have a score; the error comes after the features."""
    nodes = {}
    for dictionary in dictionaries:
        for place, number in zip(*np.nonzero(scores[dictionary.name]), strict=True):
            site = dictionary.error if number == dictionary.n_features else dictionary.feature(int(number))
            nodes[Place(site, at[place])] = float(scores[dictionary.name][place, number])
    return nodes
