"""Compare circuits of one model: what they share, what is in all of them, and how their scores agree."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mechcausal.address import Place
from mechcausal.arguments import checked
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.grouped import grouped
from mechcausal.circuits.unique.overlap import by_chance, mean_overlap, nodes, of_edges, of_nodes, require_alike
from mechcausal.errors import ArgumentError
from mechcausal.results.charts import Bars, bar_chart, still
from mechcausal.results.intervals import Interval


@dataclass(frozen=True, repr=False)
class Comparison:
    """What several circuits of one model share.

    Attributes:
        circuits: The circuits by name.
    """

    circuits: Mapping[str, Circuit]

    @property
    def frame(self) -> pd.DataFrame:
        """One row for every two circuits: the overlap of their edges and nodes, that of chance, and of their scores.

        `edges` and `nodes` are Jaccard indices: 1 if equal, 0 if nothing is shared. `edges_by_chance` is what random
        circuits of these sizes share. `rank` is the rank correlation of absolute scores over edges that both score.
        """
        rows = []
        for first, second in itertools.combinations(self.circuits, 2):
            a, b = self.circuits[first], self.circuits[second]
            rows.append(
                {
                    "first": first, "second": second, "edges": of_edges(a, b), "nodes": of_nodes(a, b),
                    "shared": int((a.kept & b.kept).sum()), "edges_of_first": len(a), "edges_of_second": len(b),
                    "edges_by_chance": by_chance(len(a), len(b), a.wiring.count * len(a.positions)),
                    "rank": _rank(a.scores, b.scores),
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def edges(self) -> Interval:
        """The mean overlap of edges over all pairs of circuits; with an interval if there are at least four."""
        return self._mean(of_edges)

    @property
    def nodes(self) -> Interval:
        """The mean overlap of nodes over all pairs of circuits; with an interval if there are at least four."""
        return self._mean(of_nodes)

    @property
    def counts(self) -> pd.DataFrame:
        """In how many of the circuits each edge is, the most frequent first."""
        first = next(iter(self.circuits.values()))
        count = np.sum([circuit.kept for circuit in self.circuits.values()], axis=0)
        listed = np.argwhere(count)
        frame = pd.DataFrame(
            {
                "sender": [str(first.wiring.senders[s]) for s, _, _ in listed],
                "receiver": [str(first.wiring.receivers[r]) for _, r, _ in listed],
                "at": [str(first.positions[p]) for _, _, p in listed],
                "circuits": count[tuple(listed.T)],
            }
        )
        return frame.sort_values("circuits", ascending=False, ignore_index=True, kind="stable")

    @property
    def core(self) -> list[tuple[Place, Place]]:
        """The edges that are in every circuit."""
        return self.core_circuit.edges

    @property
    def core_circuit(self) -> Circuit:
        """The circuit of the edges that are in every circuit."""
        first, *others = self.circuits.values()
        kept = np.logical_and.reduce([first.kept, *(circuit.kept for circuit in others)])
        return first.keep(kept, search="core", of=len(self.circuits))

    def _mean(self, overlap: Callable[[Circuit, Circuit], float]) -> Interval:
        circuits = list(self.circuits.values())
        table = np.array([[overlap(a, b) for b in circuits] for a in circuits])
        return mean_overlap(table)

    def summary(self, k: int = 5) -> str:
        """Say how much the circuits share, and what is in all of them."""
        chance = self.frame["edges_by_chance"].mean()
        lines = [
            f"{len(self.circuits)} circuits: they share {_text(self.edges)} of their edges (chance {chance:.3f}) and "
            f"{_text(self.nodes)} of their nodes; {len(self.core)} edges are in all of them"
        ]
        for name, circuit in self.circuits.items():
            lines.append(f"  {name}: {len(circuit)} edges, {int(nodes(circuit).sum())} nodes")
        for _, row in self.counts.head(k).iterrows():
            at = "" if row["at"] == "@all" else f" {row['at']}"
            lines.append(f"    {row['sender']} -> {row['receiver']}{at}  in {row['circuits']} of {len(self.circuits)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def chart(self) -> Bars:
        """Lay out the overlap of every two circuits."""
        rows = [
            (f"{row['first']} and {row['second']}", row[what], np.nan, np.nan, what)
            for _, row in self.frame.iterrows()
            for what in ("edges", "nodes", "edges_by_chance")
        ]
        return bar_chart(rows, "what the circuits share", "Jaccard index", reach=1.0)

    def _repr_html_(self) -> str:
        return f"<div>{still(self.chart())}<pre>{html.escape(self.summary())}</pre></div>"


@checked
def compare(circuits: Sequence[Circuit] | Mapping[str, Circuit]) -> Comparison:
    """Compare circuits of one model: the overlap of their edges and nodes, and the core that all of them have.

    An overlap is a Jaccard index: those in both over those in either, 1 if the circuits are equal and 0 if they share
    nothing. Two published circuits of one behavior can share as little as 4 % of their edges, so it stands beside what
    random circuits of the same sizes share.

    Args:
        circuits: At least two circuits, in a list or by name. Where they do not tell the same positions or query heads
            apart, positions and heads that share keys are joined.

    Example:
        >>> from mechcausal.circuits.circuit import Circuit
        >>> from mechcausal.circuits.edges.wiring import Wiring
        >>> wiring = Wiring(n_layers=1, n_heads=1, n_kv_heads=1)
        >>> one = Circuit.of(wiring, [("embed", "L0.v.H0"), ("L0.z.H0", "logits")])
        >>> other = Circuit.of(wiring, [("embed", "L0.v.H0"), ("embed", "logits")])
        >>> round(compare([one, other]).edges.estimate, 3)
        0.333
    """
    if isinstance(circuits, Mapping):
        named = dict(circuits)
    else:
        methods = [str(circuit.about.get("method", "circuit")) for circuit in circuits]
        unique = len(set(methods)) == len(methods)
        named = {
            method if unique else f"{method} {number}": circuit
            for number, (method, circuit) in enumerate(zip(methods, circuits, strict=True))
        }
    if len(named) < 2:
        raise ArgumentError("a comparison takes at least two circuits", got=len(named))
    if len({(circuit.wiring.split, circuit.positions) for circuit in named.values()}) > 1:
        named = {name: grouped(circuit) for name, circuit in named.items()}
    require_alike(list(named.values()))
    return Comparison(named)


def _rank(first: np.ndarray, second: np.ndarray) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3 or np.ptp(np.abs(first[both])) == 0 or np.ptp(np.abs(second[both])) == 0:
        return float("nan")
    return float(stats.spearmanr(np.abs(first[both]), np.abs(second[both])).statistic)


def _text(interval: Interval) -> str:
    reach = f" [{interval.low:.2f}, {interval.high:.2f}]" if np.isfinite(interval.low) else ""
    return f"{interval.estimate:.2f}{reach}"
