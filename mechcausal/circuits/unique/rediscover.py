"""Find a circuit again: on halves of the pairs, with other seeds, by other methods, and without its own edges."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from mechcausal.arguments import Count, CountOrZero, Model, Seed
from mechcausal.circuits.asked import metric_for
from mechcausal.circuits.circuit import Circuit, require_wiring
from mechcausal.circuits.discover import Discovering, ScorerName
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.evaluation.evaluate import masked_for, read_circuit, require_behavior
from mechcausal.circuits.held_out import FOUND_ON, digests
from mechcausal.circuits.unique.overlap import by_chance, of_edges, of_nodes
from mechcausal.circuits.unique.rival import By, rival
from mechcausal.circuits.unique.uniqueness import GIVEN, HALF, METHOD, RIVAL, SEED, Uniqueness, spread
from mechcausal.data.contrast import Contrast
from mechcausal.data.splits import FEWEST, split, units
from mechcausal.errors import ArgumentError
from mechcausal.method import Cost, Method, function
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance
from mechcausal.results.table import tabulate

_ASKED = ("method", "ablation", "steps", "at", "split", "search", "threshold", "metric")


@dataclass(frozen=True)
class Again:
    """One circuit and the pairs that it was found on.

    Attributes:
        role: Why it was searched.
        label: What it is called.
        circuit: The circuit.
        rows: The pairs that it was found on.
        number: Which split, or which seed.
    """

    role: str
    label: str
    circuit: Circuit
    rows: np.ndarray
    number: int = -1


@dataclass(frozen=True, kw_only=True)
class Rediscovering(Method[Contrast, Uniqueness]):
    """Find a circuit again on halves of the pairs, with other seeds and by other methods, and search for a rival.

    Estimand of the overlap: the Jaccard index of the edges (of the nodes) of two circuits, those in both over those in
    either: 1 if equal, 0 if nothing is shared. Between halves it compares circuits that were found on disjoint pairs. The
    core is the edges of the circuit that all others have. The rival is the best circuit of the same size without any of
    its edges: if it keeps as much of the behavior, the circuit is one of several. Faithfulness stands beside each, on
    pairs that it was not found on. Circuits of one behavior need not agree: two that were published share 4 % of their edges.

    Attributes:
        circuit: The circuit, or the file of one, as `mc.discover` found it.
        splits: How often the pairs are split into two halves, on each of which the circuit is found again.
        seeds: How many other seeds; only for searches that draw.
        methods: Other methods of `mc.discover`.
        rival: Whether a rival is searched by a learned mask and by scores (`"mask"`), by scores alone, or not (None).
        steps: How many steps the mask of the rival is learned for.
        batch_size: How many pairs at a time.
        seed: The seed of the splits.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=24)
        >>> circuit = mc.discover(model, pairs, method="eap", edges=4)
        >>> circuit.rediscover(model, pairs, splits=2, methods=["exact"], rival=None).between_halves.estimate > 0.5
        True
    """

    word: ClassVar[str] = "rediscover"
    circuit: Circuit = field(kw_only=False, metadata={"read": read_circuit})
    splits: Count = 3
    seeds: CountOrZero = 2
    methods: Sequence[ScorerName] = ("eap", "eap-ig")
    rival: By | None = "mask"
    steps: Count = 200
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Contrast) -> Uniqueness:
        """Search again and again, and measure what each circuit keeps on pairs that it was not found on."""
        started, circuit, spec = time.perf_counter(), self.circuit, self._asked(model)
        halves = self._halves(data)
        metric = metric_for(circuit, None)
        masked = masked_for(model, data, circuit, metric, spec.ablation, seed=self.seed, batch_size=self.batch_size)
        require_behavior(masked.clean, masked.corrupt, metric)
        circuits = [Again(GIVEN, GIVEN, circuit, self._own_rows(data)), *self._found(model, data, spec, halves)]
        forwards = masked.forwards
        if self.rival is not None:
            some = data.take(halves[0][0].tolist())
            search = masked_for(model, some, circuit, metric, spec.ablation, seed=self.seed, batch_size=self.batch_size)
            best = rival(search, circuit, by=self.rival, steps=self.steps, seed=self.seed, progress=True)
            circuits.append(Again(RIVAL, f"rival (by {best.by})", best.circuit, halves[0][0]))
            forwards += search.forwards
        values = masked.metric(np.stack([each.circuit.kept for each in circuits]))
        for number, each in enumerate(circuits):
            if len(each.rows) < len(data):  # what it was found on does not judge it
                values[number, each.rows] = np.nan
        clusters = data.clean.clusters
        baselines = {"base": masked.clean, "clean": masked.clean, "corrupt": masked.corrupt}
        frame = tabulate([self._row(each) for each in circuits], values, baselines, clusters)
        provenance = Provenance(
            self.word,
            {
                "metric": metric.name, "ablation": spec.ablation, "method": spec.method, "edges": len(circuit),
                "splits": self.splits, "seeds": self.seeds, "methods": list(self.methods), "rival": self.rival,
            },
            seed=self.seed,
            **facts(
                model, data, started=started, forwards=round(forwards), batch_size=self.batch_size, engine="edges"
            ),
        )  # fmt: skip
        return Uniqueness(
            frame, provenance, values, baselines, data.clean.groups, clusters, self._tables(circuits, data)
        )  # fmt: skip

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Return what it would take, in forwards of one pair; nothing is searched."""
        spec = self._asked(model)
        self._halves(data)
        once = spec.cost(model, data).forwards
        searches = self.splits + self.seeds * _draws(spec.method) + len(self.methods)
        learning = 3 * self.steps * min(self.batch_size, len(data) // 2) if self.rival == "mask" else 0
        total = once * searches + learning + (searches + 3) * len(data)
        return Cost(2 * self.splits + self.seeds + len(self.methods) + 2, len(data), total, total)

    def _asked(self, model: Model) -> Discovering:
        """Return the search that found the circuit, with the circuit's own size; refuse what cannot be searched again."""
        circuit = self.circuit
        provenance = circuit.about.get("provenance")
        arguments = provenance.get("arguments", {}) if isinstance(provenance, dict) else {}
        if "method" not in arguments:
            raise ArgumentError(
                "this circuit does not say how it was found, so it cannot be found again",
                fix="take one that mc.discover made, or compare circuits with mc.circuits.compare",
            )
        if len(circuit) == 0:
            raise ArgumentError("this circuit keeps no edge, so there is nothing to find again")
        metric_for(circuit, None)
        require_wiring(circuit, Wiring.of(abilities(model), split=circuit.wiring.split))
        chosen = {name: arguments[name] for name in _ASKED if arguments.get(name) is not None}
        if chosen.get("search") == "threshold":  # all are to have the size of the circuit
            chosen["search"] = "top"
        return Discovering(**chosen, edges=len(circuit), batch_size=self.batch_size)

    def _halves(self, data: Contrast) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            tuple(split(units(data), 0.5, [self.seed, 53, number], fewest=FEWEST, what="pairs"))
            for number in range(self.splits)
        ]

    def _found(
        self, model: Model, data: Contrast, spec: Discovering, halves: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> list[Again]:
        """Search on both halves of every split; with other seeds and methods on the first half of the first."""
        again = []
        for number, sides in enumerate(halves):
            for name, rows in zip("ab", sides, strict=True):
                circuit = spec.run(model, data.take(rows.tolist()))
                again.append(Again(HALF, f"half {number}{name}", circuit, rows, number))
        rows = halves[0][0]
        some = data.take(rows.tolist())
        for number in range(1, 1 + self.seeds * _draws(spec.method)):
            again.append(Again(SEED, f"seed {number}", replace(spec, seed=number).run(model, some), rows, number))
        for method in self.methods:
            if method != spec.method:
                again.append(Again(METHOD, method, replace(spec, method=method).run(model, some), rows))
        return again

    def _own_rows(self, data: Contrast) -> np.ndarray:
        used = set(self.circuit.about.get(FOUND_ON, ()))
        return np.flatnonzero([digest in used for digest in digests(data)])

    def _row(self, each: Again) -> dict[str, Any]:
        return {
            "site": each.label, "component": "circuit", "at": "@all", "label": each.label, "role": each.role,
            "edges": len(each.circuit), "jaccard_edges": of_edges(self.circuit, each.circuit),
            "jaccard_nodes": of_nodes(self.circuit, each.circuit), "split": each.number,
        }  # fmt: skip

    def _tables(self, circuits: Sequence[Again], data: Contrast) -> dict[str, Any]:
        circuit, halves = self.circuit, [each for each in circuits if each.role == HALF]
        sides = list(zip(halves[::2], halves[1::2], strict=True))
        kept = np.logical_and.reduce([each.circuit.kept for each in circuits if each.role != RIVAL])
        core = [
            [str(sender.site), str(receiver.site), str(receiver.at)] for sender, receiver in circuit.keep(kept).edges
        ]
        n_rows = len(self._own_rows(data))
        return {
            "between_halves": spread([of_edges(a.circuit, b.circuit) for a, b in sides]),
            "nodes_between_halves": spread([of_nodes(a.circuit, b.circuit) for a, b in sides]),
            "by_chance": by_chance(len(circuit), len(circuit), circuit.wiring.count * len(circuit.positions)),
            "core": core,
            "notes": [
                f"the circuit was found on {n_rows} of these {len(data)} pairs: "
                "its own faithfulness is no test on held-out pairs"
                if n_rows == len(data) else ""
            ],
        }  # fmt: skip


def _draws(method: str) -> int:
    """Say whether a method depends on its seed: 1 or 0."""
    return int(method in ("edge-pruning", "random"))


rediscover = function(Rediscovering, about="Pairs, those on which the circuit was found among them or not.")
