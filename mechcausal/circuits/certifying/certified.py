"""What certifying gives: which edges carry the behavior for sure, and how wrong the screening was."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from mechcausal.circuits.certifying.sampled import SAMPLE, TOP, missed
from mechcausal.circuits.circuit import Circuit
from mechcausal.results.intervals import Interval
from mechcausal.results.result import Result
from mechcausal.results.scatter import Point, Points, figure, still

if TYPE_CHECKING:
    import plotly.graph_objects as go

SURE, UNSURE = "certified", "top, not certified"


@dataclass(frozen=True, repr=False)
class Certificate(Result):
    """The result of `Circuit.certify`: a row for each edge that was measured exactly, the best by score first.

    Beside the columns of every result: `sender`, `receiver`, `role` (`top` or `sample`), `stratum` (of the sample, by rank of
    the score), `score` (what was estimated), `exact` (the metric of the clean run minus that with this edge alone cut) with
    its interval, `share` (the same as a share of the behavior) with its interval, `matters` (the share is at least `least`
    in absolute terms), `p_least` (tests that it is; corrected for all edges that were measured), `certified`, and `flip`
    (the sign is not that of the score).
    """

    @property
    def certified(self) -> pd.DataFrame:
        """The edges that carry the behavior for sure, what matters most first."""
        rows = self.frame[self.frame["certified"]]
        order = rows["share"].abs().sort_values(ascending=False, kind="stable").index
        columns = ["sender", "receiver", "at", "role", "score", "exact", "share", "share_low", "share_high", "p_least"]
        return rows.loc[order, columns]

    @property
    def precision(self) -> float:
        """The share of the k best edges that matter by their exact effect."""
        return float(self._of(TOP)["matters"].mean())

    @property
    def false_negatives(self) -> Interval:
        """The estimated share of all edges that matter that are not among the k best, with its interval.

        The sample is stratified by rank. Where few edges were drawn of many, the interval is wide: a sample cannot exclude
        that some of thousands matter.
        """
        sample, sizes = self._of(SAMPLE), self.tables["strata"]
        strata = [sample[sample["stratum"] == number] for number in range(len(sizes))]
        hits = [int(rows["matters"].sum()) for rows in strata]
        return missed(hits, [len(rows) for rows in strata], sizes, int(self._of(TOP)["matters"].sum()))

    @property
    def flips(self) -> int:
        """How many of the k best edges that matter have an exact effect of the other sign than their score."""
        top = self._of(TOP)
        return int((top["flip"] & top["matters"]).sum())

    @property
    def calibration(self) -> dict[str, float]:
        """How estimated and exact effects of all edges that were measured agree.

        `slope` is that of the exact effects on the scores through zero (1 is calibrated), `r` their correlation, `rank`
        the rank correlation of absolute values.
        """
        score, exact = self.frame["score"].to_numpy(float), self.frame["exact"].to_numpy(float)
        size = float((score**2).sum())
        vary = len(score) > 2 and np.ptp(score) > 0 and np.ptp(exact) > 0
        return {
            "slope": float(score @ exact) / size if size > 0 else np.nan,
            "r": float(np.corrcoef(score, exact)[0, 1]) if vary else np.nan,
            "rank": float(stats.spearmanr(np.abs(score), np.abs(exact)).statistic) if vary else np.nan,
        }

    @property
    def blocked(self) -> str:
        """Why nothing can be certified here; empty where something can."""
        return str(self.tables["reason"])

    @property
    def _tested(self) -> str:
        """Nothing: which edges are certified is tested by `p_least`, which is corrected for all edges."""
        return ""

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        blocked = [f"nothing is certified: {self.blocked}"] if self.blocked else []
        return [*blocked, *(text for text in self.tables.get("notes", []) if text)]

    @property
    def sentence(self) -> str:
        """What was certified, in one line."""
        k, least = len(self._of(TOP)), float(self.provenance.arguments["least"])
        if self.blocked:
            return f"0 of the {k} best edges are certified, because the model cannot be said to have the behavior"
        rate = self.false_negatives
        text = (
            f"{int(self._of(TOP)['certified'].sum())} of the {k} best edges are certified to carry at least {least:.1%} of the "
            f"behavior on held-out pairs; precision {self.precision:.2f}, {self.flips} with the other sign"
        )
        if np.isfinite(rate.estimate):
            text += f", false-negative rate {rate.estimate:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
        return text

    def mark(self, circuit: Circuit) -> Circuit:
        """Return the circuit with what was certified written into what it says of itself."""
        edges = [[row["sender"], row["receiver"], row["at"]] for _, row in self.certified.iterrows()]
        rate = self.false_negatives
        statement = {
            "sentence": self.sentence, "edges": edges, "k": len(self._of(TOP)), "precision": self.precision,
            "flips": self.flips, "calibration": self.calibration, "reason": self.blocked,
            "false_negatives": [rate.estimate, rate.low, rate.high], "pairs": self.provenance.prompts["hash"],
        }  # fmt: skip
        return circuit.keep(circuit.kept, certified=_finite(statement))

    def _of(self, role: str) -> pd.DataFrame:
        return self.frame[self.frame["role"] == role]

    def _head_lines(self) -> list[str]:
        """Say what is certified, and how wrong the estimates are."""
        calibration = self.calibration
        return [
            f"certify: {self.sentence}",
            f"  {len(self._of(TOP))} best and {len(self._of(SAMPLE))} random edges of {sum(self.tables['strata']) + len(self._of(TOP)):,}, "
            f"{self.examples.shape[1]} pairs; exact effects are {calibration['slope']:.2f} times the scores "
            f"(correlation {calibration['r']:.2f}, of ranks {calibration['rank']:.2f})",
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say which edges carry most."""
        lines = []
        rows = self.frame.loc[self.frame["share"].abs().sort_values(ascending=False, kind="stable").index[:k]]
        for _, row in rows.iterrows():
            at = "" if row["at"] == "@all" else f" {row['at']}"
            reach = f" [{row['share_low']:+.3f}, {row['share_high']:+.3f}]" if np.isfinite(row["share_low"]) else ""
            mark = "*" if row["certified"] else " "
            lines.append(
                f"{mark} {row['sender']} -> {row['receiver']}{at}  score {row['score']:+.3f}  exact {row['exact']:+.3f}  "
                f"share {row['share']:+.3f}{reach}"
            )
        return lines

    def scatter(self) -> Points:
        """Lay out exact effects against what was estimated."""
        dots = []
        for _, row in self.frame.iterrows():
            group = SURE if row["certified"] else UNSURE if row["role"] == TOP else "random sample"
            dots.append(Point(f"{row['sender']} -> {row['receiver']}", row["score"], row["exact"], group=group))
        dots.sort(key=lambda dot: [SURE, UNSURE, "random sample"].index(dot.group))
        note = f"precision {self.precision:.2f}, {self.flips} sign flips; on the diagonal the estimate is right"
        title = "estimated and exact effects of edges"
        return Points(tuple(dots), title, "estimated", "exact", diagonal=True, note=note)

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw exact against estimated effects, or one column as heatmaps."""
        return figure(self.scatter()) if column is None else super().plot(column)

    def _repr_html_(self) -> str:
        return f"<div>{still(self.scatter())}<pre>{html.escape(self.summary())}</pre></div>"


def rows_of(circuit: Circuit, edges: np.ndarray, roles: Sequence[str], strata: Sequence[int]) -> list[dict[str, Any]]:
    """Return the columns that say which edge is which."""
    wiring, rows = circuit.wiring, []
    for (sender, receiver, position), role, stratum in zip(edges, roles, strata, strict=True):
        names = str(wiring.senders[sender]), str(wiring.receivers[receiver])
        label = " -> ".join(names)
        rows.append(
            {
                "site": label, "component": "edge", "layer": wiring.receivers[receiver].layer,
                "at": str(circuit.positions[position]), "label": label, "sender": names[0], "receiver": names[1],
                "role": role, "stratum": int(stratum), "score": float(circuit.scores[sender, receiver, position]),
            }
        )  # fmt: skip
    return rows


def _finite(data: Any) -> Any:  # noqa: ANN401 - JSON data
    """Return JSON data with None where a number is not finite."""
    if isinstance(data, dict):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data
