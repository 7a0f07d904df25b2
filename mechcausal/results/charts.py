"""Charts of estimates with intervals: horizontal bars and curves, each drawn twice: a live plotly figure and a still SVG.

    still(bar_chart([("L1.z.H2@end", 0.19, 0.12, 0.26, "direct"), ...], "what gender does", "log-odds"))

Rows of one label stand together; the optional last entry is the group that colors the bar.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mechcausal.errors import ResultError
from mechcausal.results import svg
from mechcausal.results.pictures import Figure

Row = Sequence[Any]  # (label, value, low, high) or (label, value, low, high, group)
Point = tuple[float, float, float, float]  # (x, value, low, high)

# Told apart by the color-blind, and in print by their lightness.
PALETTE = ("#2166ac", "#e08214", "#5aae9b", "#8073ac", "#8c8c8c", "#b2182b")
_PLOT, _BAR, _GAP = 380, 16, 8


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its value with an interval, and the group that colors it."""

    label: str
    value: float
    low: float
    high: float
    group: str = ""

    @property
    def name(self) -> str:
        """Its label, and its group where there is one."""
        return f"{self.label}, {self.group}" if self.group else self.label


@dataclass(frozen=True)
class Bars:
    """A bar chart before it is drawn.

    Attributes:
        rows: The bars.
        title: The title.
        x_label: What the bars measure.
        order: Groups that come first, so that they have the same colors whichever bar is on top.
        reach: What the axis reaches at least, so that what is next to nothing looks like it.
        stair: Whether a line goes down from the end of each bar to that of the next.
        note: What stands below, such as what a mark means.
    """

    rows: tuple[Bar, ...]
    title: str
    x_label: str
    order: tuple[str, ...] = ()
    reach: float = 0.0
    stair: bool = False
    note: str = ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups: those whose order is given, then the others in order of appearance."""
        return tuple(dict.fromkeys((*self.order, *(row.group for row in self.rows))))

    @property
    def axis(self) -> tuple[float, float, list[float]]:
        """The ends of the axis and its ticks."""
        return svg.axis([self.reach, *(v for row in self.rows for v in (0.0, row.value, row.low, row.high))])

    def color(self, group: str) -> str:
        """Return the color of a group."""
        return PALETTE[self.groups.index(group) % len(PALETTE)]

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        parts = [f"{row.name} {_number(row.value)}{_interval(row.low, row.high)}" for row in self.rows]
        note = f"; {self.note}" if self.note else ""
        return f"{self.title} ({self.x_label}): {'; '.join(parts)}{note}"


@dataclass(frozen=True)
class Line:
    """One curve: its name and its points (x, value, low, high), from left to right."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Lines:
    """A line chart before it is drawn.

    Attributes:
        series: The curves.
        title: The title.
        x_label: What is varied.
        y_label: What is measured.
        marks: Horizontal lines with a name.
        ticks: Places along x with their names, where those are given.
        ringed: Where along x the points of the first curve have a ring around them.
        note: What stands below, such as what a ring means.
    """

    series: tuple[Line, ...]
    title: str
    x_label: str
    y_label: str
    marks: tuple[tuple[str, float], ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()
    ringed: tuple[float, ...] = ()
    note: str = ""

    def has_ring(self, line: Line, at: float) -> bool:
        """Say whether a point of a curve has a ring around it."""
        return line is self.series[0] and at in self.ringed

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        parts = []
        for line in self.series:
            first, last = line.points[0], line.points[-1]
            start, end = (dict(self.ticks).get(point[0], f"{point[0]:g}") for point in (first, last))
            parts.append(f"{line.name} from {_number(first[1])} at {start} to {_number(last[1])} at {end}")
        parts += [f"{name} is {_number(value)}" for name, value in self.marks]
        if self.ringed:
            places = ", ".join(dict(self.ticks).get(at, f"{at:g}") for at in self.ringed)
            parts.append(f"ringed at {places}")
        if self.note:
            parts.append(self.note)
        return f"{self.title} ({self.y_label} by {self.x_label}): {'; '.join(parts)}"


def bar_chart(rows: Sequence[Row | Bar], title: str, x_label: str, **options: Any) -> Bars:  # noqa: ANN401
    """Lay out bars from rows (label, value, low, high[, group]); NaN limits mean that there is no interval.

    The options are the further attributes of `Bars`.
    """
    made = tuple(row if isinstance(row, Bar) else _bar(row) for row in rows)
    if not made:
        raise ResultError("there is nothing to draw", fix="give at least one row")
    return Bars(made, title, x_label, **options)


def line_chart(
    series: Sequence[tuple[str, Sequence[Point]]],
    title: str,
    x_label: str,
    y_label: str,
    *,
    marks: Sequence[tuple[str, float]] = (),
    **options: Any,  # noqa: ANN401
) -> Lines:
    """Lay out curves from (name, [(x, value, low, high), ...]).

    The options are the further attributes of `Lines`.
    """
    made = tuple(Line(name, tuple(sorted(points))) for name, points in series if len(points))
    if not made:
        raise ResultError("there is nothing to draw", fix="give at least one curve with one point")
    given: dict[str, Any] = {name: each if isinstance(each, str) else tuple(each) for name, each in options.items()}
    return Lines(made, title, x_label, y_label, tuple(marks), **given)


def still(chart: Bars | Lines) -> str:
    """Draw a chart as SVG: it needs no script, and prints."""
    return _bars_svg(chart) if isinstance(chart, Bars) else _lines_svg(chart)


def figure(chart: Bars | Lines) -> Figure:
    """Draw a chart with plotly; the figure carries the still picture along."""
    drawn = _live_bars(chart) if isinstance(chart, Bars) else _live_lines(chart)
    drawn.update_layout(title=chart.title, paper_bgcolor="rgba(0,0,0,0)", meta={"still": still(chart)})
    return drawn


def _bars_svg(chart: Bars) -> str:
    numbers = [f"{_number(row.value)}{_interval(row.low, row.high)}" for row in chart.rows]
    left = 16 + svg.LETTER * max(len(svg.cut(row.label)) for row in chart.rows)
    wide = left + _PLOT + 22 + svg.LETTER * max(map(len, numbers))
    grouped = chart.groups != ("",)
    top = 56 if grouped else 32
    low, high, ticks = chart.axis

    def x(value: float) -> float:
        return left + _PLOT * (value - low) / (high - low)

    out, y, previous = [], float(top), None
    stair: list[tuple[float, float]] = []
    body: list[str] = []
    for row, number in zip(chart.rows, numbers, strict=True):
        if row.label != previous:
            y += _GAP if previous is not None else 0
            body.append(svg.text(left - 8, y + 12, svg.cut(row.label), "end"))
        body.append(_bar_svg(chart, row, number, x, y, left))
        if math.isfinite(row.value):
            # Down to halfway between the bars, then across, then down again.
            stair += [(x(row.value), y if not stair else (y + stair[-1][1]) / 2), (x(row.value), y + _BAR)]
        previous = row.label
        y += _BAR + 2
    tall = y + 46 + (18 if chart.note else 0)
    for tick in ticks:
        ink = ".55" if tick == 0 else ".13"
        out.append(svg.rule(x(tick), top - 4, x(tick), y + 4, ink))
        out.append(svg.text(x(tick), y + 18, svg.short(tick), "middle"))
    out.append(svg.text(left + _PLOT / 2, y + 36, chart.x_label, "middle"))
    if chart.note:
        out.append(svg.text(left + _PLOT / 2, y + 54, chart.note, "middle"))
    if grouped:
        out.append(svg.legend([(name, chart.color(name)) for name in chart.groups], left, 40))
    if chart.stair:
        body.append(_stair_svg(stair))
    return svg.page(chart.describe(), chart.title, wide, tall, [*out, *body])


def _bar_svg(chart: Bars, row: Bar, number: str, x: Callable[[float], float], y: float, left: float) -> str:
    tip = html.escape(f"{row.name}: {number}")
    if not math.isfinite(row.value):
        return f"<g><title>{tip}</title>{svg.text(left + _PLOT + 14, y + 12, number, 'start')}</g>"
    start, end = sorted((x(0.0), x(row.value)))
    pale = ' opacity=".45"' if chart.stair else ""
    drawn = (
        f'<rect x="{start:.1f}" y="{y + 1:.1f}" width="{max(end - start, 0.8):.1f}" height="{_BAR - 2}" '
        f'fill="{chart.color(row.group)}"{pale}/>'
    )
    if math.isfinite(row.low) and math.isfinite(row.high):
        middle, a, b = y + _BAR / 2, x(row.low), x(row.high)
        drawn += (
            f'<path d="M{a:.1f} {middle:.1f}H{b:.1f}M{a:.1f} {middle - 4:.1f}v8M{b:.1f} {middle - 4:.1f}v8" '
            'stroke="currentColor" stroke-width="1.3" fill="none"/>'
        )
    return f"<g><title>{tip}</title>{drawn}{svg.text(left + _PLOT + 14, y + 12, number, 'start')}</g>"


def _stair_svg(ends: Sequence[tuple[float, float]]) -> str:
    """Draw right angles through the upper and the lower end of each step."""
    points = list(ends[:1])
    for (x, _), (to_x, to_y) in itertools.pairwise(ends):
        points += [(x, to_y), (to_x, to_y)] if x != to_x else [(to_x, to_y)]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{drawn}" fill="none" stroke="currentColor" stroke-width="2"/>'


def _live_bars(chart: Bars) -> Figure:
    drawn = Figure()
    for group in chart.groups:
        members = [row for row in chart.rows if row.group == group]
        drawn.add_trace(
            go.Bar(
                orientation="h",
                name=group,
                y=[row.label for row in members],
                x=[row.value for row in members],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [row.high - row.value for row in members],
                    "arrayminus": [row.value - row.low for row in members],
                },
                marker_color=chart.color(group),
                opacity=0.45 if chart.stair else 1,
                text=[f"{_number(row.value)}{_interval(row.low, row.high)}" for row in members],
                hovertemplate="%{y}: %{text}<extra>%{fullData.name}</extra>",
                textposition="none",
                showlegend=chart.groups != ("",),
            )
        )
    if chart.stair:
        parts = {"y": [row.label for row in chart.rows], "x": [row.value for row in chart.rows]}
        line = {"shape": "vhv", "color": "#222", "width": 2}
        drawn.add_trace(go.Scatter(**parts, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    below = f"{chart.x_label}<br>{chart.note}" if chart.note else chart.x_label
    drawn.update_xaxes(title_text=below, zeroline=True, range=chart.axis[:2])
    # The first row stands on top, and so does the first bar of each label.
    labels = list(dict.fromkeys(row.label for row in chart.rows))
    drawn.update_yaxes(type="category", autorange="reversed", categoryorder="array", categoryarray=labels)
    drawn.update_layout(barmode="group", height=max(320, 140 + 24 * len(chart.rows)))
    return drawn


def _lines_svg(chart: Lines) -> str:
    across, down, left, top = 440.0, 260.0, 74.0, 60.0
    named = [(f"{name} {_number(value)}", value) for name, value in chart.marks]
    wide, tall = left + across + 24 + svg.LETTER * max((len(name) for name, _ in named), default=0), top + down + 60
    wide = max(wide, left + svg.LETTER * len(chart.note) + 14)
    points = np.array([point for line in chart.series for point in line.points], dtype=float)
    x_low, x_high, x_ticks = svg.axis(points[:, 0].tolist(), zero=False)
    y_low, y_high, y_ticks = svg.axis([0.0, *points[:, 1:].ravel().tolist(), *(value for _, value in chart.marks)])

    def x(value: float) -> float:
        return left + across * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        return top + down * (y_high - value) / (y_high - y_low)

    out = []
    for tick, words in chart.ticks or [(tick, svg.short(tick)) for tick in x_ticks]:
        out += [
            svg.rule(x(tick), top, x(tick), top + down, ".08"),
            svg.text(x(tick), top + down + 18, words, "middle"),
        ]
    for tick in y_ticks:
        ink = ".5" if tick == 0 else ".13"
        out += [
            svg.rule(left, y(tick), left + across, y(tick), ink),
            svg.text(left - 8, y(tick) + 4, svg.short(tick), "end"),
        ]
    for name, value in named:
        out.append(svg.rule(left, y(value), left + across, y(value), ".7", dash="5 4"))
        out.append(svg.text(left + across + 8, y(value) + 4, name, "start"))
    for number, line in enumerate(chart.series):
        color = PALETTE[number % len(PALETTE)]
        band = [point for point in line.points if all(map(math.isfinite, point))]
        if band:
            around = [(p[0], p[3]) for p in band] + [(p[0], p[2]) for p in reversed(band)]
            path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in around)
            out.append(f'<polygon points="{path}" fill="{color}" opacity=".18"/>')
        seen = [point for point in line.points if math.isfinite(point[1])]
        path = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in seen)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for p in seen:
            tip = html.escape(f"{line.name}, {p[0]:g}: {_number(p[1])}{_interval(p[2], p[3])}")
            out.append(
                f'<circle cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="3.2" fill="{color}"><title>{tip}</title></circle>'
            )
            if chart.has_ring(line, p[0]):
                out.append(svg.ring(x(p[0]), y(p[1])))
    out.append(svg.text(left + across / 2, tall - 22, chart.x_label, "middle"))
    if chart.note:
        out.append(svg.text(left, tall + 2, chart.note, "start"))
        tall += 18
    # The vertical axis is named on top of it, where it reads without turning the head.
    out.append(svg.text(left, 44, chart.y_label, "start"))
    if len(chart.series) > 1:
        names = [(line.name, PALETTE[i % len(PALETTE)]) for i, line in enumerate(chart.series)]
        out.append(svg.legend(names, left + svg.LETTER * len(chart.y_label) + 26, 41))
    return svg.page(chart.describe(), chart.title, wide, tall, out)


