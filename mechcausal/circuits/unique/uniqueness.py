"""What rediscovery gives: how much of a circuit is found again, what is always there, and what its rival keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.circuits.circuit import Circuit
from mechcausal.results.charted import Charted
from mechcausal.results.charts import Bars, bar_chart
from mechcausal.results.intervals import Interval, mean_interval

GIVEN, HALF, SEED, METHOD, RIVAL = "given", "half", "seed", "method", "rival"


@dataclass(frozen=True, repr=False)
class Uniqueness(Charted):
    """The result of `Circuit.rediscover`: a row for the circuit, for each that was found again, and for the rival.

    `effect` is the faithfulness of each on pairs that it was not found on. Beside the columns of every result: `role`
    (`given`, `half`, `seed`, `method`, `rival`), `edges`, `jaccard_edges` and `jaccard_nodes` (the overlap with the
    circuit), `split` (which halves). `tables` hold the overlaps between disjoint halves, and the core.
    """

    @property
    def between_halves(self) -> Interval:
        """The mean overlap of edges of circuits found on two disjoint halves, with the interval over the splits.

        All splits are of the same pairs, so the interval says how the overlap varies with the split, not over new pairs.
        """
        return Interval(**self.tables["between_halves"])

    @property
    def nodes_between_halves(self) -> Interval:
        """The same of nodes."""
        return Interval(**self.tables["nodes_between_halves"])

    @property
    def by_chance(self) -> float:
        """The overlap of edges to expect of two random circuits of this size."""
        return float(self.tables["by_chance"])

    @property
    def core(self) -> pd.DataFrame:
        """The edges of the circuit that every rediscovery has: halves, seeds and methods."""
        return pd.DataFrame(self.tables["core"], columns=["sender", "receiver", "at"])

    @property
    def rival(self) -> float:
        """The faithfulness of the best circuit without any of the edges on held-out pairs; NaN where none was searched."""
        rows = self.frame.loc[self.frame["role"] == RIVAL, "effect"]
        return float(rows.iloc[0]) if len(rows) else float("nan")

    @property
    def faithfulness(self) -> float:
        """That of the circuit itself on pairs that it was not found on, where it says on which it was."""
        return float(self.frame["effect"].iloc[0])

    def overlap_with(self, role: str) -> float:
        """Return the mean overlap of edges of the circuit with those found on halves, by seeds or by methods; NaN without."""
        rows = self.frame.loc[self.frame["role"] == role, "jaccard_edges"]
        return float(rows.mean()) if len(rows) else float("nan")

    @property
    def sentence(self) -> str:
        """How unique the circuit is, in one line."""
        halves = self.between_halves
        reach = f" [{halves.low:.2f}, {halves.high:.2f}]" if np.isfinite(halves.low) else ""
        edges = int(self.frame["edges"].iloc[0])
        parts = [
            f"two halves of the pairs share {halves.estimate:.2f}{reach} of their edges (chance {self.by_chance:.2f})"
        ]
        for role, words in ((METHOD, "other methods"), (SEED, "other seeds")):
            if np.isfinite(self.overlap_with(role)):
                parts.append(f"{words} share {self.overlap_with(role):.2f} with it")
        parts.append(f"{len(self.core)} of {edges} edges are always there")
        if np.isfinite(self.rival):
            parts.append(
                f"the best rival without any of its edges keeps {self.rival:.2f} of the behavior (the circuit {self.faithfulness:.2f})"
            )
        return "; ".join(parts)

    def mark(self, circuit: Circuit) -> Circuit:
        """Return the circuit with what was found written into what it says of itself."""
        core = self.core.to_numpy().tolist()
        return circuit.keep(circuit.kept, unique={"sentence": self.sentence, "core": core})

    @property
    def _tested(self) -> str:
        """Nothing: the rows are circuits that are compared with the first."""
        return ""

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        return [text for text in self.tables.get("notes", []) if text]

    def chart(self) -> Bars:
        """Lay out the overlap of each circuit with the given one."""
        rows = []
        for _, row in self.frame.iloc[1:].iterrows():
            rows.append((row["label"], row["jaccard_edges"], np.nan, np.nan, "edges"))
            rows.append((row["label"], row["jaccard_nodes"], np.nan, np.nan, "nodes"))
        return bar_chart(rows, "overlap with the circuit", "Jaccard index", reach=1.0)

    def _head_lines(self) -> list[str]:
        """Say how much is found again."""
        return [f"unique? {self.sentence}"]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say how faithful each circuit is on pairs that it was not found on."""
        lines = []
        for _, row in self.frame.iterrows():
            reach = f" [{row['effect_low']:.3f}, {row['effect_high']:.3f}]" if np.isfinite(row["effect_low"]) else ""
            lines.append(
                f"  {row['label']:<24} {row['edges']:>5} edges, overlap {row['jaccard_edges']:.2f} (nodes "
                f"{row['jaccard_nodes']:.2f}), faithfulness {row['effect']:.3f}{reach}"
            )
        lines += [f"  always there: {row['sender']} -> {row['receiver']}" for _, row in self.core.head(k).iterrows()]
        return lines


def spread(values: list[float]) -> dict[str, Any]:
    """Return the fields of the interval of overlaps of disjoint halves over splits, within 0 and 1."""
    interval = mean_interval(np.array(values))
    low, high = (float(np.clip(end, 0, 1)) for end in (interval.low, interval.high))
    return asdict(interval) | {"low": low, "high": high}
