"""Find the circuit behind a behavior: score every edge, keep the edges that matter, and say how it was done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch

from mechcausal.address import Selection, Site
from mechcausal.arguments import Count, CountOrZero, Kind, Model, Seed, Share
from mechcausal.circuits.circuit import CONVENTION, Circuit
from mechcausal.circuits.edges.alternatives import Ablation
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.states import wiring_for
from mechcausal.circuits.edges.ways import grown
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.held_out import digests
from mechcausal.circuits.scores import SCORERS, Scored, Scoring
from mechcausal.circuits.search.pruning import STEPS
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions, as_text, places, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import FEWEST, split, units
from mechcausal.errors import ArgumentError, DataError
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.patching.sweep import MetricSpec
from mechcausal.results.provenance import Provenance

SMALLEST = 20  # edges that are kept at least where the size is a share
Search = Literal["greedy", "top", "threshold"]


def _is_scorer(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    return isinstance(value, str) and bool(SCORERS[value])


NoDictionaries = Annotated[
    object | None,
    Kind(
        "None, because a circuit of features has other edges than one of heads and MLPs",
        lambda value: value is None,
        "mc.features.circuit(model, pairs, dictionaries=...)",
    ),
]
ScorerName = Annotated[str, Kind("the name of a method such as 'eap-ig', 'exact' or 'acdc'", _is_scorer)]


@dataclass(frozen=True, kw_only=True)
class Discovering(Method[Contrast, Circuit]):
    """Find the circuit of a behavior: the edges between heads, MLPs, embedding and logits that carry it.

    Estimand of an edge's score: what the metric of the clean run loses when this edge alone carries its alternative
    (`"exact"`), or an estimate of that. The larger the absolute value, the more the edge matters; a negative score works
    against the behavior.

    Attributes:
        method: `"eap"` (one gradient; Syed et al. 2023), `"eap-ig"` (along the path of the input; Hanna et al. 2024),
            `"eap-ig-activations"` (a path for each sublayer), `"clean-corrupted"`, `"atp*"` (Kramar et al. 2024),
            `"ifr"` (information flow, without a metric; Ferrando and Voita 2024), `"exact"` (every edge measured),
            `"acdc"` (edges removed one by one; Conmy et al. 2023, whose loss is `metric="kl"`; else the change of the metric), `"edge-pruning"` (a learned mask; Bhaskar et al. 2024),
            or `"random"`, the null.
        edges: How many edges are kept; by default `share` of them, and 20 at least.
        share: Which share of all edges is kept.
        search: `"greedy"` grows the circuit from the logits, so that every edge leads there; `"top"` keeps the largest
            scores; `"threshold"` keeps all scores of at least `threshold`.
        threshold: The smallest absolute score that is kept, or that a search tolerates to lose.
        metric: A metric's name, a differentiable function of (logits, batch), or what a probe reads in the stream
            (`mc.circuits.state_metric`).
        ablation: What edges outside carry: `"counterfactual"` (what the sender adds in the corrupt prompt), `"zero"`,
            `"mean"` (for each sender, per position where all prompts have one length), `"resample"` (another clean prompt
            of the same length) or `"optimal"` (a constant for each sender).
        steps: How many steps a path of integrated gradients has; their convergence is in `about`.
        at: At which positions edges are told apart (those of the receiver): `"all"` together, `"each"`, or a list.
        split: Whether query heads that share keys and values are told apart as their readers.
        reference: The prompts whose means are taken; both sides of the pairs if None.
        certify: How many of the best edges are measured exactly, with a random sample of the rest, on one half of the
            clusters; the search then sees the other half alone. 0 for none; see `mc.circuits.certify`.
        dictionaries: None; `mc.features.circuit` finds circuits of features, with an error node for what they leave out.
        batch_size: How many pairs at a time, at most; fewer where `memory` wants it.
        memory: How many MB the contributions of all senders to one batch may take.
        seed: The seed of everything random.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=16)
        >>> found = mc.discover(model, pairs, method="eap-ig", edges=10, steps=4)
        >>> len(found)
        10
    """

    word: ClassVar[str] = "discover"
    method: ScorerName = "eap-ig"
    edges: Count | None = None
    share: Share = 0.05
    search: Search = "greedy"
    threshold: float | None = None
    metric: MetricSpec = "logit_diff"
    ablation: Ablation = "counterfactual"
    steps: Count = 10
    at: Positions = field(default="all", metadata={"read": as_text})
    split: bool = False
    reference: PromptSet | Contrast | None = None
    certify: CountOrZero = 0
    dictionaries: NoDictionaries = None
    batch_size: Count = 64
    memory: Count = 256
    seed: Seed = 0

    def run(self, model: Model, data: Contrast) -> Circuit:
        """Score the edges of the model and keep those that matter; certify them on pairs that are held out for it."""
        if not self.certify:
            return self._search(model, data)
        search, rest, note = _halves(data, self.seed)
        circuit = self._search(model, data.take(search.tolist()))
        certificate = circuit.certify(
            model, data.take(rest.tolist()), k=min(self.certify, int(np.isfinite(circuit.scores).sum()) - 1),
            metric=self.metric, ablation=self.ablation, reference=self.reference, batch_size=self.batch_size,
            seed=self.seed,
        )  # fmt: skip
        marked = certificate.mark(circuit)
        certified = marked.about["certified"]
        return marked.keep(marked.kept, certified={**certified, "sentence": certified["sentence"] + note})

    def _search(self, model: Model, data: Contrast) -> Circuit:
        started = time.perf_counter()
        masked = self._masked(model, data)
        _refuse_constant(masked)
        scored = SCORERS[self.method](masked, self._scoring())
        about = self._about(model, data, masked, scored, started)
        circuit = Circuit(
            masked.wiring, np.zeros(masked.shape, dtype=bool), scored.edges, scored.nodes, masked.positions, about,
            scored.spread,
        )  # fmt: skip
        return self._kept(circuit, scored)

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Return what it would take, in forwards of one pair; a backward counts as two."""
        wiring, (differentiated, others) = self._wiring(model), self._runs(model)
        if self.method == "edge-pruning":  # a mask is learned on one batch at a time
            others = 3 * STEPS * min(1.0, self.batch_size / len(data))
        forwards = len(data) * (2 + 3 * differentiated + others)
        return Cost(wiring.count, len(data), forwards, len(data) * (2 + wiring.count))

    def runs(self, model: Model) -> float:
        """Return how many runs of a pair there are besides its two sides; what is differentiated counts as any other."""
        return sum(self._runs(model))

    def _runs(self, model: Model) -> tuple[float, float]:
        """Return how many runs of a pair are differentiated, and how many others there are but of its two sides."""
        wiring = self._wiring(model)
        paths = {
            "eap": 1, "clean-corrupted": 2, "eap-ig": self.steps + 1, "atp*": wiring.n_layers + 1,
            "eap-ig-activations": (self.steps + 1) * wiring.n_layers,
        }  # fmt: skip
        others = {"ifr": 1.0, "random": 0.0}.get(self.method, wiring.count / 2 if self.method not in paths else 0)
        return paths.get(self.method, 0), others

    def _wiring(self, model: Model) -> Wiring:
        return wiring_for(abilities(model), metric_of(self.metric), split=self.split)

    def _masked(self, model: Model, data: Contrast) -> Masked:
        return Masked(
            model, data, self.metric, self.ablation, split=self.split, positions=self._positions(data),
            reference=self.reference, batch_size=self.batch_size, seed=self.seed, budget=self.memory * 2**20,
        )  # fmt: skip

    def _scoring(self) -> Scoring:
        return Scoring(self.steps, self.seed, threshold=self.threshold, size=self.edges)

    def _positions(self, data: Contrast) -> Sequence[Selection]:
        where = [place.at for place in places([_ANYWHERE], self.at, data.clean)]
        if len(where) > 1:
            _refuse_overlap(data.clean, where)
        return where

    def _kept(self, circuit: Circuit, scored: Scored) -> Circuit:
        if scored.kept is not None and self.edges is None:
            return circuit.keep(scored.kept, search=self.method)
        if self.search == "threshold":
            if self.threshold is None:
                raise ArgumentError("search='threshold' needs the smallest score that is kept", fix="threshold=0.01")
            return circuit.threshold(self.threshold)
        total = circuit.wiring.count * len(circuit.positions)
        size = min(total, max(SMALLEST, round(self.share * total)) if self.edges is None else self.edges)
        if self.search == "top":
            return circuit.top(size)
        return circuit.keep(grown(circuit.wiring, circuit.scores, size), search="greedy", size=size)

    def _about(self, model: Model, data: Contrast, masked: Masked, scored: Scored, started: float) -> dict[str, Any]:
        provenance = Provenance(
            method=self.word,
            arguments={
                "method": self.method, "ablation": self.ablation, "steps": self.steps, "at": plain(self.at),
                "split": self.split, "search": self.search, "edges": self.edges, "share": self.share,
                "threshold": self.threshold, "metric": masked.metric_of_prompts.name,
                "reference": None if self.reference is None else self.reference.hash,
            },
            seed=self.seed,
            **facts(
                model, data, started=started, forwards=round(masked.forwards), batch_size=self.batch_size,
                engine="replay",
            ),
        )  # fmt: skip
        return {
            "method": self.method, "metric": masked.metric_of_prompts.name, "ablation": self.ablation, "n": masked.n,
            "clean": float(masked.clean.mean()), "corrupt": float(masked.corrupt.mean()), "convention": CONVENTION,
            "found_on": digests(data), "d_model": abilities(model).shape.d_model, "provenance": asdict(provenance), **masked.alternative.about, **scored.about,
        }  # fmt: skip


