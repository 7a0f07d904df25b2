"""What still pictures are made of: text, lines, legends and axes with round numbers, as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

LETTER, LONGEST = 7.2, 48  # the width of a letter, and how many of a label are shown


def page(words: str, title: str, wide: float, tall: float, parts: Sequence[str]) -> str:
    """Return a picture with a title on top; `words` say what it shows, for those who cannot see it."""
    description = html.escape(words)
    wide = max(wide, 28 + 1.1 * LETTER * len(title))  # the title is bold
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{description}" viewBox="0 0 {wide:.0f} {tall:.0f}" '
        f'width="{wide:.0f}" height="{tall:.0f}" '
        'style="max-width:100%;height:auto;font:12px system-ui,sans-serif;color:inherit">'
        f'<title>{description}</title><text x="14" y="18" font-weight="600" fill="currentColor">{html.escape(title)}</text>'
        f"{''.join(parts)}</svg>"
    )


def legend(names: Sequence[tuple[str, str]], x: float, y: float) -> str:
    """Return colored squares with their names, side by side."""
    out = []
    for name, color in names:
        out.append(f'<rect x="{x:.1f}" y="{y - 7:.1f}" width="11" height="11" fill="{color}"/>')
        out.append(text(x + 16, y + 3, name, "start"))
        x += 34 + LETTER * len(name)
    return "".join(out)


def axis(values: Sequence[float], *, zero: bool = True) -> tuple[float, float, list[float]]:
    """Return the ends of an axis and its round ticks; with `zero` it has room around its ends."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    span = high - low
    if zero:
        low, high = low - (0.04 * span if low < 0 else 0), high + (0.04 * span if high > 0 else 0)
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return low, high, [round(number * step, 12) for number in range(first, last + 1)]


def text(x: float, y: float, words: str, anchor: str) -> str:
    """Return words at a point, which is their `start`, `middle` or `end`."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(words)}</text>'


def rule(x: float, y: float, to_x: float, to_y: float, ink: str, dash: str = "") -> str:
    """Return a straight line; `ink` is its opacity."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="currentColor" opacity="{ink}"{dashed}/>'


def cut(label: str) -> str:
    """Return a label, cut where it is too long to be shown."""
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "\u2026"


def short(value: float) -> str:
    """Return a number as a tick shows it."""
    return f"{value:.6g}"


def ring(x: float, y: float) -> str:
    """Return a ring around a point: what it stands for survives the correction for all cells."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6.5" fill="none" stroke="currentColor" stroke-width="1.4"/>'
