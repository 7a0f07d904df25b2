"""A scatter of points with crosses, drawn twice: a live plotly figure and a still SVG.

With `diagonal` both axes have one range, and the dashed line is where the two agree: predicted against measured. Without it
each axis has its own: one measure against another. `joined` names the group whose points are joined: a front.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from mechcausal.errors import ResultError
from mechcausal.results import svg
from mechcausal.results.charts import PALETTE
from mechcausal.results.pictures import Figure

_ACROSS, _DOWN, _LEFT, _TOP = 380.0, 300.0, 74.0, 62.0
_DESCRIBED, _NAMED = 24, 30  # points that are described in words, and points that have their names beside them
_NAN = float("nan")


@dataclass(frozen=True)
class Point:
    """One point, what it is called, its interval on each axis where there is one, the group that colors it, and a ring."""

    label: str
    x: float
    y: float
    x_low: float = _NAN
    x_high: float = _NAN
    y_low: float = _NAN
    y_high: float = _NAN
    group: str = ""
    ringed: bool = False

    @property
    def drawn(self) -> bool:
        """Whether it has a place."""
        return math.isfinite(self.x) and math.isfinite(self.y)


@dataclass(frozen=True)
class Points:
    """A scatter before it is drawn.

    Attributes:
        points: The points.
        title: The title.
        x_label: What stands across.
        y_label: What stands upwards.
        diagonal: Whether the two axes have one range, with a line where they agree.
        joined: The group whose points are joined, from left to right.
        note: What is to be known of the whole, in a line below.
        named: Whether points have their names beside them.
    """

    points: tuple[Point, ...]
    title: str
    x_label: str
    y_label: str
    diagonal: bool = False
    joined: str = ""
    note: str = ""
    named: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, in order of appearance."""
        return tuple(dict.fromkeys(point.group for point in self.points))

    @property
    def axes(self) -> tuple[tuple[float, float, list[float]], tuple[float, float, list[float]]]:
        """The ends of both axes and their ticks."""
        across = [value for p in self.points for value in (p.x, p.x_low, p.x_high)]
        upwards = [value for p in self.points for value in (p.y, p.y_low, p.y_high)]
        if self.diagonal:
            both = svg.axis([0.0, *across, *upwards])
            return both, both
        return svg.axis(across), svg.axis(upwards)

    def color(self, group: str) -> str:
        """Return the color of a group."""
        return PALETTE[self.groups.index(group) % len(PALETTE)]

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        sentences = [f"{self.title}: {len(self.points)} points, {self.y_label} against {self.x_label}", self.note]
        shown = [point for point in self.points if point.drawn]
        if len(shown) <= _DESCRIBED:
            sentences += [
                f"{point.label} ({point.x:.3g}, {point.y:.3g}{', ringed' if point.ringed else ''})" for point in shown
            ]
        else:
            far = max(shown, key=lambda point: abs(point.x))
            sentences.append(f"furthest out {far.label} at {far.x:.3g}, {far.y:.3g}")
        return "; ".join(part for part in sentences if part)


def still(scatter: Points) -> str:
    """Draw a scatter as a self-contained SVG; it needs no script, and prints."""
    if not scatter.points:
        raise ResultError("there is nothing to draw", fix="give at least one point")
    (x_low, x_high, x_ticks), (y_low, y_high, y_ticks) = scatter.axes

    def x(value: float) -> float:
        return _LEFT + _ACROSS * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        return _TOP + _DOWN * (y_high - value) / (y_high - y_low)

    parts = []
    for tick in x_ticks:
        parts.append(svg.rule(x(tick), _TOP, x(tick), _TOP + _DOWN, ".5" if tick == 0 else ".12"))
        parts.append(svg.text(x(tick), _TOP + _DOWN + 18, svg.short(tick), "middle"))
    for tick in y_ticks:
        parts.append(svg.rule(_LEFT, y(tick), _LEFT + _ACROSS, y(tick), ".5" if tick == 0 else ".12"))
        parts.append(svg.text(_LEFT - 8, y(tick) + 4, svg.short(tick), "end"))
    if scatter.diagonal:
        parts.append(svg.rule(x(x_low), y(x_low), x(x_high), y(x_high), ".6", dash="5 4"))
    shown = [point for point in scatter.points if point.drawn]
    front = sorted((point for point in shown if point.group == scatter.joined), key=lambda point: point.x)
    if scatter.joined and len(front) > 1:
        path = " ".join(f"{x(point.x):.1f},{y(point.y):.1f}" for point in front)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{scatter.color(scatter.joined)}" stroke-width="1.6" opacity=".7"/>'
        )
    # What comes last lies among many others and is drawn last, so that it can be seen.
    for point in sorted(shown, key=lambda point: scatter.groups.index(point.group)):
        parts.append(_point(scatter, point, x(point.x), y(point.y), x, y))
    reach = 0.0
    if scatter.named and len(shown) <= _NAMED:
        for point, (left, below) in zip(shown, _beside([(x(p.x), y(p.y)) for p in shown]), strict=True):
            parts.append(svg.text(left, below, svg.cut(point.label), "start"))
            reach = max(reach, left + svg.LETTER * len(svg.cut(point.label)))
    parts.append(svg.text(_LEFT + _ACROSS / 2, _TOP + _DOWN + 38, scatter.x_label, "middle"))
    parts.append(svg.text(_LEFT, _TOP - 12, scatter.y_label, "start"))
    names = [(group, scatter.color(group)) for group in scatter.groups if group]
    parts.append(svg.legend(names, _LEFT + svg.LETTER * len(scatter.y_label) + 26, _TOP - 15))
    if scatter.note:
        parts.append(svg.text(_LEFT, _TOP + _DOWN + 60, scatter.note, "start"))
    wide = max(_LEFT + _ACROSS + 30, _LEFT + svg.LETTER * len(scatter.note) + 14, reach + 14)
    wide = max(
        wide, _LEFT + svg.LETTER * (len(scatter.y_label) + sum(len(name) for name, _ in names)) + 50 + 34 * len(names)
    )
    return svg.page(scatter.describe(), scatter.title, wide, _TOP + _DOWN + (74 if scatter.note else 52), parts)


