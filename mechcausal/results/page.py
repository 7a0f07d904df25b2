"""One self-contained HTML page: no script, no request, readable printed, in light and in dark."""

from __future__ import annotations

import html
from collections.abc import Generator, Sequence
from contextlib import contextmanager

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
.chip{display:inline-block;border:1px solid currentColor;border-radius:4px;padding:0 .45rem;font-size:.82rem;font-weight:600;white-space:nowrap}
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.25rem 1.1rem;font-size:.94rem;max-width:56rem}dt{color:var(--soft)}dd{margin:0}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--soft)}a{color:inherit}.scroll{overflow-x:auto}
@media print{body{max-width:none;padding:0}details::details-content{content-visibility:visible;display:block}h2{break-after:avoid}figure,table{break-inside:avoid}}
"""


class Page:
    """Gather sections and write them as one file; all text is escaped."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']

    def heading(self, text: str, anchor: str = "", chip: tuple[str, str] | None = None) -> None:
        """Begin a section; an anchor can be linked to, and a chip (word, "good" | "bad" | "") stands before the text."""
        mark = f' id="{html.escape(anchor)}"' if anchor else ""
        before = f'<span class="chip {chip[1]}">{html.escape(chip[0])}</span> ' if chip else ""
        self._parts.append(f"<h2{mark}>{before}{html.escape(text)}</h2>")

    def terms(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Add terms with what they mean; those without a meaning are left out."""
        items = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in pairs if text)
        self._parts.append(f"<dl>{items}</dl>")

    @contextmanager
    def folded(self, summary: str) -> Generator[None]:
        """Put what is added meanwhile behind a line that opens it; a printed page shows it."""
        self._parts.append(f"<details><summary>{html.escape(summary)}</summary>")
        yield
        self._parts.append("</details>")

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
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

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
