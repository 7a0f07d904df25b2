"""The columns of pairs and prompts of your own: how they may be written, and each row in one form. docs/data.md says more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from mechcausal.arguments import described
from mechcausal.data.files import Rows
from mechcausal.data.tokens import characters_of
from mechcausal.errors import DataError, did_you_mean, shortened

PAIRS, PROMPTS = ("clean", "corrupt"), ("text",)
OPTIONAL = ("answer", "foil", "group", "environment", "cluster", "template", "label", "factor")
_PLURAL = {f"{name}s": name for name in ("group", "environment", "cluster", "template", "label")} | {"prompt": "text"}
_NESTED = {
    "positions": "position",
    "corrupt_positions": "corrupt_position",
    "variables": "variable",
    "corrupt_variables": "corrupt_variable",
}
_DOTTED = re.compile(r"(corrupt_)?(position|variable)\.(.+)")


@dataclass(frozen=True)
class Record:
    """One row.

    Attributes:
        where: What it is called in errors.
        cells: What it says, by the name of the column.
        places: Where its named positions are, on the side of the clean prompt and on that of its counterpart.
        variables: The variables of a causal model, of both sides.
    """

    where: str
    cells: dict[str, Any]
    places: tuple[dict[str, Any], dict[str, Any]] = field(default_factory=lambda: ({}, {}))
    variables: tuple[dict[str, Any], dict[str, Any]] = field(default_factory=lambda: ({}, {}))

    def refuse(self, what: str, **details: Any) -> DataError:  # noqa: ANN401 - as an error takes them
        """Return an error that names the row."""
        return DataError(f"{self.where}: {what}", **details)


def records(rows: Rows, sides: Sequence[str]) -> list[Record]:
    """Return rows in one form, after checking their columns, their texts and their places.

    Args:
        rows: The table.
        sides: The columns that hold the prompts: `clean` and `corrupt`, or `text`.
    """
    dotted = [{**_flat(row)} for row in rows.values]
    columns = list(dict.fromkeys(name for row in dotted for name in row))
    _check_columns(rows.name, columns, sides)
    numeric = _numeric(dotted, sides) if rows.flat else set()
    made = []
    for where, row in zip(rows.where, dotted, strict=True):
        record = Record(where, {})
        for name, cell in row.items():
            _file(record, name, cell, flat=rows.flat, number=name in numeric)
        _check_record(record, sides)
        made.append(record)
    for name in ("answer", "foil"):
        _all_or_none(made, lambda record, name=name: name in record.cells, f"the {name}")
    names = list(dict.fromkeys(name for record in made for name in record.places[0]))
    for name in names:
        _all_or_none(made, lambda record, name=name: name in record.places[0], f"the position {name!r}")
    return made


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with nested columns written with a dot, and columns by their one name."""
    flat: dict[str, Any] = {}
    for name, cell in row.items():
        if name in _NESTED and isinstance(cell, dict):
            flat |= {f"{_NESTED[name]}.{key}": value for key, value in cell.items()}
        else:
            flat[_PLURAL.get(name, name)] = cell
    return flat


def _check_columns(name: str, columns: Sequence[str], sides: Sequence[str]) -> None:
    for side in sides:
        if side not in columns:
            fix = did_you_mean(side, columns) if get_close_matches(side, columns, cutoff=0.55) else None
            raise DataError(
                f"{name} has no column {side!r}", got=", ".join(columns) or "no columns",
                expected=f"columns {', '.join(sides)} and perhaps {', '.join(OPTIONAL)}, position.NAME", fix=fix,
            )  # fmt: skip
    expected = [*sides, *OPTIONAL, *_NESTED]
    for column in columns:
        close = get_close_matches(column, expected, n=1, cutoff=0.8)
        if column not in expected and not _DOTTED.fullmatch(column) and not column.startswith("corrupt_") and close:
            raise DataError(
                f"{name} has a column {column!r}",
                fix=f"did you mean {close[0]!r}? A column of your own needs another name",
            )


def _numeric(rows: Sequence[Mapping[str, Any]], sides: Sequence[str]) -> set[str]:
    """Return the columns of a file of texts that hold numbers only, which labels and columns of your own may."""
    texts = {*sides, *OPTIONAL} - {"label"}
    columns = {name for row in rows for name in row if name not in texts and "position." not in name}
    return {name for name in columns if all(_number(row[name]) is not None for row in rows if name in row)}


