"""Results that are drawn as bars or curves rather than as heatmaps."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from mechcausal.results.charts import Bars, Lines, figure, still
from mechcausal.results.result import Result

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Charted(Result):
    """A result with a chart of its own; `chart` lays it out."""

    def chart(self) -> Bars | Lines:
        """Lay out the picture that says most."""
        raise NotImplementedError

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw the chart, or one column as heatmaps."""
        return figure(self.chart()) if column is None else super().plot(column)

    def _repr_html_(self) -> str:
        return f"<div>{still(self.chart())}<pre>{html.escape(self.summary())}</pre></div>"
