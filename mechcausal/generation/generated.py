"""What was written: a table of texts with their tokens and log-probabilities."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mechcausal.errors import shortened
from mechcausal.results.charts import Lines, figure, line_chart
from mechcausal.results.result import Result

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SHOWN = 6


@dataclass(frozen=True, repr=False)
class Generated(Result):
    """What a model wrote, one row for each text.

    Columns: `prompt` (its number) and `sample`; `before` (the prompt as text) and `text` (what was written, without special
    tokens, up to a stop text); `ended` (`end of text`, `stop` or `length`), `n_tokens`, `tokens` (all that were written, as
    numbers), and `logprob`, their summed log-probability under the model as edited, at temperature 1.
    `examples` has the log-probability of each token, NaN after the last.
    """

    @property
    def texts(self) -> list[str]:
        """What was written, in order."""
        return [str(text) for text in self.frame["text"]]

    @property
    def normalized(self) -> bool:
        """Whether there is an effect: never, because nothing is compared."""
        return False

    @property
    def edits(self) -> pd.DataFrame:
        """Which edits were made, in how many forwards their hooks were seen to fire, and at how many positions."""
        return pd.DataFrame(self.tables.get("edits", []), columns=["edit", "when", "forwards", "positions"])

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know: how many texts were cut off."""
        cut = int((self.frame["ended"] == "length").sum())
        return [f"{cut} of {len(self)} texts were cut off at their last token"] if cut else []

    def _head_lines(self) -> list[str]:
        """Say how much was written, and under which edits."""
        return [
            f"generate: {len(self)} texts, {int(self.frame['n_tokens'].sum())} tokens",
            *self._edit_lines(),
        ]

    def _edit_lines(self) -> list[str]:
        return [
            f"edit: {row['edit']} ({row['when']}), fired in {row['forwards']} forwards at {row['positions']} positions"
            for row in self.tables.get("edits", [])
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say what was written after the first prompts."""
        return [
            f"  {shortened(row['before'], 60)!r} -> {row['text']!r} (logprob {row['logprob']:.2f})"
            for _, row in self.frame.head(k).iterrows()
        ]

    def chart(self) -> Lines:
        """Lay out the log-probability of each token of the first texts."""
        series = []
        for number, values in enumerate(self.examples[:_SHOWN]):
            points = [(step, value, np.nan, np.nan) for step, value in enumerate(values.tolist()) if np.isfinite(value)]
            row = self.frame.iloc[number]
            series.append((f"{row['prompt']}.{row['sample']} {shortened(row['text'].strip(), 24)}", points))
        return line_chart(series, "log-probability of each token", "token", "nats")

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw the log-probability of each token of the first texts."""
        del column
        return figure(self.chart())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row['before'])}</td><td>{html.escape(row['text'])}</td>"
            f"<td>{row['ended']}</td><td>{row['logprob']:.2f}</td></tr>"
            for _, row in self.frame.iterrows()
        )
        head = "<tr><th>prompt</th><th>text</th><th>ended</th><th>logprob</th></tr>"
        return f"<table>{head}{rows}</table>"
