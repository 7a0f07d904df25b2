"""The kinds of figures in a report, as data: each is drawn as a still picture and described in words.

bars, lines          `results.charts.bar_chart`, `line_chart`
Matrix               rows x columns of numbers, each with a short text and a tone
Points               a scatter with crosses: predicted against measured, one measure against another
"""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from typing import Any

from mechcausal.audits.plain import plain
from mechcausal.errors import ResultError
from mechcausal.results import charts, matrix, scatter
from mechcausal.results.charts import Bar, Bars, Line, Lines
from mechcausal.results.matrix import Cell as Cell
from mechcausal.results.matrix import Matrix
from mechcausal.results.matrix import Tone as Tone
from mechcausal.results.scatter import Point, Points

Chart = Bars | Lines | Matrix | Points

KINDS: dict[str, type[Any]] = {"bars": Bars, "lines": Lines, "matrix": Matrix, "points": Points}
_INSIDE: dict[str, type[Any]] = {"bars": Bar, "lines": Line, "points": Point}
_HELD = {"bars": "rows", "lines": "series", "points": "points"}


def still(figure: Chart) -> str:
    """Draw a figure as SVG."""
    if isinstance(figure, Matrix):
        return matrix.still(figure)
    return scatter.still(figure) if isinstance(figure, Points) else charts.still(figure)


def figure_to_json(figure: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the kinds
    """Return a figure as JSON data."""
    for name, kind in KINDS.items():
        if isinstance(figure, kind) and is_dataclass(figure):
            return plain({"kind": name, **asdict(figure)})
    raise ResultError(f"there is no figure of the kind {type(figure).__name__}", expected=", ".join(KINDS))


def figure_from_json(data: dict[str, Any]) -> Any:  # noqa: ANN401 - one of the kinds
    """Return the figure that `figure_to_json` wrote."""
    name = data["kind"]
    if name not in KINDS:
        raise ResultError(f"there is no figure of the kind {name!r}", expected=", ".join(KINDS))
    given = {part.name: _tuples(data[part.name]) for part in fields(KINDS[name]) if part.name in data}
    if name == "matrix":
        given["cells"] = tuple(tuple(Cell(**_numbers(cell, "value")) for cell in line) for line in data["cells"])
    else:
        given[_HELD[name]] = tuple(_inside(name, item) for item in data[_HELD[name]])
    return KINDS[name](**given)


def _inside(name: str, item: dict[str, Any]) -> Any:  # noqa: ANN401
    if name == "lines":
        points: Any = tuple(tuple(float("nan") if x is None else float(x) for x in point) for point in item["points"])
        return Line(item["name"], points)
    real = [key for key, value in item.items() if value is None]
    return _INSIDE[name](**_numbers(item, *real))


def _numbers(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: float("nan") if key in names and value is None else value for key, value in item.items()}


def _tuples(value: Any) -> Any:  # noqa: ANN401
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
