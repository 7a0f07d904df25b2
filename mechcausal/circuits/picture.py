"""The picture of a circuit, drawn twice: as an SVG that needs no script, and live with plotly.

Width and ink of a line say how much the edge matters. Color says the sign of its score, and a negative one is dashed. Beside a
truth, color and dash say what is true and found, true and missed, and not true; the three can be told apart in gray.
"""

from __future__ import annotations

import html
import math
import re
from typing import Any

import plotly.graph_objects as go

from mechcausal.address import Site
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.plan import FALSE, FATES, FOUND, MISSED, Line, Plan, Point, plan
from mechcausal.results import svg
from mechcausal.results.pictures import Figure, color

_POSITIVE, _NEGATIVE, _UNSCORED = "#b2182b", "#2166ac", "#777777"
_LOOKS = {  # color and dash: dark and solid, middle and dashed, light and dotted
    FOUND: ("#00441b", ""),
    MISSED: ("#d95f02", "7 4"),
    FALSE: ("#9a9a9a", "1.5 3"),
}
_MOST_LETTERS = 60  # lines that are labeled with the inputs of a head; of more, those that matter most
_PORT = {"q": -0.55, "k": 0.0, "v": 0.55}  # where a line into one input of a head ends, in radii from its middle
_LONGEST = 30  # letters of the names of variables that stand beside a node
_LIVE_SIZES = 12  # kinds of lines in the live picture, by how much they matter


def still(circuit: Circuit, truth: Any = None, **options: Any) -> str:  # noqa: ANN401 - those of `plan`
    """Draw a circuit as a self-contained SVG; it needs no script, and prints.

    Args:
        circuit: The circuit.
        truth: The circuit that is known to be true.
        **options: Those of `plan`.
    """
    return _still(plan(circuit, truth, **options))


def figure(circuit: Circuit, truth: Any = None, **options: Any) -> Figure:  # noqa: ANN401 - those of `plan`
    """Draw a circuit with plotly; the figure carries the still picture along.

    Args:
        circuit: The circuit.
        truth: The circuit that is known to be true.
        **options: Those of `plan`.
    """
    planned = plan(circuit, truth, **options)
    drawn = Figure()
    for look in dict.fromkeys(_look(planned, line) for line in planned.lines):
        _add_lines(drawn, planned, look)
    _add_bars(drawn, planned)
    _add_nodes(drawn, planned)
    for name, ink, dash in _entries(planned):
        drawn.add_trace(
            go.Scatter(x=[None], y=[None], mode="lines", name=name, line={"color": ink, "dash": _live_dash(dash)})
        )
    wide, tall = planned.spots.size
    drawn.update_xaxes(visible=False, range=[0, wide])
    drawn.update_yaxes(
        tickvals=[-planned.spots.level(layer) for layer in range(planned.spots.wiring.n_layers)],
        ticktext=[f"L{layer}" for layer in range(planned.spots.wiring.n_layers)],
        range=[-tall, 0], showgrid=False, zeroline=False,
    )  # fmt: skip
    drawn.update_layout(
        title=planned.title, width=max(wide, 560) + 60, height=tall + 60, plot_bgcolor="rgba(0,0,0,0)",
        paper_bgcolor="rgba(0,0,0,0)", meta={"still": _still(planned)}, hovermode="closest", legend={"orientation": "h", "y": 0, "yanchor": "top"},
    )  # fmt: skip
    return drawn


# Lines


def curve(planned: Plan, line: Line) -> tuple[Point, Point, Point, Point]:
    """Return the four points of the curve of a line, from the sender up to what reads it."""
    spots, wiring = planned.spots, planned.spots.wiring
    x, y = spots.node(line.sender)
    start = (x, y - spots.radius)
    if line.reader.component == "k" and line.reader.layer is not None and line.reader.head is not None:
        (left, below), (right, _) = spots.bar(line.reader.layer, line.reader.head)
        end = ((left + right) / 2, below)
    else:
        to_x, to_y = spots.node(line.reader)
        port = spots.radius * _PORT[line.letters] if line.letters in _PORT else 0.0
        end = (to_x + port, to_y + spots.radius)
    rise = 0.42 * max(start[1] - end[1], 0.5 * spots.row)
    aside = 0.0
    if abs(start[0] - end[0]) < spots.step and start[1] - end[1] > 1.2 * spots.row:  # past nodes of its own column
        beyond = x > spots.left + spots.step * wiring.n_heads / 2
        aside = (1 if beyond else -1) * min(0.9 * spots.step, 14 + 0.05 * (start[1] - end[1]))
    return start, (start[0] + aside, start[1] - rise), (end[0] + aside, end[1] + rise), end


