"""Judge a circuit by running it: what it keeps of the behavior, what is left without it, and what random ones keep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mechcausal.address import ALL
from mechcausal.arguments import Count, CountOrZero, Model, OpenShare, Seed
from mechcausal.circuits.asked import ablation_for, metric_for
from mechcausal.circuits.circuit import Circuit, require_wiring
from mechcausal.circuits.edges.alternatives import Ablation
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.states import wiring_for
from mechcausal.circuits.evaluation.areas import SIZES
from mechcausal.circuits.evaluation.evaluated import Evaluation, losses
from mechcausal.circuits.evaluation.variants import (
    CIRCUIT,
    COMPARED,
    REST,
    WITHOUT,
    Variant,
    drawn,
    grid,
    parts,
    without,
)
from mechcausal.circuits.held_out import HeldOut, held_out
from mechcausal.circuits.search.order import Order
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import cluster_numbers
from mechcausal.errors import ArgumentError, DataError
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.patching.sweep import MetricSpec
from mechcausal.results.intervals import ratio_intervals
from mechcausal.results.multiplicity import max_t
from mechcausal.results.provenance import Provenance
from mechcausal.results.table import tabulate

_LARGE = 10_000  # edges from which on comparisons are run on a sample of the pairs
_SAMPLED = 48  # pairs of it
_TIMED = 4  # pairs that are run to say how long it takes


def read_circuit(given: Any) -> Any:  # noqa: ANN401 - a circuit, a file of one, or its data; the check says what else
    """Return a circuit from a file or from its JSON data; anything else as it is."""
    if isinstance(given, dict):
        return Circuit.from_json(given)
    return Circuit.load(given) if isinstance(given, str) and given.endswith(".json") else given


@dataclass(frozen=True, kw_only=True)
class EvaluatingCircuit(Method[Contrast, Evaluation]):
    """Measure how faithful, complete and minimal a circuit is, on pairs that it was not found on.

    Estimand of faithfulness: `(m(C) - m(nothing)) / (m(model) - m(nothing))`, where m(C) is the mean metric of the clean
    prompts when every edge outside C carries its alternative, and nothing has every edge cut: 1 keeps all of the
    behavior, 0 nothing, and more than 1 leaves out what works against it. Completeness is the same share with the
    circuit's edges cut and all others kept: 0 if the circuit is all there is. Wang et al. (2022) call a circuit complete
    if it loses as the model does when a part K is taken out of both; completeness is their K = C, and `incompleteness`
    takes random halves. Minimality is what faithfulness loses when one edge is removed. The curve is faithfulness over
    MIB's sizes (Mueller et al. 2025), whose areas are CMD (0 is perfect) and CPR, which has no upper bound and can be
    gamed. Random circuits of the same size, made from random scores by the same rule, are the null at every size.

    Pairs that the circuit was found on are left out, and the result says how many. The circuit, the rest and the curve
    are run on all others; in a large model what serves for comparison (random circuits, halves, the circuit without an
    edge) on a sample of them alone, with as many pairs of each cluster, and the result says so.

    Attributes:
        circuit: The circuit, or the file of one.
        metric: A metric's name, or a function of (logits, batch); that of the search if None.
        ablation: What edges outside carry; that of the search if None.
        sizes: The shares of all edges at which the curve is measured.
        order: How circuits of other sizes are made of the scores: grown from the logits (`"greedy"`), or the largest
            scores (`"top"`); as the circuit was searched if None.
        random: How many random circuits are drawn at every size.
        minimality: How many edges are removed one by one, at most.
        parts: How many random halves of the circuit are taken out of it, and out of the model, to compare the two losses.
        sampled: On how many pairs at most these comparisons are run; None for 48 where the model has more than 10,000
            edges, else for all.
        shared: Whether pairs that the circuit was found on are used as well.
        reference: The prompts whose means are taken, for `ablation="mean"`.
        batch_size: How many pairs at a time.
        seed: The seed of everything random.

    Example:
        >>> import mechcausal as mc
        >>> from mechcausal.circuits.circuit import Circuit
        >>> model = mc.load("organism:by_hand")
        >>> from mechcausal.circuits.edges.wiring import Wiring
        >>> wiring = Wiring.of(abilities(model))
        >>> circuit = Circuit.of(wiring, [("embed", "L0.v.H0"), ("L0.z.H0", "logits")])
        >>> pairs = mc.contrast("by_hand/gender", model, n=8)
        >>> circuit.evaluate(model, pairs, random=0).faithfulness.estimate > 0.5
        True
    """

    word: ClassVar[str] = "evaluate_circuit"
    circuit: Circuit = field(kw_only=False, metadata={"read": read_circuit})
    metric: MetricSpec | None = None
    ablation: Ablation | None = None
    sizes: Sequence[OpenShare] = SIZES
    order: Order | None = None
    random: CountOrZero = 5
    minimality: CountOrZero = 40
    parts: CountOrZero = 3
    sampled: Count | None = None
    shared: bool = False
    reference: Contrast | PromptSet | None = None
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Contrast) -> Evaluation:
        """Run the circuit, the rest, circuits of every size, random ones, and the circuit without each edge."""
        started, circuit = time.perf_counter(), self.circuit
        judge, metric = self._asked(model, data)
        masked = masked_for(
            model, judge.pairs, circuit, metric, self._ablation, reference=self.reference, seed=self.seed,
            batch_size=self.batch_size,
        )  # fmt: skip
        base, nothing = masked.clean, masked.corrupt
        require_behavior(base, nothing, metric)
        variants, rows_of_sample = self._variants(), self._sample(judge.pairs)
        values = measured(masked, variants, rows_of_sample)
        removed = [number for number, variant in enumerate(variants) if variant.role == WITHOUT]
        rows = [number for number in range(len(variants)) if number not in set(removed)]
        clusters = judge.pairs.clean.clusters
        baselines = {"base": base, "clean": base, "corrupt": nothing}
        frame = tabulate([variants[number].row() for number in rows], values[rows], baselines, clusters)
        lost = values[0] - values[removed]
        columns = {}
        if removed:
            share = ratio_intervals(lost, np.broadcast_to(base - nothing, lost.shape), clusters)
            columns = {"loss": share["estimate"], "low": share["low"], "high": share["high"]}
            columns["p_max"] = max_t(lost, clusters, draws=999)
        arguments = {
            "metric": metric.name, "ablation": self._ablation, "edges": len(circuit), "sizes": list(self.sizes),
            "order": self._order, "random": self.random, "shared": self.shared, "held_out": judge.to_json(),
            "sampled": len(rows_of_sample), "of_edges": circuit.wiring.count * len(circuit.positions),
            "found_by": str(circuit.about.get("method", "unknown")),
        }  # fmt: skip
        provenance = Provenance(
            self.word, arguments, seed=self.seed,
            **facts(
                model, judge.pairs, started=started, forwards=round(masked.forwards), batch_size=self.batch_size,
                engine="edges",
            ),
        )  # fmt: skip
        return Evaluation(
            frame, provenance, values[rows], baselines, judge.pairs.clean.groups, clusters,
            {
                "minimality": losses([variants[number].row() for number in removed], columns),
                "notes": [judge.sentence, other_weights(circuit, model)],
            },
        )  # fmt: skip

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Return what it would take; nothing is run."""
        judge, _ = self._asked(model, data)
        variants, n = self._variants(), len(judge.pairs)
        compared = sum(variant.role in COMPARED for variant in variants)
        runs = (len(variants) - compared + 3) * n + compared * len(self._sample(judge.pairs))
        return Cost(len(variants), n, runs, (len(variants) + 3) * n)

    def seconds(self, model: Model, data: Contrast) -> float:
        """Return about how many CPU seconds it would take, from a timed run of the circuit on a few pairs."""
        judge, metric = self._asked(model, data)
        rows = spread_over(judge.pairs.clean.clusters, len(judge.pairs), _TIMED, self.seed)
        # Constants stand in from the first token on, those of other prompts from where these differ.
        ablation = "counterfactual" if self._ablation in ("counterfactual", "resample") else "zero"
        masked = masked_for(
            model, judge.pairs.take(rows.tolist()), self.circuit, metric, ablation, batch_size=self.batch_size
        )
        _ = masked.clean, masked.corrupt  # what is recorded once
        started = time.process_time()
        masked.metric(self.circuit.kept)
        return (time.process_time() - started) / len(rows) * self.cost(model, data).forwards

    def _sample(self, pairs: Contrast) -> np.ndarray:
        """Return the pairs on which comparisons are run, ascending."""
        large = self.circuit.wiring.count > _LARGE
        most = self.sampled or (_SAMPLED if large else len(pairs))
        return spread_over(pairs.clean.clusters, len(pairs), most, self.seed)

    @property
    def _ablation(self) -> Ablation:
        return ablation_for(self.circuit, self.ablation)

    @property
    def _order(self) -> Order:
        return self.order or ("greedy" if self.circuit.about.get("search") == "greedy" else "top")

    def _asked(self, model: Model, pairs: Contrast) -> tuple[HeldOut, Metric]:
        """Refuse what cannot be judged; return the pairs to judge on, and the metric."""
        if len(self.circuit) == 0:
            raise ArgumentError("this circuit keeps no edge, so there is nothing to judge", fix="keep more edges")
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ArgumentError("sizes are shares of all edges in ascending order", got=list(self.sizes))
        metric = metric_for(self.circuit, self.metric)
        require_wiring(self.circuit, wiring_for(abilities(model), metric, split=self.circuit.wiring.split))
        _ = self._ablation  # refused where it is not known
        return held_out(pairs, self.circuit.about, shared=self.shared), metric

    def _variants(self) -> list[Variant]:
        circuit = self.circuit
        possible = np.broadcast_to(circuit.wiring.possible[..., None], circuit.kept.shape)
        main = [
            Variant(CIRCUIT, circuit.kept, "circuit"),
            Variant(REST, possible & ~circuit.kept, "all but the circuit"),
        ]
        curve = grid(circuit, self.sizes, self._order)
        random = drawn(circuit, self.sizes if curve else (), self._order, self.random, self.seed)
        halved = parts(circuit, self.parts, self.seed)
        return [
            *main,
            *halved,
            *curve,
            *random,
            *(without(circuit, self.minimality, self.seed) if self.minimality else []),
        ]


