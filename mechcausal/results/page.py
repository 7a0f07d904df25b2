"""One self-contained HTML page: no script, no request, readable printed, in light and in dark."""

from __future__ import annotations

import html
from collections.abc import Sequence

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--line:#d9dee4;--paper:#fff;--card:#f6f8fa;--bad:#b3261e;--good:#1a7f4b}
@media (prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#9aa4b0;--line:#353c45;--paper:#14181d;--card:#1c2229;--bad:#ff8a80;--good:#6fd39d}}
body{margin:0 auto;max-width:62rem;padding:2rem 1.2rem 5rem;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.7rem;margin:0 0 .2rem}h2{font-size:1.2rem;margin:2.6rem 0 .4rem;border-top:1px solid var(--line);padding-top:1.4rem}
p{max-width:46rem}.lead{color:var(--soft);margin-top:0}
table{border-collapse:collapse;margin:.8rem 0;font-size:.92rem}th,td{padding:.3rem .8rem .3rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
td.num{text-align:right;font-variant-numeric:tabular-nums}th.num{text-align:right}
figure{margin:1rem 0;overflow-x:auto}figcaption{color:var(--soft);font-size:.9rem;max-width:46rem}
pre{background:var(--card);padding:.8rem 1rem;overflow-x:auto;border-radius:6px;font-size:.86rem}
ul.key{list-style:none;padding:0;display:grid;grid-template-columns:repeat(auto-fit,minmax(12rem,1fr));gap:.8rem}
ul.key li{background:var(--card);border-radius:8px;padding:.8rem 1rem}ul.key b{display:block;font-size:1.35rem}
.bad{color:var(--bad)}.good{color:var(--good)}
@media print{body{max-width:none;padding:0}h2{break-after:avoid}figure,table{break-inside:avoid}}
"""


class Page:
    """Gather sections and write them as one file; all text is escaped."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        self._parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs]

    def key_numbers(self, numbers: Sequence[tuple[str, str, str]]) -> None:
        """Add a row of (number, what it is, "good" | "bad" | "")."""
        items = (
            f'<li><b class="{tone}">{html.escape(value)}</b>{html.escape(what)}</li>' for value, what, tone in numbers
        )
        self._parts.append(f'<ul class="key">{"".join(items)}</ul>')

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; numbers are set right."""
        numeric = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]
        marks = [' class="num"' if flag else "" for flag in numeric]
        head = "".join(f"<th{mark}>{html.escape(name)}</th>" for name, mark in zip(header, marks, strict=True))
        body = "".join(
            "<tr>"
            + "".join(f"<td{mark}>{html.escape(_cell(value))}</td>" for value, mark in zip(row, marks, strict=True))
            + "</tr>"
            for row in rows
        )
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def figure(self, svg: str, caption: str) -> None:
        """Add a picture (markup of our own making) with its caption."""
        self._parts.append(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def piece(self, markup: str) -> None:
        """Add a piece of HTML that brings its own style and has escaped its own text."""
        self._parts.append(markup)

    def code(self, text: str) -> None:
        """Add preformatted text."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def render(self) -> str:
        """Return the whole page."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{html.escape(self._title)}</title><style>{_STYLE}</style></head>"
            f"<body>{''.join(self._parts)}</body></html>\n"
        )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