_ANYWHERE = Site("embed")


def _refuse_constant(masked: Masked) -> None:
    """Refuse a metric that is the same with all edges and with none."""
    gap = masked.clean - masked.corrupt
    if not np.isfinite(gap).all():
        raise DataError(
            f"the metric {masked.metric_of_prompts.name!r} is not finite on these pairs", fix="check the pairs"
        )
    if not gap.any():
        raise DataError(
            f"the metric {masked.metric_of_prompts.name!r} is the same with every edge and with none, so no edge can matter",
            got=f"{masked.clean.mean():.3g} both times",
            fix="choose another metric, or pairs whose two sides the model tells apart",
        )


def _refuse_overlap(prompts: PromptSet, where: Sequence[Selection]) -> None:
    count = torch.stack([prompts.select(at) for at in where]).sum(0)
    if int(count.max()) > 1:
        raise DataError("the positions of edges overlap, so an edge would stand for two", fix="choose positions apart")


def _halves(pairs: Contrast, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the rows to search on, those to certify on, and what is to be said of them.

    Whole clusters go to one half. Where there are too few of them, as with the six templates of a suite, both halves hold
    pairs of every cluster, and no pair twice.
    """
    clusters = units(pairs)
    if len(np.unique(clusters)) >= 2 * FEWEST:
        return (*split(clusters, 0.5, [seed, 61], fewest=FEWEST, what="pairs"), "")
    alike = np.unique(digests(pairs), return_inverse=True)[1]
    note = (
        f"; these are other pairs of the same {len(np.unique(clusters))} clusters, which are too few to hold some out"
    )
    return (*split(alike, 0.5, [seed, 61], fewest=FEWEST, what="pairs"), note)


discover = function(Discovering)