def _live_lines(chart: Lines) -> Figure:
    drawn = Figure()
    for number, line in enumerate(chart.series):
        color = PALETTE[number % len(PALETTE)]
        xs, values, lows, highs = (list(column) for column in zip(*line.points, strict=True))
        if np.isfinite([*lows, *highs]).all():
            drawn.add_trace(
                go.Scatter(
                    x=[*xs, *reversed(xs)], y=[*highs, *reversed(lows)], fill="toself", fillcolor=color, opacity=0.18,
                    line={"width": 0}, hoverinfo="skip", showlegend=False,
                )
            )  # fmt: skip
        drawn.add_trace(
            go.Scatter(
                x=xs, y=values, name=line.name, mode="lines+markers", line={"color": color},
                marker={"size": 7, "line": {"color": "black", "width": [2 if chart.has_ring(line, at) else 0 for at in xs]}},
                text=[f"{_number(p[1])}{_interval(p[2], p[3])}" for p in line.points],
                hovertemplate="%{x}: %{text}<extra>%{fullData.name}</extra>",
                showlegend=len(chart.series) > 1,
            )
        )  # fmt: skip
    for name, value in chart.marks:
        drawn.add_hline(y=value, line_dash="dash", annotation_text=name)
    below = f"<br><sub>{chart.note}</sub>" if chart.note else ""
    drawn.update_xaxes(title_text=f"{chart.x_label}{below}")
    if chart.ticks:
        drawn.update_xaxes(tickvals=[at for at, _ in chart.ticks], ticktext=[words for _, words in chart.ticks])
    drawn.update_yaxes(title_text=chart.y_label, rangemode="tozero")
    return drawn


def _bar(row: Row) -> Bar:
    if len(row) not in (4, 5):
        raise ResultError("a bar is (label, value, low, high) or (label, value, low, high, group)", got=tuple(row))
    label, *numbers = row[:4]
    value, low, high = map(float, numbers)
    return Bar(str(label), value, low, high, str(row[4]) if len(row) == 5 else "")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "no value"
    text = f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
    return "0" if float(text) == 0 else text


def _interval(low: float, high: float) -> str:
    return f" [{_number(low)}, {_number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""