def masked_for(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    circuit: Circuit,
    metric: Metric,
    ablation: Ablation,
    **options: Any,  # noqa: ANN401 - those of `Masked`
) -> Masked:
    """Return pairs that can be run under the edges of a circuit."""
    positions = None if circuit.positions == (ALL,) else circuit.positions
    return Masked(model, pairs, metric, ablation, split=circuit.wiring.split, positions=positions, **options)


def measured(
    masked: Masked, variants: Sequence[Variant], sample: np.ndarray | None = None, progress: str = "evaluate"
) -> np.ndarray:
    """Return the metric of every variant, [variant prompt]; equal circuits are run once.

    Args:
        masked: The pairs.
        variants: The circuits.
        sample: The pairs on which those that serve for comparison are run, the others being NaN; all if None.
        progress: The label of a progress bar.
    """
    values = np.full((len(variants), masked.n), np.nan)
    everywhere = None if sample is None or len(sample) == masked.n else sample
    for rows, compared in ((None, False), (everywhere, True)):
        chosen = [number for number, variant in enumerate(variants) if (variant.role in COMPARED) is compared]
        if chosen:
            values[chosen] = _distinct(masked, [variants[number].kept for number in chosen], rows, progress)
    return values


def _distinct(masked: Masked, kept: Sequence[np.ndarray], rows: np.ndarray | None, progress: str) -> np.ndarray:
    number: dict[bytes, int] = {}
    which = [number.setdefault(np.packbits(edges).tobytes(), len(number)) for edges in kept]
    distinct = [kept[which.index(place)] for place in range(len(number))]
    return masked.of(masked.cut(np.stack(distinct)), progress=progress, rows=rows)[which]


