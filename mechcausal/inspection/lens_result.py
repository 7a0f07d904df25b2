"""What a lens read: a table of cells, with what of it is used, and its pictures."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mechcausal.results.pictures import Grid, heatmaps, svg
from mechcausal.results.result import MARK, SURVIVES, Result, mark_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LARGE = 0.5


@dataclass(frozen=True, repr=False)
class Lens(Result):
    """What a lens reads at each layer and position, and beside it what of it is used.

    Columns, besides those that say where: `value` with its interval is what is read, the log-odds of answer against foil, or
    the log-probability of the answer where there is no foil; `rank` is the median rank of the answer among all tokens
    (1 is the likeliest); `token` and `top` are the likeliest tokens by their mean probability; `kl` is the divergence
    from the model's own output at that position to what is read, and `agrees` how often both have the same likeliest
    token. Of pairs, `readable` is the difference of `value` between the two sides, and `used` the exact effect of patching
    this very cell, each as a share of the difference of the outputs and with its interval: 0 is none of it, 1 all.

    `p`, `q` and `p_max` test "nothing is readable": that `value` is the same on both sides; `used_p`, `used_q` and
    `used_p_max` test "nothing is used". Each is corrected for all cells of the table. Prompts without pairs have no tests,
    because there is nothing with which what is read is compared.
    """

    @property
    def normalized(self) -> bool:
        """Whether there are effects: where pairs were read."""
        return "readable" in self.frame

    @property
    def tuning(self) -> pd.DataFrame:
        """How near each layer of a tuned lens and of the logit lens comes to the output on held-out prompts, in nats."""
        return pd.DataFrame(
            self.tables.get("tuning", []), columns=["site", "logit_lens", "tuned_lens", "low", "high", "penalty"]
        )

    @property
    def unused(self) -> pd.DataFrame:
        """The cells at which more than half can be read, and less than a tenth is used."""
        if "used" not in self.frame or "readable" not in self.frame:
            return self.frame.iloc[:0]
        return self.frame[(self.frame["readable"] > _LARGE) & (self.frame["used"].abs() < 0.1)]

    @property
    def _tested(self) -> str:
        """What is tested of each cell of pairs."""
        return "cells are readable (the two sides differ)"

    @property
    def _ranked_by(self) -> str:
        return "readable" if self.normalized else "value"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know: that reading is not using, and what the lens was trained on."""
        kind = self.provenance.arguments.get("kind")
        notes = ["a lens says what can be read with the model's own unembedding, not what the model uses"]
        if kind == "tuned" and self.provenance.arguments.get("held_out"):
            notes.append("the tuned lens was trained on other clusters of these prompts; what is read is held out")
        return notes

    def _head_lines(self) -> list[str]:
        """Say what was read."""
        kind = self.provenance.arguments.get("kind")
        return [f"lens ({kind}): {len(self)} cells, {self.examples.shape[1]} prompts"]

    def _survival_lines(self) -> list[str]:
        """Say how many cells survive the correction: as readable, and as used."""
        lines = super()._survival_lines()
        if "used_p_max" in self.frame and self.frame["used_p_max"].notna().any():
            used = int(self.frame["used_p_max"].le(SURVIVES).sum())
            lines.append(f"{used} of {int(self.frame['used_p_max'].notna().sum())} are used, by the same correction")
        return lines

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say what is read at the last position, from where on, and how much of it is used."""
        lines = []
        last = self.frame[self.frame["at"] == self.frame["at"].iloc[-1]]
        first = last[last["rank"] <= 1.0]
        if len(first):
            lines.append(f"at {last['label'].iloc[0]}, the answer comes first from {first['site'].iloc[0]} on")
        for _, row in self._ranked(k).iterrows():
            text = f"{mark_of(row)}{row['site']}{row['at']:<8} reads {row['value']:+.3f}, rank {row['rank']:.0f}, {row['token']!r}"
            if self.normalized:
                text += f"; readable {row['readable']:.3f}"
            if "used" in row:
                text += f", used {row['used']:.3f}{mark_of(row, 'used_p_max').strip()}"
            lines.append(text)
        return lines

    def grids(self) -> list[Grid]:
        """Lay out the likeliest tokens, and of pairs what is readable and what is used."""
        near = np.exp(-self.frame["kl"].to_numpy(float))
        panels = [self._grid("likeliest token", near, "nearness to the output", words=True)]
        for column, test in (("readable", "p_max"), ("used", "used_p_max")):
            if column in self.frame:
                panels.append(self._grid(column, self.frame[column].to_numpy(float), column, test=test))
        return panels

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw the likeliest tokens, and of pairs what is readable and what is used; or one column."""
        if column is not None:
            return super().plot(column)
        return heatmaps(self.grids(), f"lens: {self.provenance.arguments.get('kind')}")

    def _repr_html_(self) -> str:
        return f"<div>{''.join(map(svg, self.grids()))}<pre>{html.escape(self.summary())}</pre></div>"

    def _grid(
        self, title: str, values: np.ndarray, quantity: str, *, words: bool = False, test: str | None = None
    ) -> Grid:
        frame = self.frame
        x, y = (tuple(dict.fromkeys(frame[name].astype(str))) for name in ("label", "site"))
        table = np.full((len(y), len(x)), np.nan)
        marks = np.zeros(table.shape, dtype=bool)
        tokens, hover = ([[""] * len(x) for _ in y] for _ in range(2))
        for (_, row), value in zip(frame.iterrows(), values, strict=True):
            i, j = y.index(row["site"]), x.index(row["label"])
            table[i, j], tokens[i][j] = value, row["token"]
            marks[i, j] = test is not None and mark_of(row, test) == MARK
            hover[i][j] = f"{row['site']}{row['at']}: {row['top']}; rank {row['rank']:.0f}, {quantity} {value:.3f}"
        finite = np.abs(table[np.isfinite(table)])
        scale = max(1.0, float(finite.max(initial=0.0)))
        written = tuple(map(tuple, tokens)) if words else ()
        return Grid(title, x, y, "position", "site", table, tuple(map(tuple, hover)), scale, quantity, marks, written)
