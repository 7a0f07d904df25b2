"""Certify a screening: measure its best edges, and a random sample of the others, exactly and on other pairs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mechcausal.arguments import Count, CountOrZero, Model, OpenShare, Seed
from mechcausal.circuits.asked import ablation_for, metric_for
from mechcausal.circuits.certifying.behavior import behavior
from mechcausal.circuits.certifying.certified import Certificate, rows_of
from mechcausal.circuits.certifying.sampled import Chosen, chosen
from mechcausal.circuits.circuit import Circuit, require_wiring
from mechcausal.circuits.edges.alternatives import Ablation
from mechcausal.circuits.edges.states import wiring_for
from mechcausal.circuits.evaluation.evaluate import masked_for, other_weights, read_circuit, require_behavior
from mechcausal.circuits.held_out import HeldOut, held_out
from mechcausal.circuits.scores.exact import exact_effects
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.patching.sweep import MetricSpec
from mechcausal.results.intervals import mean_intervals, ratio_intervals
from mechcausal.results.multiplicity import max_t
from mechcausal.results.provenance import Provenance
from mechcausal.results.redraws import check_networks
from mechcausal.results.result import SURVIVES
from mechcausal.results.table import tabulate


@dataclass(frozen=True, kw_only=True)
class CertifyingCircuit(Method[Contrast, Certificate]):
    """Measure the best edges and a random sample of the rest exactly, on pairs that the circuit was not found on.

    Estimand of `exact`: the metric of the clean run minus that of the clean run in which this edge alone carries its
    alternative. `share` is that over the effect of all edges together: 1 carries all of the behavior, 0 none, negative
    works against it. An edge is certified if the model has the behavior (its total effect differs from zero, and exceeds
    that of copies with redrawn weights), and if its share is larger than `least` in absolute terms by a cluster-robust
    max-T test, corrected for all edges that are measured. So on a network with random weights nothing is certified.

    The random sample says what the screening missed: the false-negative rate is the share of all edges that matter that
    are not among the k best. It is stratified by rank, because those ranked next are the likeliest to matter.

    Attributes:
        circuit: The circuit with its scores, or the file of one.
        k: How many of the best edges are measured.
        sample: How many of the others are measured.
        least: The smallest share of the behavior that matters.
        metric: A metric's name, or a function of (logits, batch); that of the search if None.
        ablation: What the edge carries; that of the search if None.
        redrawn: The largest number of networks with redrawn weights that the total effect is compared with: 0, or at
            least 8; fewer where it is clear before.
        shared: Whether pairs that the circuit was found on are used as well.
        reference: The prompts whose means are taken, for `ablation="mean"`.
        batch_size: How many pairs at a time.
        seed: The seed of the sample and of the networks.

    Example:
        >>> import mechcausal as mc
        >>> from mechcausal.circuits.circuit import Circuit
        >>> model = mc.load("organism:by_hand")
        >>> from mechcausal.circuits.edges.wiring import Wiring
        >>> wiring = Wiring.of(abilities(model))
        >>> scores = np.zeros((*wiring.possible.shape, 1))
        >>> scores[wiring.sender("L0.z.H0"), wiring.receiver("logits")] = 2.6
        >>> scored = Circuit(wiring, scores > 0, scores)
        >>> pairs = mc.contrast("by_hand/gender", model, n=16)
        >>> scored.certify(model, pairs, k=1, sample=0, redrawn=8).certified["receiver"].item()
        'logits'
    """

    word: ClassVar[str] = "certify_circuit"
    circuit: Circuit = field(kw_only=False, metadata={"read": read_circuit})
    k: Count = 20
    sample: CountOrZero = 100
    least: OpenShare = 0.01
    metric: MetricSpec | None = None
    ablation: Ablation | None = None
    redrawn: CountOrZero = 24
    shared: bool = False
    reference: Contrast | PromptSet | None = None
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Contrast) -> Certificate:
        """Measure the edges, and compare the behavior with networks that have learned nothing."""
        started, circuit = time.perf_counter(), self.circuit
        judge, edges, metric, ablation = self._asked(model, data)
        masked = masked_for(
            model, judge.pairs, circuit, metric, ablation, reference=self.reference, seed=self.seed,
            batch_size=self.batch_size,
        )  # fmt: skip
        base, nothing = masked.clean, masked.corrupt
        require_behavior(base, nothing, metric)
        values = base - exact_effects(masked, [tuple(edge) for edge in edges.edges.tolist()], progress=True)
        total, forwards = behavior(
            model, judge.pairs, metric, base, nothing, redrawn=self.redrawn, seed=self.seed, batch_size=self.batch_size
        )
        clusters = judge.pairs.clean.clusters
        baselines = {"base": base, "clean": base, "corrupt": nothing}
        frame = tabulate(rows_of(circuit, edges.edges, edges.roles, edges.strata.tolist()), values, baselines, clusters)
        columns = self._judged(base - values, base - nothing, frame["score"].to_numpy(float), clusters, total.reason)
        arguments = {
            "metric": metric.name, "ablation": ablation, "k": self.k, "sample": edges.sampled, "least": self.least,
            "redrawn": total.networks, "shared": self.shared, "held_out": judge.to_json(),
            "found_by": str(circuit.about.get("method", "unknown")),
        }  # fmt: skip
        provenance = Provenance(
            self.word, arguments, seed=self.seed,
            **facts(
                model, judge.pairs, started=started, forwards=round(masked.forwards) + forwards,
                batch_size=self.batch_size, engine="edges",
            ),
        )  # fmt: skip
        networks = "" if total.networks else "the total effect was not compared with networks with redrawn weights"
        tables = {
            "strata": list(edges.sizes), "reason": total.reason, "total": total.to_json(),
            "notes": [judge.sentence, other_weights(circuit, model), networks],
        }  # fmt: skip
        return Certificate(
            frame.assign(**columns), provenance, values, baselines, judge.pairs.clean.groups, clusters, tables
        )

    def _judged(
        self, exact: np.ndarray, total: np.ndarray, score: np.ndarray, clusters: tuple[str, ...], reason: str
    ) -> dict[str, Any]:
        """Return the columns of exact effects: their intervals, their shares, and which are certified."""
        effect = mean_intervals(exact, clusters)
        share = ratio_intervals(exact, np.broadcast_to(total, exact.shape), clusters)
        # What an effect has more than the smallest share of interest, on its own side of zero.
        toward = np.sign(effect["estimate"]) * np.sign(total.mean())
        beyond = toward[:, None] * np.sign(total.mean()) * exact - self.least * np.sign(total.mean()) * total
        p = max_t(beyond, clusters, draws=4999)
        p = np.where(beyond.mean(1) > 0, p, 1.0)
        matters = np.abs(share["estimate"]) >= self.least
        return {
            **{f"exact{end}": effect[word] for end, word in _ENDS.items()},
            **{f"share{end}": share[word] for end, word in _ENDS.items()},
            "matters": matters, "p_least": p, "certified": (p <= SURVIVES) & (not reason),
            "flip": np.sign(effect["estimate"]) * np.sign(score) < 0,
        }  # fmt: skip

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Return what it would take at most; nothing is run."""
        judge, edges, _, _ = self._asked(model, data)
        layers = self.circuit.wiring.n_layers
        into = [self.circuit.wiring.receivers[receiver].layer for receiver in edges.edges[:, 1]]
        share = sum(1 - (layers if layer is None else layer) / layers for layer in into)
        fixed = 4 + 2 * (1 + self.redrawn)
        n = len(judge.pairs)
        return Cost(len(edges.edges), n, (share + fixed) * n, (len(edges.edges) + fixed) * n)

    def _asked(self, model: Model, pairs: Contrast) -> tuple[HeldOut, Chosen, Metric, Ablation]:
        """Refuse what cannot be certified; return the pairs, the edges, the metric and the ablation."""
        check_networks(self.redrawn)
        circuit = self.circuit
        edges = chosen(circuit, self.k, self.sample, self.seed)
        metric = metric_for(circuit, self.metric)
        require_wiring(circuit, wiring_for(abilities(model), metric, split=circuit.wiring.split))
        judge = held_out(pairs, circuit.about, shared=self.shared, what="certify")
        return judge, edges, metric, ablation_for(circuit, self.ablation)


_ENDS = {"": "estimate", "_low": "low", "_high": "high"}


certify = function(CertifyingCircuit, about="Pairs, other than those on which the circuit was found.", name="certify")
