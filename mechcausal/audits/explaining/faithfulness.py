"""Faithful circuits: how much of the behavior a circuit keeps, and how much is left without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, Share
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import of_pairs
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, named, of_ratio
from mechcausal.audits.metered import OfMetric
from mechcausal.audits.question import Family
from mechcausal.audits.sources import DATA, Source
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.discover import Discovering, ScorerName
from mechcausal.circuits.edges.alternatives import Ablation
from mechcausal.circuits.evaluation.evaluate import EvaluatingCircuit
from mechcausal.circuits.evaluation.evaluated import Evaluation
from mechcausal.circuits.evaluation.variants import CIRCUIT, REST
from mechcausal.circuits.held_out import held_out
from mechcausal.data.contrast import Contrast
from mechcausal.data.splits import FEWEST, split, units
from mechcausal.errors import MechcausalError
from mechcausal.metrics import METRICS, Metric
from mechcausal.results.charts import Bar, Bars

Measure = Literal["faithfulness", "completeness", "comprehensiveness", "sufficiency"]
MEANS: dict[str, str] = {
    "faithfulness": "(m(C) - m(0)) / (m(M) - m(0)): the share of the behavior that the circuit keeps alone",
    "completeness": "(m(M without C) - m(0)) / (m(M) - m(0)): the share of the behavior that is left without the circuit",
    "comprehensiveness": "m(M) - m(M without C): what the metric loses when the circuit is taken out",
    "sufficiency": "m(M) - m(C): what the metric loses when only the circuit is kept",
}


@dataclass(frozen=True)
class CircuitSource(Source):
    """A circuit in a file, as `Circuit.save` writes it.

    Attributes:
        name: The file, from the folder of the plan.
    """

    word: ClassVar[str] = "circuit"
    of_file: ClassVar[bool] = True

    def read(self, model: Any, folder: Path) -> Any:  # noqa: ANN401
        """Read the circuit."""
        return Circuit.load(folder / self.name)


@dataclass(frozen=True, kw_only=True)
class Faithfulness(OfMetric):
    """Run a circuit alone, and the model without it, with everything else ablated.

    Faithfulness (Marks et al. 2024) is 1 where the circuit keeps all of the behavior and 0 where it keeps nothing;
    completeness is the same share for all that is not in the circuit, 0 where nothing is left. Neither is bounded:
    beyond 1 the circuit leaves out what works against the behavior. Comprehensiveness and sufficiency (DeYoung et al.
    2020) are the same two runs as losses of the metric. All depend on the ablation, and on the two anchors, which are
    printed: m(M) of the whole model and m(0) with every edge ablated.

    Without a circuit one is found on one half of the clusters and judged on the other. Pairs that a circuit was found on
    do not judge it.

    Attributes:
        circuit: The circuit; found here where there is none.
        measure: Which of the four is the estimate.
        method: How a circuit is found.
        share: Which share of all edges it keeps.
        ablation: What edges outside carry; that of the search unless said.
        random: How many random circuits of the same size are run.
    """

    word: ClassVar[str] = "faithfulness"
    family: ClassVar[Family] = "explainability"
    population: ClassVar[str] = "pairs like those that the circuit is judged on"
    identified: ClassVar[Identified] = "intervention"
    assumptions: ClassVar[tuple[str, ...]] = ("what ablated edges carry stands for an edge that passes nothing on",)
    limits: ClassVar[tuple[str, ...]] = ("another ablation gives another number", "other circuits may be as faithful")
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    under_edits: ClassVar[bool] = False
    circuit: Any = field(default=None, metadata=DATA)
    measure: Measure = "faithfulness"
    method: ScorerName = "eap-ig"
    share: Share = 0.1
    ablation: Ablation | None = None
    random: Count = 5

    @property
    def reads_outcome(self) -> bool:
        """Whether it reads the outcome of the plan; a circuit that is given may have been searched by another metric."""
        return self.metric is None and self.circuit is None

    def metric_at(self, desk: Desk) -> Metric:
        """Return its own metric, or the outcome of the plan; without both that of the circuit's search."""
        searched = desk.held["circuit"].about.get("metric") if "circuit" in desk.held else None
        if self.metric is None and not desk.reads and isinstance(searched, str) and searched in METRICS:
            return METRICS[searched]
        return super().metric_at(desk)

    @property
    def estimand(self) -> str:
        """What the number is."""
        return MEANS[self.measure]

    @property
    def contrast(self) -> str:
        """What is compared with what."""
        return "the circuit alone, and the model without it, against the whole model and against nothing"

    @property
    def held_fixed(self) -> str:
        """What is held fixed."""
        return f"edges outside carry their alternative ({self.ablation or 'that of the search'})"

    @property
    def scale(self) -> str:
        """The unit."""
        return "share of the behavior" if self.measure in ("faithfulness", "completeness") else "units of the metric"

    def answer(self, desk: Desk) -> Answer:
        """Return how faithful the circuit is."""
        pairs, circuit, judging = self._found(desk)
        evaluation = self._judge(desk, circuit).run(desk.model, pairs)
        numbers = measures(evaluation, desk.level)
        above, below = parts(evaluation)[self.measure]
        estimate = numbers[self.measure]
        asked = evaluation.provenance.arguments
        anchors = {
            name: desk.mean(evaluation.baselines[side], evaluation.clusters)
            for name, side in (("m(M)", "clean"), ("m(0)", "corrupt"))
        }
        rows = [
            {"measure": name, "value": each.value, "low": each.low, "high": each.high, "means": MEANS.get(name, "anchor")}
            for name, each in (*numbers.items(), *anchors.items())
        ]  # fmt: skip
        says = (
            f"{self.measure} of the circuit of {len(circuit)} of {asked['of_edges']} edges is {estimate}, by "
            f"{asked['ablation']} ablation, with m(M) = {anchors['m(M)'].value:.3g} and m(0) = {anchors['m(0)'].value:.3g}"
        )
        bars = Bars(
            tuple(Bar(name, each.value, each.low, each.high) for name, each in list(numbers.items())[:2]),
            "Kept by the circuit, and left without it", "share of the behavior",
        )  # fmt: skip
        notes = {f"note {number}": note for number, note in enumerate(evaluation.notes, 1)}
        runs = {
            "whole_model": evaluation.baselines["clean"],
            "nothing": evaluation.baselines["corrupt"],
            **alone(evaluation),
        }
        lost = runs["whole_model"] - runs["circuit_alone"]
        return Answer(
            estimate, says, self._controls(evaluation), pd.DataFrame(rows), (bars,), of_pairs(desk.model, pairs, runs, lost),
            marks=notes, units=as_units(above if below is None else of_ratio(above, below)),
            unit_clusters=named(evaluation.clusters, judging),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards it takes: both sides, circuits with and without, random ones, and the search."""
        pairs: Contrast = desk.data
        edited = 2 + self.random
        share = run_again(pairs) if self.ablation in (None, "counterfactual", "resample") else 1.0
        if "circuit" in desk.held:
            return (2 + share * edited) * len(pairs)
        first, second = len(pairs) // 2, len(pairs) - len(pairs) // 2
        return (2 + share * self._search(desk).runs(desk.model)) * first + (2 + share * edited) * second

    def require_fit(self, desk: Desk) -> None:
        """Refuse a model without edges, and a circuit of another one."""
        if "circuit" in desk.held:
            self._judge(desk, desk.held["circuit"]).cost(desk.model, desk.data)
        else:
            self._search(desk).cost(desk.model, desk.data)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs and the circuit."""
        yield from super().problems(data)
        pairs, circuit = data["data"], data.get("circuit")
        if circuit is not None and not isinstance(circuit, Circuit):
            yield "circuit must hold a circuit"
        elif isinstance(circuit, Circuit) and len(circuit) == 0:
            yield "the circuit keeps no edge, so there is nothing to judge"
        elif isinstance(circuit, Circuit) and isinstance(pairs, Contrast):
            try:
                held_out(pairs, circuit.about)
            except MechcausalError as error:
                yield str(error)
        elif isinstance(pairs, Contrast) and len(np.unique(units(pairs))) < 2 * FEWEST:
            yield f"{self._name_of('data')} has too few clusters to find a circuit on one half and judge it on the other: bring at least {2 * FEWEST}"

    def _found(self, desk: Desk) -> tuple[Contrast, Circuit, np.ndarray]:
        """Return the pairs to judge on, the circuit, and which of the data these pairs are."""
        pairs: Contrast = desk.data
        if "circuit" in desk.held:
            return pairs, desk.held["circuit"], np.arange(len(pairs))
        first, second = split(units(pairs), 0.5, seed=[desk.seed, 53], fewest=FEWEST, what="pairs")
        circuit = self._search(desk).run(desk.model, pairs.take(first.tolist()))
        return pairs.take(second.tolist()), circuit, second

    def _search(self, desk: Desk) -> Discovering:
        return Discovering(method=self.method, share=self.share, metric=self.metric_at(desk))

    def _judge(self, desk: Desk, circuit: Circuit) -> EvaluatingCircuit:
        return EvaluatingCircuit(
            circuit=circuit, metric=self.metric_at(desk), ablation=self.ablation, sizes=(), random=self.random, minimality=0,
            parts=0, batch_size=desk.batch_size, seed=desk.seed,
        )  # fmt: skip

    def _controls(self, evaluation: Evaluation) -> tuple[Control, ...]:
        mean, low, high = evaluation.of_random
        share = evaluation.faithfulness.estimate
        drawn = Estimate(mean, low, high, self.random, self.random)
        says = f"random circuits of the same size keep {mean:.2f} on average, {low:.2f} to {high:.2f}"
        return (
            Control("random", says, drawn, holds=bool(share > high)),
            Control.inapplicable("no-learning", "a circuit can be faithful to a network that has learned nothing as well"),
            Control.inapplicable("trivial-input", "m(0), the model with every edge ablated, is the zero of the scale"),
        )  # fmt: skip


def run_again(pairs: Contrast) -> float:
    """Return which share of a prompt is run again where senders add what they add in the other: not what stands left of all differences."""
    if not pairs.even:
        return 1.0
    differs = pairs.differs.any(0)
    return 1 - int(differs.byte().argmax()) / len(differs)


def alone(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return the metric of every pair with the circuit alone, and without it."""
    roles = evaluation.frame["role"].to_numpy()
    return {
        name: evaluation.examples[int(np.flatnonzero(roles == role)[0])]
        for name, role in (("circuit_alone", CIRCUIT), ("without_the_circuit", REST))
    }


def parts(evaluation: Evaluation) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return the numerator and the denominator of the four measures in each pair; a loss has no denominator."""
    everything, nothing = evaluation.baselines["clean"], evaluation.baselines["corrupt"]
    circuit, rest = alone(evaluation).values()
    behavior = everything - nothing
    return {
        "faithfulness": (circuit - nothing, behavior), "completeness": (rest - nothing, behavior),
        "comprehensiveness": (everything - rest, None), "sufficiency": (everything - circuit, None),
    }  # fmt: skip


def measures(evaluation: Evaluation, level: float = 0.95) -> dict[str, Estimate]:
    """Return the four measures with their intervals."""
    return {
        name: Estimate.mean(above, evaluation.clusters, level)
        if below is None
        else Estimate.ratio(above, below, evaluation.clusters, level)
        for name, (above, below) in parts(evaluation).items()
    }
