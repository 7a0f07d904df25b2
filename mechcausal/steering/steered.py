"""What a steering vector does at each dose, and what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.errors import ResultError
from mechcausal.generation.directions import save_direction
from mechcausal.interventions.specs import Add, Edit, When
from mechcausal.results.charted import Charted
from mechcausal.results.charts import Lines, line_chart
from mechcausal.results.result import mark_of


@dataclass(frozen=True, repr=False)
class Steered(Charted):
    """The dose-response curve of a steering vector, one row a dose, and a last row for asking where that was done.

    Columns, besides those of every sweep: `vector` (where it comes from, or `asked`), `dose` (in units of the vector) and
    `length` (of what is added); `random_low` and `random_high`, between which the mean change under 95 % of the random
    directions of the same length lies, and `p_random`, the share of random directions with at least that change. `kl` and
    `loss` are what it costs on neutral text, in nats a token, with intervals over its texts: the divergence from
    the unedited output, and the rise of the loss. `kl_random` is the mean divergence under random directions.
    """

    @property
    def doses(self) -> pd.DataFrame:
        """The rows of the doses."""
        return self.frame[self.frame["vector"] != "asked"]

    @property
    def asked(self) -> pd.DataFrame:
        """The row of the prompt that asks; none where that was not done."""
        return self.frame[self.frame["vector"] == "asked"]

    @property
    def direction(self) -> np.ndarray:
        """The vector that is added at dose 1, [feature]."""
        return np.asarray(self.tables["direction"])

    @property
    def site(self) -> str:
        """Where it is added."""
        return str(self.tables["site"])

    def edit(self, dose: float = 1.0, when: When | None = None) -> Edit:
        """Return the edit that adds a dose of the vector, for `mc.generate` and all sweeps."""
        return Edit.of(self.site, Add(tuple(self.direction.tolist()), float(dose)), self.tables["at"], when)

    def save_direction(self, path: str | Path) -> Path:
        """Write the vector of dose 1 to a safetensors file, which edits can name as their direction."""
        return save_direction(self.direction, path, {"site": self.site, "vector": self.doses["vector"].iloc[0]})

    def within(self, kl: float) -> pd.DataFrame:
        """Return the dose with the largest change among those that cost at most so much on neutral text.

        Args:
            kl: The largest divergence, in nats a token.
        """
        if not self.doses["kl"].notna().any():
            raise ResultError("the cost was not measured", fix="run mc.steer with neutral=PROMPTS")
        rows = self.doses[self.doses["kl"] <= kl]
        return rows.loc[rows["change"].abs().sort_values(ascending=False).index[:1]]

    @property
    def _tested(self) -> str:
        """What is tested of each dose, and of asking."""
        return "rows differ from no change"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know of the cost."""
        reason = self.tables.get("no_cost_because", "")
        return [f"the cost was not measured: {reason}; pass neutral=PROMPTS"] if reason else []

    def _head_lines(self) -> list[str]:
        """Say which vector was added where."""
        first = self.doses.iloc[0]
        return [
            f"steer: {first['vector']} at {self.site}{self.tables['at']}, dose 1 has length {self.tables['unit']:.2f}, "
            f"{self.examples.shape[1]} prompts, {self.tables['n_random']} random directions"
        ]

    def _cell_lines(self, k: int = 12) -> list[str]:
        """Say what each dose does and costs."""
        lines = []
        for _, row in self.frame.head(k).iterrows():
            what = "asked     " if row["vector"] == "asked" else f"dose {row['dose']:+5.3g}"
            text = f"{mark_of(row)}{what} change {row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}]"
            if self.normalized:
                text += f" effect {row['effect']:.2f}"
            if math.isfinite(row["random_low"]):
                text += f"; random [{row['random_low']:+.3f}, {row['random_high']:+.3f}]"
            if math.isfinite(row["kl"]):
                text += f"; costs {row['kl']:.3f} nats, loss {row['loss']:+.3f}"
            lines.append(text)
        return lines

    def chart(self) -> Lines:
        """Lay out the change by dose, with the band of random directions and the level of asking."""
        rows = self.doses
        series: list[tuple[str, Any]] = [
            (str(rows["vector"].iloc[0]), _points(rows, "change", "change_low", "change_high")),
        ]
        if rows["random_low"].notna().any():
            middle = rows.assign(random=(rows["random_low"] + rows["random_high"]) / 2)
            series.append(("random directions", _points(middle, "random", "random_low", "random_high")))
        marks = [("asked", float(self.asked["change"].iloc[0]))] if len(self.asked) else []
        metric = str(self.provenance.arguments.get("metric", "metric"))
        ringed = self._ringed(rows, "dose")
        return line_chart(series, f"steering at {self.site}", "dose", f"change of {metric}", marks=marks, **ringed)

    def cost_chart(self) -> Lines:
        """Lay out what the vector costs on neutral text by dose."""
        rows = self.doses
        if not rows["kl"].notna().any():
            raise ResultError("the cost was not measured", fix="run mc.steer with neutral=PROMPTS")
        series: list[tuple[str, Any]] = [(str(rows["vector"].iloc[0]), _points(rows, "kl", "kl_low", "kl_high"))]
        if rows["kl_random"].notna().any():
            series.append(
                (
                    "random directions",
                    [(d, v, np.nan, np.nan) for d, v in zip(rows["dose"], rows["kl_random"], strict=True)],
                )
            )
        marks = (
            [("asked", float(self.asked["kl"].iloc[0]))] if len(self.asked) and self.asked["kl"].notna().all() else []
        )
        return line_chart(series, "cost on neutral text", "dose", "KL in nats a token", marks=marks)


def _points(rows: pd.DataFrame, value: str, low: str, high: str) -> list[tuple[float, float, float, float]]:
    table = rows[["dose", value, low, high]].to_numpy(float)
    points = [(float(a), float(b), float(c), float(d)) for a, b, c, d in table]
    return points if (rows["dose"] == 0).any() else [*points, (0.0, 0.0, 0.0, 0.0)]  # nothing added changes nothing
