"""The picture of a link: x = available (AUC), y = used (share of the total effect); one panel for each concept.

A candidate at the far right near the zero line tells the concept and is not used. Drawn twice, live and still.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechcausal.links.verdict import CAUSAL, CORRELATE, INCOMPLETE, INCONCLUSIVE, UNASSOCIATED
from mechcausal.results import svg
from mechcausal.results.pictures import Figure

if TYPE_CHECKING:
    from mechcausal.links.result import Links

# Told apart by the color-blind, and by their shape.
COLORS = {
    CAUSAL: "#b2182b", CORRELATE: "#2166ac", UNASSOCIATED: "#e08214", INCONCLUSIVE: "#8c8c8c", INCOMPLETE: "#8073ac",
}  # fmt: skip
_SYMBOLS = {
    CAUSAL: "circle", CORRELATE: "square", UNASSOCIATED: "diamond", INCONCLUSIVE: "circle-open", INCOMPLETE: "x",
}  # fmt: skip
_ACROSS, _DOWN, _NAMED = 400.0, 300.0, 5
_IN_A_ROW = 2  # panels
X_TITLE, Y_TITLE = "available: AUC (mirrored below 0.5)", "used: share of the total effect"
Range = tuple[float, float]


def points(links: Links, concept: str) -> pd.DataFrame:
    """Return the points of one concept: the AUC mirrored to lie above one half, with its interval, at its better place."""
    rows = links.of(concept).reset_index(drop=True)
    place = np.array([better_place(row) for _, row in rows.iterrows()])
    picked = {
        end: np.array([row[f"{name}{end}"] for (_, row), name in zip(rows.iterrows(), place, strict=True)], dtype=float)
        for end in ("", "_low", "_high")
    }
    turned = picked[""] < 0.5
    low, high = (np.where(turned, 1 - picked[b], picked[a]) for a, b in (("_low", "_high"), ("_high", "_low")))
    x = np.where(turned, 1 - picked[""], picked[""])
    return rows.assign(x=x, x_low=np.maximum(low, 0.5), x_high=high, pooled=place == "auc_pooled")


def better_place(row: pd.Series) -> str:
    """Return the column of the AUC that says more; the decision position unless the other is clearly farther from chance."""
    return "auc_pooled" if abs(row["auc_pooled"] - 0.5) > abs(row["auc"] - 0.5) + 0.1 else "auc"


def named(rows: pd.DataFrame) -> set[int]:
    """Return the points that are written out: the largest effects and the clearest unused ones."""
    used = rows[rows["verdict"].isin([CAUSAL, UNASSOCIATED])]["share"].abs().sort_values(ascending=False)
    idle = rows[rows["verdict"] == CORRELATE]["x"].sort_values(ascending=False)
    return {*used.index[:_NAMED], *idle.index[: _NAMED - 2]}


def still(links: Links) -> str:
    """Draw the picture as SVG."""
    parts: list[str] = []
    smallest, least = (float(links.provenance.arguments[f"smallest_{name}"]) for name in ("effect", "association"))
    reach = axis(links)
    wide, high = _ACROSS + 70, _DOWN + 80
    columns, lines = _grid(links)
    for number, concept in enumerate(links.concepts):
        line, column = divmod(number, columns)
        place = 84 + column * wide, 78 + line * high
        parts += _panel(points(links, concept), concept, *place, reach, smallest, least)
    words = [word for word in COLORS if word in set(links.frame["verdict"])]
    parts.append(svg.legend([(word, COLORS[word]) for word in words], 84, 40))
    parts.append(svg.text(14, 64, Y_TITLE, "start"))
    title = "What is available and what is used"
    return svg.page(describe(links), title, 54 + columns * wide, 58 + lines * high, parts)


def _grid(links: Links) -> tuple[int, int]:
    """Return how many panels stand beside each other, and how many below."""
    columns = min(len(links.concepts), _IN_A_ROW)
    return columns, -(-len(links.concepts) // columns)


def describe(links: Links) -> str:
    """Say in words what the picture shows, for those who cannot see it."""
    sentences = []
    for concept in links.concepts:
        counts = links.of(concept)["verdict"].value_counts()
        sentences.append(f"{concept}: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    return f"AUC against share of the total effect. {'; '.join(sentences)}"


def axis(links: Links) -> tuple[float, float, list[float]]:
    """Return the ends of the vertical axis and its ticks."""
    shown = links.frame[["share", "share_low", "share_high"]].to_numpy(dtype=float).ravel()
    finite = shown[np.isfinite(shown)]
    return svg.axis([0.0, 0.1, *finite.tolist()])


def _panel(
    rows: pd.DataFrame,
    concept: str,
    left: float,
    top: float,
    reach: tuple[float, float, list[float]],
    smallest: float,
    least: float,
) -> list[str]:
    low, high, ticks = reach

    def x(value: float) -> float:
        return left + _ACROSS * (value - 0.5) / 0.5

    def y(value: float) -> float:
        return top + _DOWN * (high - value) / (high - low)

    out = [_band(x(0.5), x(1), y(smallest), y(-smallest), "too small to be of interest")]
    if least > 0:
        out.append(_band(x(0.5), x(0.5 + least), top, top + _DOWN, "too weak to be of interest"))
    for tick in ticks:
        out.append(svg.rule(left, y(tick), left + _ACROSS, y(tick), ".5" if tick == 0 else ".12"))
        out.append(svg.text(left - 8, y(tick) + 4, f"{100 * tick:g} %", "end"))
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        out.append(svg.rule(x(tick), top, x(tick), top + _DOWN, ".12"))
        out.append(svg.text(x(tick), top + _DOWN + 18, f"{tick:g}", "middle"))
    out.append(svg.text(left + _ACROSS / 2, top - 8, concept, "middle"))
    out.append(svg.text(left + _ACROSS / 2, top + _DOWN + 38, X_TITLE, "middle"))
    for value in _random(rows):
        line = svg.rule(left, y(value), left + _ACROSS, y(value), ".6", dash="2 4")
        out.append(f"<g><title>random directions reach {value:+.1%}</title>{line}</g>")
    corner = svg.text(left + _ACROSS - 6, top + 14, CAUSAL, "end") + svg.text(
        x(0.5) + 6, top + 14, UNASSOCIATED, "start"
    )
    out.append(f'<g opacity=".5">{corner}</g>')
    order = rows["verdict"].map(lambda word: list(COLORS)[::-1].index(word)).sort_values(kind="stable").index
    shown = rows.loc[sorted(named(rows))]
    out += [_mark(rows.loc[number], x, y) for number in order if math.isfinite(rows.loc[number, "share"])]
    points_at = [(x(row["x"]), y(row["share"]), _short(str(row["candidate"]))) for _, row in shown.iterrows()]
    return out + _labels(points_at, left)


def _band(x: float, to_x: float, y: float, to_y: float, words: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{to_x - x:.1f}" height="{to_y - y:.1f}" fill="currentColor" opacity=".08">'
        f"<title>{words}</title></rect>"
    )


def _random(rows: pd.DataFrame) -> list[float]:
    """Return the ends of what directions drawn at random do, where that was asked."""
    low, high = rows["random_low"].min(), rows["random_high"].max()
    return [float(value) for value in (low, high) if math.isfinite(value)]


def _mark(row: pd.Series, x: Any, y: Any) -> str:  # noqa: ANN401 - functions
    color, here, there = COLORS[row["verdict"]], x(row["x"]), y(row["share"])
    faint = row["verdict"] == INCONCLUSIVE
    bars = (
        f'<path d="M{x(row["x_low"]):.1f} {there:.1f}H{x(row["x_high"]):.1f}M{here:.1f} {y(row["share_low"]):.1f}'
        f'V{y(row["share_high"]):.1f}" stroke="{color}" opacity="{".12" if faint else ".5"}" fill="none"/>'
    )
    shape = f'<circle cx="{here:.1f}" cy="{there:.1f}" r="4.5"'
    match row["verdict"]:
        case "correlate-only":
            shape = f'<rect x="{here - 4:.1f}" y="{there - 4:.1f}" width="8" height="8"'
        case "causal-but-not-associated":
            shape = f'<path d="M{here:.1f} {there - 6:.1f}l6 6l-6 6l-6 -6z"'
        case "sae-incomplete":
            shape = f'<path d="M{here - 4:.1f} {there - 4:.1f}l8 8m0 -8l-8 8" stroke="{color}"'
    ink = f'fill="none" stroke="{color}" opacity=".45"' if faint else f'fill="{color}"'
    return f"<g><title>{html.escape(tip(row))}</title>{bars}{shape} {ink}/></g>"


def _labels(labels: list[tuple[float, float, str]], left: float) -> list[str]:
    """Write names above their points, and further up where they would cover each other."""
    out: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for x, y, name in sorted(labels, key=lambda label: -label[1]):
        wide = svg.LETTER * len(name)
        start = x + 7 if x + 7 + wide <= left + _ACROSS else x - 7 - wide
        place = y - 7
        while any(abs(place - other) < 12 and start < end and begin < start + wide for begin, end, other in taken):
            place -= 12
        taken.append((start, start + wide, place))
        out.append(svg.text(start, place, name, "start"))
    return out


def _short(name: str) -> str:
    return name.split(".sae:")[1].split(".")[-1] if ".sae:" in name else name


def tip(row: pd.Series) -> str:
    """Return the text on hovering over a point."""
    where = "pooled" if row["pooled"] else "at the decision"
    return (
        f"{row['candidate']}: {row['verdict']}. AUC {row['auc']:.3f} at the decision, {row['auc_pooled']:.3f} pooled "
        f"(drawn {where}); share {row['share']:+.3f} [{row['share_low']:+.3f}, {row['share_high']:+.3f}]. {row['why']}"
    )


def live(links: Links) -> Figure:
    """Draw the picture with plotly; the figure carries the still picture with it."""
    columns, lines = _grid(links)
    drawn = make_subplots(rows=lines, cols=columns, subplot_titles=list(links.concepts), shared_yaxes="all")
    smallest = float(links.provenance.arguments["smallest_effect"])
    in_legend: set[str] = set()
    for number, concept in enumerate(links.concepts):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        rows = points(links, concept)
        names = named(rows)
        for word in reversed(COLORS):
            points_of_word = rows[(rows["verdict"] == word) & np.isfinite(rows["share"])]
            if points_of_word.empty:
                continue
            drawn.add_trace(_trace(points_of_word, word, names, word not in in_legend), **place)
            in_legend.add(word)
        for value in _random(rows):
            drawn.add_hline(y=value, line_dash="dot", line_width=1, **place)
        drawn.add_hrect(y0=-smallest, y1=smallest, fillcolor="gray", opacity=0.12, line_width=0, **place)
        drawn.update_xaxes(title_text=X_TITLE, range=[0.49, 1.02], **place)
    drawn.update_yaxes(title_text=Y_TITLE, tickformat=".0%", range=axis(links)[:2], col=1)
    figure = Figure(drawn)
    figure.update_layout(
        title="What is available and what is used",
        height=60 + 420 * lines,
        paper_bgcolor="rgba(0,0,0,0)",
        meta={"still": still(links)},
    )
    return figure


def _trace(rows: pd.DataFrame, word: str, names: set[int], legend: bool) -> go.Scatter:
    faint = word == INCONCLUSIVE

    def bars(value: str) -> dict[str, Any]:
        high, low = rows[f"{value}_high"] - rows[value], rows[value] - rows[f"{value}_low"]
        return {"symmetric": False, "array": high, "arrayminus": low, "thickness": 1, "width": 0, "color": COLORS[word]}

    return go.Scatter(
        x=rows["x"], y=rows["share"], mode="markers+text", name=word, legendgroup=word, showlegend=legend,
        text=[_short(str(rows.loc[i, "candidate"])) if i in names else "" for i in rows.index],
        textposition="top left", error_x=None if faint else bars("x"), error_y=None if faint else bars("share"),
        marker={"color": COLORS[word], "symbol": _SYMBOLS[word], "size": 9, "opacity": 0.5 if faint else 1},
        customdata=[[tip(row)] for _, row in rows.iterrows()], hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip
