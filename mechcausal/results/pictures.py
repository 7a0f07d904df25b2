"""Pictures of results: one layout, drawn twice: as a live plotly figure and as a still SVG.

The SVG is what survives: it needs no script, prints, and is what a notebook keeps when it is exported. NaN is drawn
as hatching, never as a color.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechcausal.errors import ResultError

if TYPE_CHECKING:
    from mechcausal.results.result import Result

# Endpoints and middle of a diverging scale that stays readable for the color-blind.
_LETTERS = 9  # of a word in a cell
_STEPS, _STEP = 9, 11  # of the scale, and how tall each is
_LOW, _MIDDLE, _HIGH = (33, 102, 172), (247, 247, 247), (178, 24, 43)


@dataclass(frozen=True, eq=False)
class Grid:
    """A heatmap before it is drawn: `values[row, column]`, with the words around it.

    `words` are written into the cells in place of the numbers, where there are any.
    """

    title: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    x_title: str
    y_title: str
    values: np.ndarray
    hover: tuple[tuple[str, ...], ...]
    scale: float
    quantity: str
    marks: np.ndarray
    words: tuple[tuple[str, ...], ...] = ()

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        if not np.isfinite(self.values).any():
            return f"{self.title}: no values"
        row, column = np.unravel_index(np.nanargmax(np.abs(self.values)), self.values.shape)
        largest = f"largest {self.quantity} {self.values[row, column]:.3f} at {self.y[row]}, {self.x[column]}"
        marked = (
            f"; {int(self.marks.sum())} marked with * survive the correction for all cells" if self.marks.any() else ""
        )
        return f"{self.title}: {self.values.size} cells; {largest}{marked}"


def grids(result: Result, column: str) -> list[Grid]:
    """Lay out one heatmap per component."""
    frame = result.frame
    if column not in frame or not pd.api.types.is_numeric_dtype(frame[column]):
        raise ResultError(f"there is no column {column!r} to draw", expected="value, change or effect")
    finite = frame[column].abs().replace(np.inf, np.nan).max()
    share = column == "effect" or column == result.shown == "value"
    scale = 1.0 if share else 0.0
    scale = max(scale, float(finite) if np.isfinite(finite) else 0.0) or 1.0
    survives = result.survives
    return [
        _grid(part, str(component), column, scale, survives[part.index])
        for component, part in frame.groupby("component", sort=False)
    ]


def _grid(part: pd.DataFrame, component: str, column: str, scale: float, survives: pd.Series) -> Grid:
    by_position = part["at"].nunique() > 1
    units = part["site"].str.replace(f".{component}", "", regex=False)
    layers = part["layer"].map(lambda layer: "" if pd.isna(layer) else f"L{layer}")
    if {"role", "variables"} <= set(part):
        x, y, x_title, y_title = part["role"], part["variables"], "role", "variables"
    elif by_position:
        x, y, x_title, y_title = part["label"], units, "position", "site"
    elif part["head"].notna().all():
        x, y, x_title, y_title = part["head"].map(lambda head: f"H{head}"), layers, "head", "layer"
    elif part["neuron"].notna().all():
        x, y, x_title, y_title = part["neuron"].map(lambda neuron: f"N{neuron}"), layers, "neuron", "layer"
    elif "feature" in part and part["feature"].notna().all():
        places = layers + " " + part["dictionary"]
        x, y, x_title, y_title = part["feature"].map(lambda number: f"F{number}"), places, "feature", "dictionary"
    else:
        x, y, x_title, y_title = part["label"], units, "position", "site"
    columns, rows = list(dict.fromkeys(x)), list(dict.fromkeys(y))
    values = np.full((len(rows), len(columns)), np.nan)
    marks = np.zeros(values.shape, dtype=bool)
    hover = [[""] * len(columns) for _ in rows]
    for (_, row), across, down, mark in zip(part.iterrows(), x, y, survives, strict=True):
        i, j = rows.index(down), columns.index(across)
        values[i, j], marks[i, j] = row[column], mark
        hover[i][j] = _hover(row, column)
    return Grid(
        component, tuple(columns), tuple(rows), x_title, y_title, values, tuple(map(tuple, hover)), scale, column, marks
    )


def _hover(row: pd.Series, column: str) -> str:
    text = f"{row['site']}{'' if row['at'] == '@all' else row['at']}  {column} {row[column]:.4f}"
    if f"{column}_low" in row:
        text += f" [{row[f'{column}_low']:.4f}, {row[f'{column}_high']:.4f}]"
    if "p_max" in row and np.isfinite(row["p_max"]):
        text += f", p_max {row['p_max']:.3f}"
    return f"{text}, value {row['value']:.4f}, n {row['n']}"


class Figure(go.Figure):
    """A plotly figure that also carries its still picture, so that exported notebooks show it."""

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        # The live form for a running notebook, the still one for whatever cannot run scripts.
        return {"application/vnd.plotly.v1+json": self.to_plotly_json_plain(), "text/html": self.still}

    def _ipython_display_(self) -> None:
        # Plotly's own version of this wins over the bundle and sends the live form alone.
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)

    def to_plotly_json_plain(self) -> dict[str, Any]:
        """Return the figure as plain JSON data."""
        import json

        return json.loads(self.to_json())

    @property
    def still(self) -> str:
        """The still picture, as HTML."""
        return str(self.layout.meta["still"])


def figure(result: Result, column: str) -> Figure:
    """Draw the heatmaps of a result with plotly."""
    title = f"{result.provenance.method}: {column} ({result.provenance.arguments.get('metric', '')})"
    return heatmaps(grids(result, column), title)


def heatmaps(panels: Sequence[Grid], title: str) -> Figure:
    """Draw heatmaps side by side with plotly; the figure carries the still pictures along."""
    drawn = make_subplots(rows=1, cols=len(panels), subplot_titles=[panel.title for panel in panels])
    low, middle, high = (f"rgb{color}" for color in (_LOW, _MIDDLE, _HIGH))
    for number, panel in enumerate(panels, start=1):
        drawn.add_trace(
            go.Heatmap(
                x=list(panel.x),
                y=list(panel.y),
                z=panel.values,
                text=[list(row) for row in panel.words] or np.where(panel.marks, "*", "").tolist(),
                texttemplate="%{text}",
                hovertext=[list(row) for row in panel.hover],
                hovertemplate="%{hovertext}<extra></extra>",
                zmin=-panel.scale,
                zmax=panel.scale,
                colorscale=[[0, low], [0.5, middle], [1, high]],
                colorbar={"title": panel.quantity},
                showscale=number == len(panels),
            ),
            row=1,
            col=number,
        )
        drawn.update_xaxes(title_text=panel.x_title, type="category", row=1, col=number)
        drawn.update_yaxes(title_text=panel.y_title, type="category", autorange="reversed", row=1, col=number)
    tallest = max(len(panel.y) for panel in panels)
    framed = Figure(drawn)
    framed.update_layout(
        title=title,
        height=max(320, 160 + 22 * tallest),
        paper_bgcolor="rgba(0,0,0,0)",
        meta={"still": "".join(svg(panel) for panel in panels)},
    )
    return framed


def color(value: float, scale: float) -> str:
    """Return the color of a value between -scale and scale; beyond it the end color."""
    share = float(np.clip(value / scale, -1, 1))
    end = _HIGH if share > 0 else _LOW
    mixed = (round(m + abs(share) * (e - m)) for m, e in zip(_MIDDLE, end, strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def svg(grid: Grid) -> str:
    """Draw one heatmap as a self-contained SVG with a text alternative; numbers are written where they fit."""
    wide = max(46, 7 * max(map(len, grid.x), default=1) + 8) if len(grid.x) <= 16 else max(4, 640 // len(grid.x))
    wide = max(wide, 7 * _LETTERS + 8) if grid.words else wide
    tall, left, top = 22, 14 + 7 * max(map(len, grid.y), default=1), 44
    numbers = wide >= 40
    legend = "; * survives the correction for all cells" if numbers else "; a dot survives the correction for all cells"
    words_below = f"{grid.y_title} down, {grid.x_title} across{legend if grid.marks.any() else ''}"
    # What stands below needs its own width, and stands below the scale as well.
    width = max(left + wide * len(grid.x) + 90, left + round(6.6 * len(words_below)) + 10)
    bottom = top + max(tall * len(grid.y), _STEPS * _STEP) + 18
    height = bottom + 26
    words = html.escape(grid.describe())
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" style="max-width:100%;height:auto;font:12px system-ui,sans-serif;color:inherit">',
        f"<title>{words}</title>",
        '<defs><pattern id="none" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<path d="M0 6L6 0" stroke="#999" stroke-width="1"/></pattern></defs>',
        f'<text x="{left}" y="16" font-weight="600" fill="currentColor">{html.escape(grid.title)}: {grid.quantity}</text>',
    ]
    for i, name in enumerate(grid.y):
        y = top + tall * i
        out.append(_label(left - 6, y + 15, name, "end"))
        for j in range(len(grid.x)):
            out.append(_cell(grid, i, j, left + wide * j, y, wide, tall, numbers))
    step = 1 if numbers else max(1, round(60 / wide))
    for j in range(0, len(grid.x), step):
        out.append(_label(left + wide * (j + 0.5), top - 8, grid.x[j], "middle"))
    out.append(_label(left, bottom, words_below, "start"))
    out.extend(_scale(grid, left + wide * len(grid.x) + 14, top))
    return "".join(out) + "</svg>"


def _cell(grid: Grid, i: int, j: int, x: float, y: float, wide: float, tall: float, numbers: bool) -> str:
    value = grid.values[i, j]
    fill = color(value, grid.scale) if np.isfinite(value) else "url(#none)"
    tip = html.escape(grid.hover[i][j] or "not run")
    cell = f'<g><title>{tip}</title><rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{tall}" fill="{fill}" stroke="#fff" stroke-width=".5"/>'
    if not numbers and grid.marks[i, j]:
        cell += f'<circle cx="{x + wide / 2:.1f}" cy="{y + tall / 2:.1f}" r="1.8" fill="#222"/>'
    if numbers and np.isfinite(value):
        ink = "#fff" if abs(value) > 0.6 * grid.scale else "#222"
        mark = "*" if grid.marks[i, j] else ""
        shown = html.escape(grid.words[i][j][:_LETTERS]) if grid.words else f"{_short(value)}{mark}"
        cell += f'<text x="{x + wide / 2:.1f}" y="{y + 15}" text-anchor="middle" fill="{ink}">{shown}</text>'
    return cell + "</g>"


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(text)}</text>'


def _scale(grid: Grid, x: float, top: float) -> list[str]:
    steps = np.linspace(grid.scale, -grid.scale, _STEPS)
    bars = [
        f'<rect x="{x}" y="{top + _STEP * k}" width="12" height="{_STEP}" fill="{color(v, grid.scale)}"/>'
        for k, v in enumerate(steps)
    ]
    return [*bars, *(_label(x + 18, top + _STEP * k + 10, _short(steps[k]), "start") for k in (0, 4, 8))]


def _short(value: float) -> str:
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return "0" if float(text) == 0 else text.removesuffix(".00") if abs(value) >= 1 else text