def spread_over(clusters: Sequence[str], n: int, most: int, seed: int) -> np.ndarray:
    """Return at most so many of n pairs, ascending, drawn at random with as many of each cluster as there are."""
    if most >= n:
        return np.arange(n)
    order = np.random.default_rng([seed, 43]).permutation(n)
    numbers = cluster_numbers(clusters, n)[order]
    turn = np.zeros(n, dtype=int)  # the how manyth of its cluster each is
    for number in np.unique(numbers):
        turn[numbers == number] = np.arange(int((numbers == number).sum()))
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def require_behavior(model: np.ndarray, nothing: np.ndarray, metric: Metric) -> None:
    """Refuse a metric that every edge together does not move: no share of nothing can be formed."""
    size = max(1e-9, float(np.abs(model).max()), float(np.abs(nothing).max()))
    if float(np.abs(model - nothing).max()) <= 1e-6 * size:
        raise DataError(
            f"the metric {metric.name!r} is the same with every edge and with none, so no share of it can be formed",
            got=f"{float(model.mean()):.3g} both times", fix="choose a metric, or pairs, in which the two runs differ",
        )  # fmt: skip


def other_weights(circuit: Circuit, model: Any) -> str:  # noqa: ANN401 - a TransformerBridge
    """Say if a circuit was found in other weights than those of the model; nothing where it was not, or does not say."""
    provenance = circuit.about.get("provenance")
    weights = provenance.get("model", {}).get("weights") if isinstance(provenance, dict) else None
    if not weights or weights == weights_fingerprint(model):
        return ""
    return "the circuit was found in other weights than these"


evaluate = function(EvaluatingCircuit, about="Pairs, better not those on which the circuit was found.", name="evaluate")
