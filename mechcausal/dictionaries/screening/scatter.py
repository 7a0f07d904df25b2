"""A scatter of what was predicted against what was measured, drawn twice: a live plotly figure and a still SVG."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import plotly.graph_objects as go

from mechcausal.results import svg
from mechcausal.results.charts import PALETTE
from mechcausal.results.pictures import Figure

_ACROSS, _DOWN, _LEFT, _TOP = 380.0, 300.0, 74.0, 62.0


@dataclass(frozen=True)
class Dot:
    """One point, what it is called, and the group that colors it."""

    x: float
    y: float
    label: str
    group: str


@dataclass(frozen=True)
class Scatter:
    """A scatter before it is drawn; the diagonal is where the two agree.

    Attributes:
        dots: The points.
        title: The title.
        x_label: What stands across.
        y_label: What stands upwards.
        note: What is to be known of the whole, in a line below.
    """

    dots: tuple[Dot, ...]
    title: str
    x_label: str
    y_label: str
    note: str = ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, in order of appearance."""
        return tuple(dict.fromkeys(dot.group for dot in self.dots))

    @property
    def reach(self) -> tuple[float, float, list[float]]:
        """The ends of both axes and their ticks, the same so that the diagonal says what it should."""
        return svg.axis([0.0, *(value for dot in self.dots for value in (dot.x, dot.y))])

    def color(self, group: str) -> str:
        """Return the color of a group."""
        return PALETTE[self.groups.index(group) % len(PALETTE)]

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        sentences = [f"{self.title}: {len(self.dots)} points, {self.y_label} against {self.x_label}", self.note]
        if self.dots:
            far = max(self.dots, key=lambda dot: abs(dot.x))
            sentences.append(f"furthest out {far.label} at {far.x:.3g}, {far.y:.3g}")
        return "; ".join(part for part in sentences if part)


def still(scatter: Scatter) -> str:
    """Draw a scatter as a self-contained SVG; it needs no script, and prints."""
    low, high, ticks = scatter.reach

    def x(value: float) -> float:
        return _LEFT + _ACROSS * (value - low) / (high - low)

    def y(value: float) -> float:
        return _TOP + _DOWN * (high - value) / (high - low)

    parts = []
    for tick in ticks:
        ink = ".5" if tick == 0 else ".12"
        parts += [
            svg.rule(x(tick), _TOP, x(tick), _TOP + _DOWN, ink),
            svg.rule(_LEFT, y(tick), _LEFT + _ACROSS, y(tick), ink),
            svg.text(x(tick), _TOP + _DOWN + 18, svg.short(tick), "middle"),
            svg.text(_LEFT - 8, y(tick) + 4, svg.short(tick), "end"),
        ]
    parts.append(svg.rule(x(low), y(low), x(high), y(high), ".6", dash="5 4"))
    # The random ones lie among many others: they are drawn last, so that they can be seen.
    for dot in sorted(scatter.dots, key=lambda dot: scatter.groups.index(dot.group)):
        if math.isfinite(dot.x) and math.isfinite(dot.y):
            tip = html.escape(f"{dot.label}: {dot.x:.4g}, {dot.y:.4g} ({dot.group})")
            parts.append(
                f'<circle cx="{x(dot.x):.1f}" cy="{y(dot.y):.1f}" r="3.4" fill="{scatter.color(dot.group)}" '
                f'opacity=".75"><title>{tip}</title></circle>'
            )
    parts.append(svg.text(_LEFT + _ACROSS / 2, _TOP + _DOWN + 38, scatter.x_label, "middle"))
    parts.append(svg.text(_LEFT, _TOP - 12, scatter.y_label, "start"))
    names = [(group, scatter.color(group)) for group in scatter.groups]
    parts.append(svg.legend(names, _LEFT + svg.LETTER * len(scatter.y_label) + 26, _TOP - 15))
    if scatter.note:
        parts.append(svg.text(_LEFT, _TOP + _DOWN + 60, scatter.note, "start"))
    wide = max(_LEFT + _ACROSS + 30, _LEFT + svg.LETTER * len(scatter.note) + 14)
    wide = max(wide, _LEFT + svg.LETTER * (len(scatter.y_label) + sum(map(len, scatter.groups))) + 120)
    return svg.page(scatter.describe(), scatter.title, wide, _TOP + _DOWN + 74, parts)


def figure(scatter: Scatter) -> Figure:
    """Draw a scatter with plotly; the figure carries the still picture along."""
    low, high, _ = scatter.reach
    drawn = Figure()
    drawn.add_trace(
        go.Scatter(
            x=[low, high], y=[low, high], mode="lines", line={"dash": "dash", "color": "#888"},
            hoverinfo="skip", showlegend=False,
        )
    )  # fmt: skip
    for group in scatter.groups:
        dots = [dot for dot in scatter.dots if dot.group == group]
        drawn.add_trace(
            go.Scatter(
                x=[dot.x for dot in dots], y=[dot.y for dot in dots], mode="markers", name=group,
                marker={"color": scatter.color(group), "opacity": 0.75},
                text=[dot.label for dot in dots], hovertemplate="%{text}: %{x:.4g}, %{y:.4g}<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    drawn.update_xaxes(title_text=scatter.x_label, range=[low, high])
    drawn.update_yaxes(title_text=scatter.y_label, range=[low, high])
    drawn.update_layout(title=scatter.title, height=460, paper_bgcolor="rgba(0,0,0,0)", meta={"still": still(scatter)})
    return drawn
