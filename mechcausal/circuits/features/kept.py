"""Keep a circuit of features and ablate the rest of them: what is left of the behavior?

Dictionary by dictionary, in the order in which the model computes them, the features and the error of the run are read,
those outside the circuit are set to what they are in the other prompt, to their mean or to zero, and the run goes on
with that. Features of the circuit so see what their ablated neighbors below made of the activation, as they would in a
model that has only the circuit.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Selection, Site
from mechcausal.arguments import Count, CountOrZero, Model, Seed
from mechcausal.circuits.features.ablating import Ablation, AblationKind, Move, told_apart
from mechcausal.circuits.graph import Graph
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.screening.attribution import fitting
from mechcausal.errors import DataError, SiteError
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.attached import Bound, bound
from mechcausal.models.engine import align, in_batches
from mechcausal.models.hooked import Source, forward
from mechcausal.patching.sweep import MetricSpec, Recorder
from mechcausal.results.intervals import Interval, ratio_interval
from mechcausal.results.result import Result

CIRCUIT, REST, DRAWN = "circuit", "rest", "random"


@dataclass(frozen=True, repr=False)
class Faithfulness(Result):
    """The result of `faithfulness`: one row for the circuit, one for all but the circuit, one for each random circuit.

    `effect` is the share of the behavior that is left: 1 as in the whole model, 0 as with all nodes ablated. Beside
    the columns of every result: `kind` (`circuit`, `rest`, `random`) and `nodes`, how many are kept.
    """

    @property
    def faithfulness(self) -> Interval:
        """The share of the behavior that the circuit alone keeps."""
        return self._share(CIRCUIT)

    @property
    def completeness(self) -> Interval:
        """The share that is kept by all nodes but the circuit's: near zero if the circuit is all there is."""
        return self._share(REST)

    @property
    def of_random(self) -> tuple[float, float]:
        """The smallest and the largest share that random circuits of this size keep."""
        shares = self.frame.loc[self.frame["kind"] == DRAWN, "effect"]
        return (float(shares.min()), float(shares.max())) if len(shares) else (np.nan, np.nan)

    def _share(self, kind: str) -> Interval:
        number = int(np.flatnonzero((self.frame["kind"] == kind).to_numpy())[0])
        none = self.baselines["corrupt"]
        return ratio_interval(self.examples[number] - none, self.baselines["clean"] - none, self.clusters)

    @property
    def _tested(self) -> str:
        """Nothing: the rows are the circuit and what it is compared with."""
        return ""

    def _head_lines(self) -> list[str]:
        """Say what was ablated, and what the whole model does."""
        intact, none = (np.nanmean(self.baselines[name]) for name in ("clean", "corrupt"))
        nodes = int(self.frame.loc[self.frame["kind"] == CIRCUIT, "nodes"].iloc[0])
        by = self.provenance.arguments.get("ablation", "counterfactual")
        return [
            f"circuit of {nodes} nodes on {self.examples.shape[1]} pairs, the rest ablated ({by}): whole model {intact:.3f}, "
            f"nothing kept {none:.3f}"
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say how much the circuit keeps, how much the rest does, and how much random circuits do."""
        del k  # every row is said
        lines = []
        for name, share in (("faithfulness", self.faithfulness), ("completeness", self.completeness)):
            lines.append(f"  {name} {share.estimate:.3f} [{share.low:.3f}, {share.high:.3f}]")
        if np.isfinite(self.of_random[0]):
            pool = self.provenance.arguments["pool"]
            low, high = self.of_random
            lines.append(f"  random circuits of this size, of {pool} nodes ever active: {low:.3f} to {high:.3f}")
        return lines


@dataclass(frozen=True, kw_only=True)
class Keeping(Method[Contrast, Faithfulness]):
    """Measure how much of the behavior a circuit of features keeps, and how much is kept without it.

    Estimand: `(m(C) - m(nothing)) / (m(whole) - m(nothing))`, where `m(C)` is the mean metric of the clean run in which
    every node outside C, features and errors alike, is ablated (Marks et al. 2024, who ablate by the mean): 1 keeps all
    of the behavior, 0 nothing. For all nodes but the circuit's it is called completeness, and is small if nothing
    important is outside the circuit.

    Counterfactual ablation takes away only what the two prompts of a pair do not share, so that the circuit has to carry
    the difference and nothing else; the mean takes away what is particular to a prompt, and zero everything: there a
    circuit must also hold what is the same in all prompts.

    Attributes:
        graph: The circuit; its nodes are features and errors (others, such as the logits, are not ablated anyway).
        among: The dictionaries whose nodes are ablated; by default those of the circuit.
        at: The positions at which nodes are told apart; by default those of the circuit.
        ablation: What nodes outside are set to: `"counterfactual"`, their value in the other prompt of the pair;
            `"mean"`, by position where all prompts have one length, else over the tokens of their place; or `"zero"`.
        reference: The prompts whose means are taken; by default both sides of the pairs.
        metric: A metric's name, or a function of (logits, batch).
        random: How many random circuits of the same size are measured beside it.
        batch_size: How many pairs at a time.
        seed: The seed of the random circuits.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> sae, pairs = mc.features.load(model, "organism:hiring"), mc.contrast("hiring/gender", model, n=32)
        >>> small = mc.features.circuit(model, pairs, [sae], nodes=6, steps=2).graph
        >>> mc.features.faithfulness(model, pairs, small, ablation="zero", random=0).frame["kind"].tolist()
        ['circuit', 'rest']
    """

    word: ClassVar[str] = "faithfulness"
    graph: Graph = field(kw_only=False)
    among: Sequence[Bound | str] | None = None
    at: Sequence[str | int | Selection] | None = None
    ablation: AblationKind = "counterfactual"
    reference: PromptSet | Contrast | None = None
    metric: MetricSpec = "logit_diff"
    random: CountOrZero = 5
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Contrast) -> Faithfulness:
        """Run the circuit alone, the rest alone, and random circuits alone."""
        dictionaries, places, nodes = self._asked(model)
        base, metric = data.clean, metric_of(self.metric)
        circuit = kept(dictionaries, places, nodes)
        ablation = Ablation.of(model, dictionaries, places, data, self.ablation, self.reference, self.batch_size)
        batch_size = fitting(self.batch_size, base.tokens.shape[1], *dictionaries)
        alive = _alive(model, dictionaries, places, base, batch_size)
        draws = [_drawn(circuit, np.random.default_rng([self.seed, number]), alive) for number in range(self.random)]
        conditions = [circuit, {name: ~mask for name, mask in circuit.items()}, *draws]
        nothing = {name: torch.zeros_like(mask) for name, mask in circuit.items()}
        recorder = Recorder(
            model, data, metric, self.word,
            {
                "nodes": len(nodes), "dictionaries": [dictionary.name for dictionary in dictionaries],
                "at": [str(at) for at in places], "random": self.random, **ablation.described,
                "pool": int(sum((alive[name] | mask)[:, :-1].sum() for name, mask in circuit.items())),
            },
            seed=self.seed,
        )  # fmt: skip
        base, source = align(base, data.corrupt)
        runs, by_other = 0, ablation.kind == "counterfactual"

        def one_batch(index: Tensor) -> np.ndarray:
            nonlocal runs
            device = bridge.device_of(model)
            batch, other = (side.take(index).to(device) for side in (base, source))
            logits = forward(model, batch).logits
            compared = logits if metric.compares else None
            rows = [metric(logits, batch, compared).float().cpu().numpy()]
            for mask in (nothing, *conditions):
                logits = kept_alone(model, dictionaries, places, mask, batch, other, ablation)
                rows.append(metric(logits, batch, compared).float().cpu().numpy())
            runs += 1 + (len(dictionaries) + 1 + by_other) * (len(conditions) + 1)
            return np.stack(rows)

        values, used = in_batches(len(base), batch_size, one_batch)
        kinds = [CIRCUIT, REST, *[DRAWN] * self.random]
        where = [
            {
                "site": kind, "component": "circuit", "at": "@all",
                "label": kind if kind != DRAWN else f"{kind} {number}",
                "kind": kind, "nodes": int(sum(mask.sum() for mask in condition.values())),
            }
            for number, (kind, condition) in enumerate(zip(kinds, conditions, strict=True), start=-1)
        ]  # fmt: skip
        # The share that the circuit keeps lies between nothing (0) and the whole model (1).
        baselines = {"base": values[0], "clean": values[0], "corrupt": values[1]}
        result = recorder.result(where, values[2:], baselines, forwards=runs, batch_size=used)
        return Faithfulness(**vars(result))

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Return what it would take; nothing is run."""
        dictionaries, _, _ = self._asked(model)
        cells = 2 + self.random
        runs = 2 + (len(dictionaries) + 1 + (self.ablation == "counterfactual")) * (cells + 1)
        return Cost(cells, len(data), runs * len(data), runs * len(data))

    def _asked(self, model: Model) -> tuple[list[Bound], tuple[Selection, ...], list[Place]]:
        """Return the dictionaries in the order of the model, the positions, and the nodes of dictionaries."""
        nodes = [node for node in self.graph.nodes if node.site.dictionary is not None]
        names = (
            self.among if self.among is not None else list(dict.fromkeys(str(node.site.dictionary) for node in nodes))
        )
        dictionaries = in_turn(model, names)
        at = (
            tuple(dict.fromkeys(node.at for node in nodes)) if self.at is None else tuple(map(Selection.parse, self.at))
        )
        if not at:
            raise DataError("the circuit has no node of a dictionary, and no positions are given", got=repr(self.graph))
        return dictionaries, at, nodes


faithfulness = function(Keeping, about="Pairs, better not those by which the circuit was chosen.")


def in_turn(model: Any, dictionaries: Sequence[Bound | str]) -> list[Bound]:  # noqa: ANN401
    """Return dictionaries in the order in which the model meets them; no two may be about one activation."""
    ordered = [dictionary if isinstance(dictionary, Bound) else bound(model, dictionary) for dictionary in dictionaries]
    ordered.sort(key=lambda dictionary: dictionary.written.depth)
    for first, second in itertools.pairwise(ordered):
        if _same(first.written).depth == _same(second.written).depth:
            raise SiteError(
                "each of two dictionaries of one activation describes all of it, so their nodes would move it twice",
                got=f"{first.name} at {first.written} and {second.name} at {second.written}",
                fix="build a circuit of one of them",
            )
    return ordered


def _same(site: Site) -> Site:
    """Return the stream before a layer as what the layer below left."""
    before = site.component == "resid_pre" and bool(site.layer)
    return Site("resid_post", (site.layer or 0) - 1) if before else site


def kept(dictionaries: Sequence[Bound], places: Sequence[Selection], nodes: Sequence[Place]) -> dict[str, Tensor]:
    """Return for each dictionary which nodes are kept, [place feature]; the error comes last."""
    masks = {
        dictionary.name: torch.zeros(len(places), dictionary.n_features + 1, dtype=torch.bool)
        for dictionary in dictionaries
    }
    for node in nodes:
        name = str(node.site.dictionary)
        if name not in masks or node.at not in places:
            raise SiteError(f"{node} is not among the nodes that may be ablated", expected=", ".join(masks))
        if node.site.feature is None and not node.site.error:
            raise SiteError(f"{node} is a whole dictionary, and nodes are single features", fix=f"name {node.site}.F0")
        masks[name][places.index(node.at), -1 if node.site.error else node.site.feature] = True
    return masks


@torch.no_grad()
def kept_alone(
    model: Any,  # noqa: ANN401
    dictionaries: Sequence[Bound],
    places: Sequence[Selection],
    keep: Mapping[str, Tensor],
    batch: PromptSet,
    other: PromptSet,
    how: Ablation,
) -> Tensor:
    """Return the logits of the run in which only these nodes are the run's own, and the others are ablated."""
    reads = list(dict.fromkeys(site for dictionary in dictionaries for site in (dictionary.site, dictionary.written)))
    there = forward(model, other, read=reads).read if how.kind == "counterfactual" else {}
    chosen = told_apart(places, batch)
    inside = torch.stack(chosen).any(0)
    edits: list[Edit] = []
    sources: list[Source] = []
    for dictionary in dictionaries:
        here = forward(model, batch, edits, read=[dictionary.site, dictionary.written], sources=sources).read
        values = here[dictionary.written].clone()
        values[inside] = Move.of(dictionary, how, chosen, here, there).keeping(keep[dictionary.name])
        edits.append(Edit(dictionary.written, Patch()))
        sources.append(Source(values, inside))
    return forward(model, batch, edits, sources=sources).logits


@torch.no_grad()
def _alive(
    model: Any,  # noqa: ANN401
    dictionaries: Sequence[Bound],
    places: Sequence[Selection],
    prompts: PromptSet,
    batch_size: int,
) -> dict[str, Tensor]:
    """Return which features are ever active at each place, [place feature]: dead ones would make weak random circuits."""
    alive = {
        dictionary.name: torch.zeros(len(places), dictionary.n_features + 1, dtype=torch.bool)
        for dictionary in dictionaries
    }
    for some in torch.arange(len(prompts)).split(batch_size):
        batch = prompts.take(some).to(bridge.device_of(model))
        read = forward(model, batch, read=[dictionary.site for dictionary in dictionaries]).read
        for dictionary in dictionaries:
            active = dictionary.encode(read[dictionary.site]) != 0
            for number, at in enumerate(places):
                alive[dictionary.name][number, :-1] |= active[batch.select(at) & batch.mask].any(0).cpu()
    return alive


def _drawn(keep: Mapping[str, Tensor], draw: np.random.Generator, alive: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return as many random nodes of each dictionary, among those that are ever active; errors stay as they are."""
    out = {}
    for name, mask in keep.items():
        pool = np.flatnonzero((alive[name] | mask)[:, :-1].numpy())
        wanted = int(mask[:, :-1].sum())
        features = torch.zeros(mask[:, :-1].numel(), dtype=torch.bool)
        features[torch.as_tensor(draw.permutation(pool)[:wanted])] = True
        out[name] = torch.cat([features.reshape(len(mask), -1), mask[:, -1:]], dim=1)
    return out
