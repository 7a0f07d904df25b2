"""The picture of a causal model: causes above effects, as plain SVG that prints and needs no script."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import networkx as nx

if TYPE_CHECKING:
    from mechcausal.data.scm import SCM

_ROW, _GAP, _HEIGHT, _PAD = 74, 18, 30, 14
_INK, _LINE, _FILL = "#1f2933", "#7b8794", "#eef2f7"


def draw(scm: SCM, *, noise: bool = False, notes: dict[str, str] | None = None) -> str:
    """Return the graph of a causal model as SVG.

    Args:
        scm: The causal model.
        noise: Whether to show the exogenous variables.
        notes: A second line under the name of a variable: the site it is aligned to, say.
    """
    notes = notes or {}
    graph = scm.graph if noise else scm.graph.subgraph(scm.mechanisms)
    generations = [sorted(row, key=scm.order.index if not noise else str) for row in nx.topological_generations(graph)]
    generations = _untangled(graph, generations)
    widths = {v: 7.6 * max(len(v), len(notes.get(v, "")) * 0.86) + 22 for v in graph}
    spans = [sum(widths[v] for v in row) + _GAP * (len(row) - 1) for row in generations]
    width = max(spans, default=0) + 2 * _PAD
    tall = _HEIGHT + (13 if notes else 0)
    step = _ROW + (13 if notes else 0)
    centre: dict[str, tuple[float, float]] = {}
    for number, (row, span) in enumerate(zip(generations, spans, strict=True)):
        x = (width - span) / 2
        for variable in row:
            centre[variable] = (x + widths[variable] / 2, _PAD + tall / 2 + number * step)
            x += widths[variable] + _GAP
    height = 2 * _PAD + tall + (len(generations) - 1) * step
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="system-ui, sans-serif" font-size="13" role="img" '
        f'aria-label="{html.escape(repr(scm))}">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{_LINE}"/></marker></defs>',
    ]
    level = {variable: number for number, row in enumerate(generations) for variable in row}
    for cause, effect in graph.edges:
        (x0, y0), (x1, y1) = centre[cause], centre[effect]
        y0, y1 = y0 + tall / 2, y1 - tall / 2 - 1
        # An arrow that passes other rows bows outwards, so that it does not run through their boxes.
        bow = (level[effect] - level[cause] - 1) * 26 * (1 if x0 + x1 >= width else -1)
        middle = (y0 + y1) / 2
        parts.append(
            f'<path d="M{x0:.1f} {y0:.1f}C{x0 + bow:.1f} {middle:.1f} {x1 + bow:.1f} {middle:.1f} {x1:.1f} {y1:.1f}" '
            f'fill="none" stroke="{_LINE}" stroke-width="1.3" marker-end="url(#tip)"/>'
        )
    for variable, (x, y) in centre.items():
        left, top = x - widths[variable] / 2, y - tall / 2
        dashed = ' stroke-dasharray="4 3"' if variable in scm.noise else ""
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{widths[variable]:.1f}" height="{tall}" rx="7" fill="{_FILL}" '
            f'stroke="{_LINE}"{dashed}/>'
        )
        line = y + 4.5 - (7 if variable in notes else 0)
        parts.append(
            f'<text x="{x:.1f}" y="{line:.1f}" text-anchor="middle" fill="{_INK}">{html.escape(variable)}</text>'
        )
        if variable in notes:
            parts.append(
                f'<text x="{x:.1f}" y="{line + 16:.1f}" text-anchor="middle" fill="{_LINE}" font-size="11">'
                f"{html.escape(notes[variable])}</text>"
            )
    return "".join([*parts, "</svg>"])


def _untangled(graph: nx.DiGraph, generations: list[list[str]]) -> list[list[str]]:
    """Order each row by the mean place of its neighbors above, then below: fewer arrows cross."""
    place = {v: (i + 0.5) / len(row) for row in generations for i, v in enumerate(row)}
    for _ in range(4):
        for neighbors in (graph.predecessors, graph.successors):
            for row in generations:
                pull = {v: [place[u] for u in neighbors(v) if u in place] for v in row}
                row.sort(key=lambda v: sum(pull[v]) / len(pull[v]) if pull[v] else place[v])
                place |= {v: (i + 0.5) / len(row) for i, v in enumerate(row)}
    return generations
