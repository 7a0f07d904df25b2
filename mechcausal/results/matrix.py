"""A matrix of words and numbers, each cell as it was declared to be or not: a still SVG and a live figure."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from mechcausal.errors import ResultError
from mechcausal.results import svg
from mechcausal.results.pictures import Figure

Tone = Literal["good", "bad", "plain"]
_TALL, _LEAST = 34.0, 84.0
_INK = {"good": "#1a7f4b", "bad": "#b3261e", "plain": "#6b7680"}
_SIGN = {"good": "\u2713", "bad": "\u2717", "plain": ""}  # so that it is told apart without color


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix.

    Attributes:
        value: The number that colors it, from 0 to 1; NaN for none.
        text: What stands in it.
        tone: Whether it is as it was declared to be.
    """

    value: float
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Matrix:
    """A matrix before it is drawn.

    Attributes:
        rows: The names of the rows.
        columns: The names of the columns.
        cells: The cells, row by row.
        title: The title.
        measure: What the numbers are.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    title: str
    measure: str

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        words = {"good": " (as declared)", "bad": " (not as declared)", "plain": ""}
        parts = [
            f"{row}: "
            + ", ".join(f"{name} {cell.text}{words[cell.tone]}" for name, cell in zip(self.columns, line, strict=True))
            for row, line in zip(self.rows, self.cells, strict=True)
        ]
        return f"{self.title} ({self.measure}): {'; '.join(parts)}"


def still(matrix: Matrix) -> str:
    """Draw a matrix as a self-contained SVG; it needs no script, and prints."""
    if not matrix.cells or not matrix.columns:
        raise ResultError("there is nothing to draw", fix="give at least one cell")
    left = 22 + svg.LETTER * max(len(svg.cut(row)) for row in matrix.rows)
    widths = [
        max(_LEAST, 26 + svg.LETTER * max(len(svg.cut(name)), *(len(line[number].text) + 2 for line in matrix.cells)))
        for number, name in enumerate(matrix.columns)
    ]
    top, parts = 64.0, [svg.text(14, 38, matrix.measure, "start")]
    at = left
    for number, name in enumerate(matrix.columns):
        parts.append(svg.text(at + widths[number] / 2, top - 8, svg.cut(name), "middle"))
        at += widths[number]
    for row, (name, line) in enumerate(zip(matrix.rows, matrix.cells, strict=True)):
        y = top + row * _TALL
        parts.append(svg.text(left - 10, y + _TALL / 2 + 4, svg.cut(name), "end"))
        at = left
        for number, cell in enumerate(line):
            parts.append(_cell(cell, f"{name}, {matrix.columns[number]}", at, y, widths[number]))
            at += widths[number]
    return svg.page(matrix.describe(), matrix.title, at + 14, top + len(matrix.rows) * _TALL + 12, parts)


def _cell(cell: Cell, name: str, left: float, top: float, wide: float) -> str:
    strength = min(1.0, max(0.0, cell.value)) if math.isfinite(cell.value) else 0.0
    ink, sign = _INK[cell.tone], f" {_SIGN[cell.tone]}" if _SIGN[cell.tone] else ""
    edge = 2 if cell.tone == "bad" else 1
    return (
        f"<g><title>{html.escape(f'{name}: {cell.text}')}</title>"
        f'<rect x="{left + 2:.1f}" y="{top + 2:.1f}" width="{wide - 4:.1f}" height="{_TALL - 4:.1f}" rx="4" '
        f'fill="{ink}" fill-opacity="{0.08 + 0.42 * strength:.2f}" stroke="{ink}" stroke-width="{edge}"/>'
        f"{svg.text(left + wide / 2, top + _TALL / 2 + 4, cell.text + sign, 'middle')}</g>"
    )


def figure(matrix: Matrix) -> Figure:
    """Draw a matrix with plotly; the figure carries the still picture along."""
    drawn = Figure(
        go.Heatmap(
            z=[[None if math.isnan(cell.value) else cell.value for cell in line] for line in matrix.cells],
            x=list(matrix.columns), y=list(matrix.rows), zmin=0, zmax=1, colorscale="Blues", opacity=0.8,
            text=[[f"{cell.text} {_SIGN[cell.tone]}" for cell in line] for line in matrix.cells],
            texttemplate="%{text}", hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    drawn.update_yaxes(autorange="reversed")
    height = 160 + 44 * len(matrix.rows)
    drawn.update_layout(title=matrix.title, height=height, paper_bgcolor="rgba(0,0,0,0)", meta={"still": still(matrix)})
    return drawn
