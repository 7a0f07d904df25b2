"""How a feature card looks: one piece of HTML with its own style; no script, no request, readable printed and in the dark."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mechcausal.results import svg
from mechcausal.results.page import Page

if TYPE_CHECKING:
    from mechcausal.dictionaries.cards.card import Card, Context, Spread

_STYLE = """
.mc-card{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:1rem 0}
.mc-card h3{font-size:1.15rem;margin:0}.mc-card h4{font-size:.95rem;margin:1.2rem 0 .3rem}
.mc-card .mc-soft{opacity:.66;font-size:.9em;margin:.1rem 0;overflow-wrap:anywhere}
.mc-card table{border-collapse:collapse;font-size:.92em}
.mc-card th,.mc-card td{padding:.15rem .9rem .15rem 0;text-align:left;border-bottom:1px solid rgba(128,128,128,.25);
background:none}
.mc-card .mc-num{text-align:right;font-variant-numeric:tabular-nums}
.mc-card .mc-text{margin:.2rem 0;line-height:1.9;overflow-wrap:anywhere}
.mc-card .mc-text span{white-space:pre-wrap;padding:.1em .18em;margin:0 .06em;border-radius:3px}
.mc-card .mc-group{opacity:.66;font-size:.85em;margin-left:.6em}
.mc-card .mc-row{display:flex;flex-wrap:wrap;gap:0 3rem}
"""
_BIN, _TALL, _GROUPS = 16, 30, 9


def fragment(card: Card) -> str:
    """Return the card as a piece of HTML that can stand in a notebook or in a page."""
    head = f"active on {card.active:.2%} of {card.tokens:,} tokens, at most {card.largest:.3f}"
    facts = " \u00b7 ".join(f"{name} {text}" for name, text in card.facts.items())
    parts = [
        f"<h3>{html.escape(str(card.site))}</h3>",
        f"<p>{html.escape(head)}</p>",
        f'<p class="mc-soft">{html.escape(facts)}</p>',
        "<h4>Where it is most active</h4>",
        *(_context(context, card.largest) for context in card.contexts),
        "" if card.contexts else '<p class="mc-soft">nowhere in these prompts</p>',
        '<div class="mc-row"><div>',
        f"<h4>Activations{' by group' if len(card.spreads) > 1 else ''}</h4>{histogram(card)}",
        "</div><div>",
        f"<h4>What it adds to the logits</h4>{_logits(card.logits)}",
        "</div><div>",
        f"<h4>Nearest features</h4>{_neighbors(card.neighbors)}",
        "</div></div>",
        f"<h4>{_done(card.do)}</h4>{_effects(card.effects)}",
    ]
    return f'<section class="mc-card"><style>{_STYLE}</style>{"".join(parts)}</section>'


def page(card: Card) -> str:
    """Return the card as a page of its own."""
    document = Page(str(card.site), "Feature card: where it is active, what it adds, and what changing it does.")
    document.piece(fragment(card))
    return document.render()


def _context(context: Context, largest: float) -> str:
    words = "".join(_shaded(*pair, largest) for pair in zip(context.tokens, context.values, strict=True))
    before, after = ("\u2026 " if cut else "" for cut in context.cut)
    group = f'<span class="mc-group">{html.escape(context.group)}</span>' if context.group else ""
    return f'<p class="mc-text">{before}{words}{after}{group}</p>'


def _shaded(token: str, value: float, largest: float) -> str:
    share = max(0.0, min(1.0, value / largest)) if largest > 0 else 0.0
    ink = ";color:#111" if share > 0.5 else ""  # on a page in the dark the letters are light
    shade = f' style="background:rgba(240,150,40,{0.15 + 0.85 * share:.2f}){ink}"' if share > 0 else ""
    return f'<span{shade} title="{value:.3f}">{html.escape(token)}</span>'


def histogram(card: Card) -> str:
    """Draw how the activations of each group are spread: its bins, each as a share of its tokens."""
    rows = card.spreads[:_GROUPS]
    most = max((count / max(1, row.n) for row in rows for count in row.counts), default=0.0) or 1.0
    left = 14 + svg.LETTER * max(len(svg.cut(row.group)) for row in rows)
    bins = len(card.edges) - 1
    parts = []
    for number, row in enumerate(rows):
        bottom = 34 + (number + 1) * (_TALL + 12)
        parts += [
            svg.text(left - 8, bottom - 4, svg.cut(row.group), "end"),
            svg.rule(left, bottom, left + _BIN * bins, bottom, ".35"),
            *_bars(row, card.edges, left, bottom, most),
            svg.text(left + _BIN * bins + 10, bottom - 4, f"active on {row.active:.1%}", "start"),
        ]
    tall = 34 + len(rows) * (_TALL + 12)
    for value, x, anchor in ((card.edges[0], left, "start"), (card.edges[-1], left + _BIN * bins, "end")):
        parts.append(svg.text(x, tall + 16, f"{value:.2f}", anchor))
    left_out = len(card.spreads) - len(rows)
    title = f"share of tokens, at most {most:.1%} in a bin" + (f"; {left_out} groups not drawn" if left_out else "")
    described = [f"{row.group} active on {row.active:.1%}, mean {row.mean:.3f}" for row in rows]
    return svg.page(f"{title}: {'; '.join(described)}", title, left + _BIN * bins + 130, tall + 24, parts)


def _bars(row: Spread, edges: Sequence[float], left: float, bottom: float, most: float) -> list[str]:
    out = []
    for number, count in enumerate(row.counts):
        if count:
            tall = max(1.0, _TALL * count / max(1, row.n) / most)
            tip = html.escape(f"{row.group}: {count} tokens from {edges[number]:.3f} to {edges[number + 1]:.3f}")
            out.append(
                f'<rect x="{left + _BIN * number + 1:.1f}" y="{bottom - tall:.1f}" width="{_BIN - 2}" '
                f'height="{tall:.1f}" fill="#2166ac"><title>{tip}</title></rect>'
            )
    return out


def _logits(logits: pd.DataFrame) -> str:
    if not len(logits):
        return '<p class="mc-soft">not active anywhere</p>'
    ways = [name for name in logits.columns if name != "token"]
    rows = [[repr(row["token"]).strip("'\""), *(f"{row[way]:+.3f}" for way in ways)] for _, row in logits.iterrows()]
    return _table(["token", *ways], rows)


def _neighbors(neighbors: pd.DataFrame) -> str:
    rows = [
        [f"F{int(row['feature'])}", f"{row['cosine']:+.3f}", f"{row['active']:.2%}"] for _, row in neighbors.iterrows()
    ]
    return _table(["feature", "cosine", "active"], rows)


def _done(do: str) -> str:
    return "What setting it to zero does" if do == "zero" else "What taking it from the other prompt of the pair does"


def _effects(effects: pd.DataFrame) -> str:
    rows = [
        [
            *(row["metric"], row["group"], f"{row['base']:.3f}", f"{row['change']:+.3f}"),
            *(_interval(row["low"], row["high"]), str(row["n"])),
        ]
        for _, row in effects.iterrows()
    ]
    return _table(["metric", "group", "unedited", "change", "95 % interval", "n"], rows, words=2)


def _interval(low: float, high: float) -> str:
    return f"[{low:+.3f}, {high:+.3f}]" if math.isfinite(low) and math.isfinite(high) else "none"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table; after the first columns come numbers, which are set right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = ['class="mc-num"' if number >= words else "" for number in range(len(cells))]
        return "".join(f"<{tag} {mark}>{html.escape(cell)}</{tag}>" for cell, mark in zip(cells, marks, strict=True))

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{line('th', header)}</tr></thead><tbody>{body}</tbody></table>"
