"""What judging a circuit gives: shares of the behavior with intervals, areas over all sizes, and the loss of each edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.circuits.evaluation.areas import areas
from mechcausal.circuits.evaluation.variants import CIRCUIT, PART_OF_CIRCUIT, PART_OF_MODEL, RANDOM, REST, SIZE
from mechcausal.results.charted import Charted
from mechcausal.results.charts import Bars as Bars
from mechcausal.results.charts import Lines, bar_chart, line_chart
from mechcausal.results.intervals import Interval, mean_interval, ratio_interval

UNRESOLVED = "the interval of the difference between the model and nothing includes 0, so shares of it say little"


@dataclass(frozen=True, repr=False)
class Evaluation(Charted):
    """The result of `Circuit.evaluate`: a row for each circuit that was run.

    `effect` is faithfulness: the share of the way from nothing kept (0) to the whole model (1). Beside the columns of
    every result: `role` (`circuit`, `rest`, `size`, `random`, and circuit and model without a part), `edges` (how many are
    kept after pruning), `share` (which of MIB's sizes, as a share of all edges; NaN for the circuit's own size), `draw`
    (the number of a random circuit or part).
    """

    @property
    def faithfulness(self) -> Interval:
        """The share of the behavior that the circuit keeps: 1 as the whole model, 0 as with every edge cut."""
        return self._share(CIRCUIT)

    @property
    def completeness(self) -> Interval:
        """The share that is left when the circuit is cut and all else kept: 0 if the circuit is all there is."""
        return self._share(REST)

    @property
    def incompleteness(self) -> pd.DataFrame:
        """How differently circuit and model lose one part: `difference` of faithfulness without a random half of the circuit.

        Zero where the circuit has no backup outside: what replaces the part in the model is then in the circuit too (Wang
        et al. 2022, whose incompleteness is the absolute value).
        """
        nothing, behavior = self.baselines["corrupt"], self.baselines["clean"] - self.baselines["corrupt"]
        rows = []
        for number in np.flatnonzero(self._rows(PART_OF_CIRCUIT).to_numpy()):
            assert self.frame["role"].iloc[number + 1] == PART_OF_MODEL
            circuit, model = (
                ratio_interval(self.examples[n] - nothing, behavior, self.clusters) for n in (number, number + 1)
            )
            difference = ratio_interval(self.examples[number] - self.examples[number + 1], behavior, self.clusters)
            rows.append(
                {
                    "draw": int(self.frame["draw"].iloc[number]), "circuit": circuit.estimate, "model": model.estimate,
                    "difference": difference.estimate, "low": difference.low, "high": difference.high,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def curve(self) -> pd.DataFrame:
        """Faithfulness at each size with its interval, and the mean and range of random circuits; empty without scores."""
        frame = self.frame
        rows = []
        for _, row in frame[frame["role"] == SIZE].iterrows():
            others = frame.loc[(frame["role"] == RANDOM) & (frame["share"] == row["share"]), "effect"]
            rows.append(
                {
                    "share": row["share"], "edges": row["edges"], "faithfulness": row["effect"],
                    "low": row["effect_low"], "high": row["effect_high"],
                    "random": others.mean(), "random_low": others.min(), "random_high": others.max(),
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def cmd(self) -> Interval | None:
        """MIB's distance of the curve from the model, integrated over sizes: 0 is perfect; None without scores."""
        return self._areas(SIZE)["cmd"] if self._rows(SIZE).any() else None

    @property
    def cpr(self) -> Interval | None:
        """MIB's area under the curve. It has no upper bound and can be gamed, so `cmd` leads; None without scores."""
        return self._areas(SIZE)["cpr"] if self._rows(SIZE).any() else None

    @property
    def cmd_of_random(self) -> tuple[float, float, float]:
        """The mean, the smallest and the largest CMD of random circuits; NaN where none were drawn."""
        frame, distances = self.frame, []
        for draw in sorted(set(frame.loc[self._rows(RANDOM), "draw"])):
            rows = self._rows(RANDOM) & (frame["draw"] == draw) & frame["share"].notna()
            if rows.any():
                distances.append(self._areas_of(rows)["cmd"].estimate)
        return (float(np.mean(distances)), min(distances), max(distances)) if distances else (np.nan, np.nan, np.nan)

    @property
    def of_random(self) -> tuple[float, float, float]:
        """The mean, smallest and largest faithfulness of random circuits of the circuit's own size."""
        shares = self.frame.loc[self._rows(RANDOM) & self.frame["share"].isna(), "effect"]
        return (
            (float(shares.mean()), float(shares.min()), float(shares.max()))
            if len(shares)
            else (np.nan, np.nan, np.nan)
        )

    @property
    def minimality(self) -> pd.DataFrame:
        """What is lost when each edge is removed from the circuit: `loss` as a share of the behavior, its interval, its test.

        `p_max` is corrected for all edges that were removed. `sampled` says that the edge is one of a random sample; the
        others are the lowest-scored, or all edges where there are few.
        """
        return pd.DataFrame(self.tables.get("minimality", []))

    @property
    def _tested(self) -> str:
        """Nothing: the rows are the circuit and what it is compared with."""
        return ""

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        notes = [text for text in self.tables.get("notes", []) if text]
        difference = mean_interval(self.baselines["clean"] - self.baselines["corrupt"], self.clusters)
        if difference.low <= 0 <= difference.high:
            notes.append(UNRESOLVED)
        return notes

    def _share(self, role: str) -> Interval:
        number = int(np.flatnonzero(self._rows(role).to_numpy())[0])
        nothing = self.baselines["corrupt"]
        return ratio_interval(self.examples[number] - nothing, self.baselines["clean"] - nothing, self.clusters)

    def _rows(self, role: str) -> pd.Series:
        return self.frame["role"] == role

    def _areas(self, role: str) -> dict[str, Interval]:
        return self._areas_of(self._rows(role))

    def _areas_of(self, rows: pd.Series) -> dict[str, Interval]:
        shares = self.frame.loc[rows, "share"].tolist()
        values = self.examples[np.flatnonzero(rows.to_numpy())]
        run = np.isfinite(values).all(0)  # what serves for comparison may be run on a sample of the pairs
        clusters = np.asarray(self.clusters)[run].tolist() if self.clusters else []
        return areas(values[:, run], self.baselines["corrupt"][run], self.baselines["clean"][run], clusters, shares)

    @property
    def sampled(self) -> int:
        """On how many pairs random circuits, halves and circuits without an edge were run."""
        return int(self.provenance.arguments.get("sampled", self.examples.shape[1]))

    def chart(self) -> Bars | Lines:
        """Lay out faithfulness over sizes against random circuits; bars where the circuit has no scores."""
        curve = self.curve
        if not len(curve):
            rows = [(name, i.estimate, i.low, i.high) for name, i in self._main()]
            return bar_chart(
                [*rows, ("random circuits", *self.of_random)], self._title, "share of the behavior", reach=1.0
            )
        at = np.log10(100 * curve["share"])
        points = list(zip(at, curve["faithfulness"], curve["low"], curve["high"], strict=True))
        series = [("circuit", points)]
        if curve["random"].notna().all():
            series.append(
                ("random", list(zip(at, curve["random"], curve["random_low"], curve["random_high"], strict=True)))
            )
        ticks = tuple((float(x), f"{100 * share:g} %") for x, share in zip(at, curve["share"], strict=True))
        return line_chart(
            series, self._title, "edges kept (logarithmic)", "faithfulness", marks=[("model", 1.0)], ticks=ticks
        )

    @property
    def _title(self) -> str:
        return f"circuit of {int(self.frame['edges'].iloc[0]):,} edges on {self.examples.shape[1]} pairs"

    def _main(self) -> list[tuple[str, Interval]]:
        return [("faithfulness", self.faithfulness), ("completeness", self.completeness)]

    def _head_lines(self) -> list[str]:
        """Say what was run, and between which values."""
        intact, none = (float(np.nanmean(self.baselines[name])) for name in ("clean", "corrupt"))
        asked = self.provenance.arguments
        return [
            f"{self._title}, {asked['metric']}: model {intact:.3f}, every edge cut ({asked['ablation']}) {none:.3f}"
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say how faithful, complete and minimal the circuit is, and how random circuits of the same size do."""
        lines = []
        mean, low, high = self.of_random
        random = f"; random circuits of this size {mean:.3f} ({low:.3f} to {high:.3f})" if np.isfinite(mean) else ""
        lines.append(f"  faithfulness {_text(self.faithfulness)}{random}")
        lines.append(f"  completeness: {_text(self.completeness)} is left when the circuit is cut (0 = complete)")
        parts = self.incompleteness
        if len(parts):
            lines.append(
                f"    without a random half of it, circuit and model differ by {parts['difference'].abs().mean():.3f} on average "
                f"({len(parts)} draws; 0 = no backup outside the circuit)"
            )
        cmd, cpr = self.cmd, self.cpr
        if cmd is not None and cpr is not None:
            mean, low, high = self.cmd_of_random
            random = f", of random circuits {mean:.3f} ({low:.3f} to {high:.3f})" if np.isfinite(mean) else ""
            lines.append(f"  over all sizes: CMD {_text(cmd)}{random}; CPR {_text(cpr)}")
        else:
            lines.append("  the circuit has no scores, so there is no curve over sizes")
        lines += self._minimality_lines(k)
        if self.sampled < self.examples.shape[1]:
            lines.append(
                f"  random circuits, halves and removed edges were run on a sample of {self.sampled} of the "
                f"{self.examples.shape[1]} pairs"
            )
        return lines

    def _minimality_lines(self, k: int) -> list[str]:
        removed = self.minimality
        if not len(removed):
            return []
        idle = int((removed["p_max"] > 0.05).sum())
        which = (
            "edges" if len(removed) == self.frame["edges"].iloc[0] else "edges (the lowest-scored and a random sample)"
        )
        lines = [f"  minimality: of {len(removed)} {which} removed one by one, {idle} are not seen to matter"]
        for _, row in removed.reindex(removed["loss"].abs().sort_values(ascending=False).index).head(k).iterrows():
            lines.append(
                f"    {row['sender']} -> {row['receiver']}  loss {row['loss']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            )
        return lines


def _text(interval: Interval) -> str:
    if not (np.isfinite(interval.low) and np.isfinite(interval.high)):
        return f"{interval.estimate:.3f}"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def losses(rows: list[dict[str, Any]], columns: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the table of minimality as JSON data."""
    return [row | {name: float(values[number]) for name, values in columns.items()} for number, row in enumerate(rows)]