def _at(points: tuple[Point, Point, Point, Point], t: float) -> Point:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    x, y = (sum(w * point[axis] for w, point in zip(weights, points, strict=True)) for axis in (0, 1))
    return x, y


def _share(planned: Plan, line: Line) -> float:
    return line.size / planned.largest


def _width(planned: Plan, line: Line) -> float:
    if math.isnan(line.score) or line.fate == MISSED:
        return 1.8
    return 0.7 + 4.8 * _share(planned, line)


def _ink(planned: Plan, line: Line) -> float:
    if line.fate:
        return {FOUND: 0.9, MISSED: 0.95, FALSE: 0.7}[line.fate]
    if math.isnan(line.score):
        return 0.75
    return 0.1 + 0.85 * math.sqrt(_share(planned, line))


def _color(line: Line) -> tuple[str, str]:
    if line.fate:
        return _LOOKS[line.fate]
    if math.isnan(line.score):
        return _UNSCORED, ""
    return (_POSITIVE, "") if line.score > 0 else (_NEGATIVE, "6 2.5")


def _drawn(planned: Plan, line: Line) -> str:
    (x, y), (a, b), (c, d), (to_x, to_y) = curve(planned, line)
    ink, dash = _color(line)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<path d="M{x:.1f} {y:.1f}C{a:.1f} {b:.1f} {c:.1f} {d:.1f} {to_x:.1f} {to_y:.1f}" stroke="{ink}" '
        f'stroke-width="{_width(planned, line):.2f}" opacity="{_ink(planned, line):.2f}"{dashed}>'
        f"<title>{html.escape(line.tip)}</title></path>"
    )


def _letters(planned: Plan) -> list[str]:
    """Write the inputs of a head at the end of a line; of lines that end close to each other the one that matters most."""
    parts: list[str] = []
    taken = [planned.spots.node(site) for site in planned.fates]
    for line in reversed(planned.lines):
        if not line.letters or line.fate == FALSE or len(parts) == _MOST_LETTERS:
            continue
        points = curve(planned, line)
        x, y = next(
            point for point in (_at(points, t / 50) for t in range(50, -1, -1)) if math.dist(point, points[3]) > 13
        )
        if any(abs(x - there) < 4 + 5 * len(line.letters) and abs(y - down) < 9 for there, down in taken):
            continue
        taken.append((x, y))
        parts.append(f'<text x="{x:.1f}" y="{y + 3:.1f}" text-anchor="middle">{line.letters}</text>')
    rim = 'style="paint-order:stroke;font-size:9px" stroke="Canvas" stroke-width="2.5" stroke-linejoin="round"'
    return [f'<g {rim} fill="currentColor">{"".join(parts)}</g>'] if parts else []


# Nodes


def _sites(planned: Plan) -> list[Site]:
    return [*planned.spots.wiring.senders, Site("logits")]


def _tip(planned: Plan, site: Site) -> str:
    score, name, fate = planned.scores.get(site, math.nan), planned.names.get(site), planned.fates.get(site)
    parts = [str(site), *([name] if name else []), *([] if math.isnan(score) else [f"{score:+.4f}"])]
    return ", ".join([*parts, *([fate] if fate else [])])


def _fill(planned: Plan, site: Site) -> str:
    score = planned.scores.get(site, math.nan)
    largest = max((abs(value) for value in planned.scores.values() if not math.isnan(value)), default=0.0) or 1.0
    return "#f2f2f2" if math.isnan(score) else color(score, largest)


