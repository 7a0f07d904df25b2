"""Pictures of circuits: layers upwards, positions across, width and color of an edge for what it contributes."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import plotly.graph_objects as go

from mechcausal.address import ALL, Place, Selection
from mechcausal.circuits.graph import Edge, Graph, reading_order
from mechcausal.results import svg
from mechcausal.results.pictures import Figure, color

_ROW, _STEP, _GAP, _TOP = 84.0, 58.0, 34.0, 58.0
_POSITIVE, _NEGATIVE = "#b2182b", "#2166ac"


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in points of the still picture.

    Attributes:
        graph: What is drawn.
        left_out: How many nodes and edges are not, because they contribute least.
        rows: The name and the height of each row, from the top.
        columns: The name of each position and its middle; one without a name where there are no positions.
        places: Where each node stands.
        size: Width and height.
    """

    graph: Graph
    left_out: tuple[int, int]
    rows: tuple[tuple[str, float], ...]
    columns: tuple[tuple[str, float], ...]
    places: dict[Place, tuple[float, float]]
    size: tuple[float, float]

    @property
    def title(self) -> str:
        """What the picture is of."""
        text = f"{len(self.graph.nodes)} nodes, {len(self.graph.edges)} edges"
        nodes, edges = self.left_out
        return text + (
            f" ({nodes} nodes and {edges} edges with smaller scores are not drawn)" if nodes or edges else ""
        )

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        sentences = [self.title]
        for frame, words in ((self.graph.frame, ("node",)), (self.graph.edge_frame, ("sender", "receiver"))):
            for _, row in frame.dropna(subset=["score"]).head(3).iterrows():
                sentences.append(f"{' to '.join(row[word] for word in words)} {row['score']:+.3f}")
        return "; ".join(sentences)


def layout(graph: Graph, *, most_nodes: int = 80, most_edges: int = 240) -> Layout:
    """Place the nodes: a row for each activation (features and error side by side), a column for each position."""
    drawn = graph.top(nodes=most_nodes, edges=most_edges)
    left_out = len(graph.nodes) - len(drawn.nodes), len(graph.edges) - len(drawn.edges)
    groups: dict[tuple[_Row, Selection], list[Place]] = {}
    for node in sorted(drawn.nodes, key=lambda node: -_size(drawn.nodes[node])):
        groups.setdefault((_row(node), node.at), []).append(node)
    names = sorted({name for name, _ in groups}, key=lambda name: name[0], reverse=True)
    heights = {name: _TOP + _ROW * (number + 0.5) for number, name in enumerate(names)}
    # What is at no position in particular, like the logits, stands in the middle of all.
    apart = {name for name, at in groups if at != ALL}
    positions = _in_order(graph, {at for name, at in groups if name in apart or not apart})
    left = 20 + svg.LETTER * max((len(name) for _, name in names), default=1) + _GAP
    places: dict[Place, tuple[float, float]] = {}
    columns, x = [], left
    for at in positions:
        in_column = {
            name: nodes for (name, other), nodes in groups.items() if other == at and (name in apart or not apart)
        }
        wide = _STEP * max(map(len, in_column.values()))
        columns.append(("" if at == ALL else str(at).removeprefix("@"), x + wide / 2))
        for name, nodes in in_column.items():
            places |= _side_by_side(nodes, x + wide / 2, heights[name])
        x += wide + _GAP
    middle = (left + x - _GAP) / 2
    for (name, _), nodes in groups.items():
        if apart and name not in apart:
            middle = max(middle, left + _STEP * len(nodes) / 2)
            places |= _side_by_side(nodes, middle, heights[name])
            x = max(x, middle + _STEP * len(nodes) / 2 + _GAP)
    rows = tuple((name[1], height) for name, height in heights.items())
    return Layout(drawn, left_out, rows, tuple(columns), places, (x + 10, _TOP + _ROW * len(names) + 54))


_Row = tuple[tuple[float, int], str]


def _side_by_side(nodes: Sequence[Place], middle: float, height: float) -> dict[Place, tuple[float, float]]:
    return {node: (middle + _STEP * (i - (len(nodes) - 1) / 2), height) for i, node in enumerate(nodes)}


def _in_order(graph: Graph, positions: set[Selection]) -> list[Selection]:
    """Sort positions as whoever made the graph lists them, if it is said, else in reading order."""
    listed = [Selection.parse(at) for at in graph.about.get("positions", ())]
    return sorted(positions, key=lambda at: (listed.index(at) if at in listed else len(listed), reading_order(at)))


def _row(node: Place) -> _Row:
    return node.depth, str(replace(node.site.whole, error=False))


def _size(score: float) -> float:
    return 0.0 if math.isnan(score) else abs(score)


def _scale(scores: Sequence[float]) -> float:
    return max((_size(score) for score in scores), default=0.0) or 1.0


def _wide(score: float, scale: float) -> float:
    return 0.6 + 5.4 * _size(score) / scale


def _ink(score: float) -> str:
    return "#999" if math.isnan(score) else _POSITIVE if score > 0 else _NEGATIVE