def _point(scatter: Points, point: Point, left: float, top: float, x: Any, y: Any) -> str:  # noqa: ANN401 - scales
    group = f" ({point.group})" if point.group else ""
    tip = html.escape(f"{point.label}: {point.x:.4g}, {point.y:.4g}{group}")
    color, cross = scatter.color(point.group), ""
    if math.isfinite(point.x_low) and math.isfinite(point.x_high):
        cross += f"M{x(point.x_low):.1f} {top:.1f}H{x(point.x_high):.1f}"
    if math.isfinite(point.y_low) and math.isfinite(point.y_high):
        cross += f"M{left:.1f} {y(point.y_low):.1f}V{y(point.y_high):.1f}"
    drawn = f'<path d="{cross}" stroke="{color}" stroke-width="1.2" opacity=".6"/>' if cross else ""
    dot = f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.4" fill="{color}" opacity=".75"/>'
    return f"<g><title>{tip}</title>{drawn}{dot}{svg.ring(left, top) if point.ringed else ''}</g>"


def _beside(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return where names stand: right of their points, moved down where one would lie on another."""
    taken: list[tuple[float, float]] = []
    out: list[tuple[float, float]] = [(0.0, 0.0)] * len(places)
    for number in sorted(range(len(places)), key=lambda number: places[number][1]):
        left, top = places[number][0] + 7, places[number][1] + 4
        while any(abs(left - other) < 120 and abs(top - height) < 13 for other, height in taken):
            top += 13
        taken.append((left, top))
        out[number] = left, top
    return out


def figure(scatter: Points) -> Figure:
    """Draw a scatter with plotly; the figure carries the still picture along."""
    (x_low, x_high, _), (y_low, y_high, _) = scatter.axes
    drawn = Figure()
    if scatter.diagonal:
        drawn.add_trace(
            go.Scatter(
                x=[x_low, x_high], y=[x_low, x_high], mode="lines", line={"dash": "dash", "color": "#888"},
                hoverinfo="skip", showlegend=False,
            )
        )  # fmt: skip
    for group in scatter.groups:
        points = sorted((point for point in scatter.points if point.group == group), key=lambda point: point.x)
        front = bool(scatter.joined) and group == scatter.joined
        drawn.add_trace(
            go.Scatter(
                x=[point.x for point in points], y=[point.y for point in points], name=group, showlegend=bool(group),
                mode="lines+markers" if front else "markers",
                marker={
                    "color": scatter.color(group), "opacity": 0.75,
                    "line": {"color": "black", "width": [2 if point.ringed else 0 for point in points]},
                },
                error_x=_reach([(p.x, p.x_low, p.x_high) for p in points]),
                error_y=_reach([(p.y, p.y_low, p.y_high) for p in points]),
                text=[point.label for point in points],
                hovertemplate="%{text}: %{x:.4g}, %{y:.4g}<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    drawn.update_xaxes(title_text=scatter.x_label, range=[x_low, x_high])
    drawn.update_yaxes(title_text=scatter.y_label, range=[y_low, y_high])
    drawn.update_layout(title=scatter.title, height=460, paper_bgcolor="rgba(0,0,0,0)", meta={"still": still(scatter)})
    return drawn


def _reach(values: list[tuple[float, float, float]]) -> dict[str, Any] | None:
    if not any(math.isfinite(low) and math.isfinite(high) for _, low, high in values):
        return None
    return {
        "type": "data", "symmetric": False, "array": [high - value for value, _, high in values],
        "arrayminus": [value - low for value, low, _ in values],
    }  # fmt: skip