def _word_color(planned: Plan, site: Site) -> str:
    """Return white on nodes that are dark."""
    fill = _fill(planned, site)
    parts = re.findall(r"\d+", fill) if fill.startswith("rgb") else [int(fill[i : i + 2], 16) for i in (1, 3, 5)]
    return "#fff" if sum(map(int, parts[:3])) < 330 else "#111"


def _shape(planned: Plan, site: Site) -> str:
    spots = planned.spots
    x, y = spots.node(site)
    if site not in planned.fates:  # there, but in neither circuit
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="currentColor" opacity="0.28"/>'
    ink, dash = _LOOKS.get(planned.fates[site], ("#333", ""))
    wide = 2.4 if planned.fates[site] in (FOUND, MISSED) else 1.1
    pen = f'fill="{_fill(planned, site)}" stroke="{ink}" stroke-width="{wide}"' + (
        f' stroke-dasharray="{dash if planned.fates[site] == FALSE else "4 2.5"}"' if dash else ""
    )
    r = spots.radius
    if site.component == "z":
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" {pen}/>'
    else:
        half = r if site.component == "mlp_out" else 2.9 * r
        shape = f'<rect x="{x - half:.1f}" y="{y - r:.1f}" width="{2 * half:.1f}" height="{2 * r:.1f}" {pen}/>'
    word = str(site.head) if site.head is not None else "M" if site.component == "mlp_out" else site.component
    size = max(7.0, min(11.0, 1.1 * r))
    label = f'<text x="{x:.1f}" y="{y + 0.36 * size:.1f}" text-anchor="middle" font-size="{size:.1f}" fill="{_word_color(planned, site)}">{word}</text>'
    return f"<g><title>{html.escape(_tip(planned, site))}</title>{shape}{label}</g>"


def _bars(planned: Plan) -> list[str]:
    spots = planned.spots
    if not spots.has_bars:
        return []
    read = {(line.reader.layer, line.reader.head) for line in planned.lines if line.reader.component == "k"}
    parts = []
    for layer in range(spots.wiring.n_layers):
        for head in range(spots.wiring.n_kv_heads):
            (x, y), (to_x, to_y) = spots.bar(layer, head)
            ink = "0.9" if (layer, head) in read else "0.13"
            parts.append(
                f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="currentColor" stroke-width="1.6" opacity="{ink}"/>'
            )
    return parts


def _words(planned: Plan) -> list[tuple[float, float, str]]:
    """Return the names of variables, and where each of them begins."""
    spots, words = planned.spots, []
    for site, name in planned.names.items():
        if site in planned.fates:
            x, y = spots.node(site)
            aside = spots.radius if site.layer is not None else 2.9 * spots.radius
            short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\u2026"
            words.append((x + aside + 3, y - spots.radius - 1, short))
    return words


def _named(planned: Plan) -> list[str]:
    parts = [svg.text(x, y, name, "start") for x, y, name in _words(planned)]
    rim = 'style="paint-order:stroke;font-size:11px;font-style:italic" stroke="Canvas" stroke-width="3"'
    return [f"<g {rim}>{''.join(parts)}</g>"] if parts else []


def _still(planned: Plan) -> str:
    spots = planned.spots
    wide, tall = spots.size
    parts = [
        "<style>.mc-edges path:hover{opacity:1;stroke-width:5px}</style>",
        *(
            svg.text(spots.left - 22, spots.level(layer) + 4, f"L{layer}", "end")
            for layer in range(spots.wiring.n_layers)
        ),
        *_bars(planned),
        f'<g class="mc-edges" fill="none">{"".join(_drawn(planned, line) for line in planned.lines)}</g>',
        *(_shape(planned, site) for site in _sites(planned)),
        *_letters(planned),
        *_named(planned),
        *_legend(planned, tall - 46),
    ]
    reach = max((x + 6.2 * len(name) for x, _, name in _words(planned)), default=0.0)
    return svg.page(planned.describe(), planned.title, max(wide, 560, reach), tall, parts)