def still(graph: Graph, *, most_nodes: int = 80, most_edges: int = 240) -> str:
    """Draw a circuit as a self-contained SVG; it needs no script, and prints."""
    plan = layout(graph, most_nodes=most_nodes, most_edges=most_edges)
    wide, tall = plan.size
    parts = [svg.text(14, y + 4, name, "start") for name, y in plan.rows]
    parts += [svg.text(x, _TOP - 14, name, "middle") for name, x in plan.columns]
    most = _scale(list(plan.graph.edges.values()))
    for edge in sorted(plan.graph.edges, key=lambda edge: _size(plan.graph.edges[edge])):
        parts.append(_edge(plan, edge, most))
    most = _scale(list(plan.graph.nodes.values()))
    parts += [_node(plan, node, most) for node in plan.graph.nodes]
    parts += [_named(plan, node) for node in plan.graph.nodes]
    named = [("raises the metric", _POSITIVE), ("lowers it", _NEGATIVE)]
    parts.append(svg.legend(named, 14, tall - 18))
    parts.append(svg.text(290, tall - 15, "round: features and units; square: what a dictionary misses", "start"))
    return svg.page(plan.describe(), plan.title, max(wide, 720), tall, parts)


def _edge(plan: Layout, edge: Edge, scale: float) -> str:
    score = plan.graph.edges[edge]
    (x, y), (to_x, to_y) = (plan.places[node] for node in edge)
    bend = 0.45 * (y - to_y)
    tip = html.escape(f"{edge[0]} to {edge[1]}: {_number(score)}")
    return (
        f'<path d="M{x:.1f} {y - 13:.1f}C{x:.1f} {y - bend:.1f} {to_x:.1f} {to_y + bend:.1f} {to_x:.1f} {to_y + 13:.1f}" '
        f'fill="none" stroke="{_ink(score)}" stroke-width="{_wide(score, scale):.2f}" '
        f'opacity="{0.25 + 0.6 * _size(score) / scale:.2f}"><title>{tip}</title></path>'
    )


def _node(plan: Layout, node: Place, scale: float) -> str:
    x, y = plan.places[node]
    score = plan.graph.nodes[node]
    tip = html.escape(f"{node}: {_number(score)}")
    fill = "#ddd" if math.isnan(score) else color(score, scale)
    pen = f'fill="{fill}" stroke="#555" stroke-width="1"'
    round_or_square = (
        f'<rect x="{x - 12:.1f}" y="{y - 12:.1f}" width="24" height="24" {pen}/>'
        if node.site.error
        else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="13" {pen}/>'
    )
    return f"<g><title>{tip}</title>{round_or_square}</g>"


def _named(plan: Layout, node: Place) -> str:
    """Write the name of a node, with a rim in the color of the page so that edges do not cross it."""
    x, y = plan.places[node]
    rim = 'style="paint-order:stroke" stroke="Canvas" stroke-width="3.5" stroke-linejoin="round"'
    return f"<g {rim}>{svg.text(x, y + 26, node.short, 'middle')}</g>"


def figure(graph: Graph, *, most_nodes: int = 80, most_edges: int = 240) -> Figure:
    """Draw a circuit with plotly; the figure carries the still picture along."""
    plan = layout(graph, most_nodes=most_nodes, most_edges=most_edges)
    drawn, edges, nodes = Figure(), plan.graph.edges, plan.graph.nodes
    most = _scale(list(edges.values()))
    for (sender, receiver), score in edges.items():
        (x, y), (to_x, to_y) = plan.places[sender], plan.places[receiver]
        drawn.add_trace(
            go.Scatter(
                x=[x, (x + to_x) / 2, to_x], y=[-y, -(y + to_y) / 2, -to_y], mode="lines", opacity=0.6,
                line={"color": _ink(score), "width": _wide(score, most)}, showlegend=False,
                text=[f"{sender} to {receiver}: {_number(score)}"] * 3, hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    most = _scale(list(nodes.values()))
    drawn.add_trace(
        go.Scatter(
            x=[plan.places[node][0] for node in nodes],
            y=[-plan.places[node][1] for node in nodes],
            mode="markers+text",
            marker={
                "size": 20,
                "symbol": ["square" if node.site.error else "circle" for node in nodes],
                "color": ["#ddd" if math.isnan(score) else color(score, most) for score in nodes.values()],
                "line": {"width": 1, "color": "#555"},
            },
            text=[node.short for node in nodes],
            textposition="bottom center",
            customdata=[f"{node}: {_number(score)}" for node, score in nodes.items()],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        )
    )
    drawn.update_xaxes(
        tickvals=[x for _, x in plan.columns], ticktext=[name for name, _ in plan.columns], showgrid=False
    )
    drawn.update_yaxes(tickvals=[-y for _, y in plan.rows], ticktext=[name for name, _ in plan.rows], showgrid=False)
    drawn.update_layout(
        title=plan.title,
        height=max(320, plan.size[1] + 80),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        meta={"still": still(graph, most_nodes=most_nodes, most_edges=most_edges)},
    )
    return drawn


def _number(score: float) -> str:
    return "no score" if math.isnan(score) else f"{score:+.4f}"