def _number(cell: Any) -> float | int | None:  # noqa: ANN401
    if not isinstance(cell, str):
        return None
    try:
        return int(cell)
    except ValueError:
        try:
            return float(cell)
        except ValueError:
            return None


def _file(record: Record, name: str, cell: Any, *, flat: bool, number: bool) -> None:  # noqa: ANN401
    if match := _DOTTED.fullmatch(name):
        other, kind, key = match.groups()
        if not re.fullmatch(r"[A-Za-z_]\w*", key):
            raise record.refuse(f"{key!r} cannot be the name of a {kind}", expected="letters, digits and _")
        if kind == "position":
            record.places[bool(other)][key] = _place(record, key, cell)
        else:
            record.variables[bool(other)][key] = _number(cell) if number else _listed(cell)
    elif name in ("answer", "foil"):
        record.cells[name] = _answer(record, name, cell)
    else:
        record.cells[name] = _number(cell) if number else cell


def _listed(cell: Any) -> Any:  # noqa: ANN401
    """Return a cell that is written as a JSON list as that list, any other as it is."""
    if isinstance(cell, str) and cell.startswith("[") and cell.endswith("]"):
        try:
            return json.loads(cell)
        except json.JSONDecodeError:
            return cell
    return cell


def _answer(record: Record, name: str, cell: Any) -> Any:  # noqa: ANN401
    value = _listed(cell)
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(isinstance(text, str) and text for text in value):
        return value
    raise record.refuse(
        f"the {name} is no text",
        got=described(cell),
        expected='a text such as " he", or a list of texts: [" he", " him"]',
    )


def _place(record: Record, name: str, cell: Any) -> Any:  # noqa: ANN401
    value = _listed(cell)
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+):(\d+)", value)):
        return [int(number) for number in match.groups()]
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value):
        return value
    raise record.refuse(
        f"the position {name!r} is neither words nor characters", got=described(cell),
        expected='words of the prompt, or its first character and the one behind its last: "10:14" or [10, 14]',
    )  # fmt: skip


def _check_record(record: Record, sides: Sequence[str]) -> None:
    for side in sides:
        text = record.cells.get(side)
        if not isinstance(text, str) or not text.strip():
            raise record.refuse(f"there is no {side} prompt", got=described(text), expected="a text")
    for side, places in zip(sides, record.places, strict=False):
        text = record.cells[side]
        for name, place in places.items():
            try:
                characters_of(text, place)
            except DataError:
                what = repr(place) if isinstance(place, str) else f"characters {place[0]} to {place[1]}"
                raise record.refuse(
                    f"the position {name!r} ({what}) is not in the {side} prompt", got=repr(shortened(text, 100)),
                    fix="name words that stand in it",
                ) from None  # fmt: skip
    if len(sides) == 2 and record.cells["clean"] == record.cells["corrupt"]:
        raise record.refuse("clean and corrupt are the same text", got=repr(shortened(record.cells["clean"])))
    if len(sides) == 1 and (record.places[1] or record.variables[1]):
        raise record.refuse("a prompt has no corrupt side", got=", ".join([*record.places[1], *record.variables[1]]))


def _all_or_none(rows: Sequence[Record], has: Callable[[Record], bool], what: str) -> None:
    missing = [record for record in rows if not has(record)]
    if missing and len(missing) < len(rows):
        raise missing[0].refuse(f"{what} is missing, which other rows have", fix="give it in every row, or in none")


def column(rows: Sequence[Record], name: str) -> list[Any]:
    """Return one column, None where a row does not say; nothing at all where no row does."""
    return [record.cells.get(name) for record in rows] if any(name in record.cells for record in rows) else []


def others(rows: Sequence[Record], sides: Sequence[str]) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return the columns of your own, of both sides: those of the counterpart where they say something else of it."""
    reserved = {*sides, *OPTIONAL} - {"template"}
    names = [name for record in rows for name in record.cells if name not in reserved]
    own_names = [name for name in dict.fromkeys(names) if not (name.startswith("corrupt_") and name != "corrupt_label")]
    own_names = [
        *own_names,
        *(name.removeprefix("corrupt_") for name in dict.fromkeys(names) if name.startswith("corrupt_")),
    ]
    columns = {}
    for name in dict.fromkeys(own_names):
        if name in ("label", "corrupt_label"):
            continue
        clean = column(rows, name) or [None] * len(rows)
        corrupt = column(rows, f"corrupt_{name}")
        columns[name] = clean, corrupt or clean
    return columns