def _entries(planned: Plan) -> list[tuple[str, str, str]]:
    """Return what the looks of lines mean: words, color and dash."""
    if planned.counts:
        return [(f"{fate} ({planned.counts[fate]})", *_LOOKS[fate]) for fate in FATES]
    if all(math.isnan(line.score) for line in planned.lines):
        return []
    return [("raises the metric", _POSITIVE, ""), ("lowers it", _NEGATIVE, "6 2.5")]


def _legend(planned: Plan, y: float) -> list[str]:
    parts, x = [], 14.0
    for name, ink, dash in _entries(planned):
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(
            f'<path d="M{x:.1f} {y:.1f}h30" stroke="{ink}" stroke-width="2.6" fill="none"{dashed}/>'
            f"{svg.text(x + 36, y + 4, name, 'start')}"
        )
        x += 56 + svg.LETTER * len(name)
    note = "circles: heads; M: MLPs; letters: the inputs of a head" + (
        "; bars: keys and values that heads share" if planned.spots.has_bars else ""
    )
    return [*parts, svg.text(14, y + 24, note, "start")]


# Live

_Look = tuple[str, str, int]


def _live_dash(dash: str) -> str:
    return {"": "solid", "1.5 3": "dot"}.get(dash, "dash")


def _look(planned: Plan, line: Line) -> _Look:
    return *_color(line), math.ceil(_LIVE_SIZES * math.sqrt(_share(planned, line)))


def _add_lines(drawn: Figure, planned: Plan, look: _Look) -> None:
    """Add all lines of one look as one trace, and the middle of each as a point that says what it is."""
    lines = [line for line in planned.lines if _look(planned, line) == look]
    curves = [curve(planned, line) for line in lines]
    xs, ys = [], []
    for points in curves:
        along = [_at(points, t / 10) for t in range(11)]
        xs += [x for x, _ in along] + [None]
        ys += [-y for _, y in along] + [None]
    middles = [_at(points, 0.5) for points in curves]
    ink, dash, _ = look
    drawn.add_trace(
        go.Scatter(
            x=xs, y=ys, mode="lines", hoverinfo="skip", showlegend=False,
            opacity=sum(_ink(planned, line) for line in lines) / len(lines),
            line={"color": ink, "width": _width(planned, lines[len(lines) // 2]), "dash": _live_dash(dash)},
        )
    )  # fmt: skip
    drawn.add_trace(
        go.Scatter(
            x=[x for x, _ in middles], y=[-y for _, y in middles], mode="markers", marker={"size": 9, "opacity": 0},
            text=[line.tip for line in lines], hovertemplate="%{text}<extra></extra>", showlegend=False,
        )
    )  # fmt: skip


def _add_bars(drawn: Figure, planned: Plan) -> None:
    read = {(line.reader.layer, line.reader.head) for line in planned.lines if line.reader.component == "k"}
    ends = [planned.spots.bar(layer, head) for layer, head in read if layer is not None and head is not None]
    xs = [x for (left, _), (right, _) in ends for x in (left, right, None)]
    ys = [y for (_, down), _ in ends for y in (-down, -down, None)]
    drawn.add_trace(
        go.Scatter(x=xs, y=ys, mode="lines", line={"color": "#888", "width": 1.6}, hoverinfo="skip", showlegend=False)
    )


def _add_nodes(drawn: Figure, planned: Plan) -> None:
    sites = [site for site in _sites(planned) if site in planned.fates]
    spots = [planned.spots.node(site) for site in sites]
    drawn.add_trace(
        go.Scatter(
            x=[x for x, _ in spots], y=[-y for _, y in spots], mode="markers+text", showlegend=False,
            marker={
                "size": 2 * planned.spots.radius,
                "symbol": ["circle" if site.component == "z" else "square" for site in sites],
                "color": [_fill(planned, site) for site in sites],
                "line": {"color": [_LOOKS.get(planned.fates[s], ("#333", ""))[0] for s in sites], "width": 1.6},
            },
            text=[str(s.head) if s.head is not None else "M" if s.component == "mlp_out" else s.component for s in sites],
            textfont={"size": 9, "color": [_word_color(planned, site) for site in sites]},
            customdata=[_tip(planned, site) for site in sites],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )  # fmt: skip
