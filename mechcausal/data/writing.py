"""Pairs and prompts back into a table, in the columns that `read` takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.data.files import write_rows
from mechcausal.data.tokens import characters_of
from mechcausal.errors import DataError

if TYPE_CHECKING:
    from mechcausal.data.contrast import Contrast
    from mechcausal.data.prompts import PromptSet

_COLUMNS = {"group": "groups", "environment": "environments", "cluster": "clusters", "label": "labels"}


def write_pairs(pairs: Contrast, path: Path) -> Path:
    """Write pairs."""
    clean, corrupt = (_side(side) for side in (pairs.clean, pairs.corrupt))
    rows = []
    sides = list(zip(clean, corrupt, strict=True))
    # What differs in some rows is written in all of them: an empty cell of a column would say that there is nothing.
    apart = {name for first, second in sides for name, cell in second.items() if cell != first.get(name)}
    for first, second in sides:
        row = {"clean": first.pop("text"), "corrupt": second.pop("text"), **first}
        for name, cell in second.items():
            place, variable = name.startswith("position."), name.startswith("variable.")
            # Where token i stands against token i, what is said of the clean prompt's positions holds of both. Elsewhere
            # characters of the clean prompt would be read as words to look for.
            needed = name in apart or (place and isinstance(cell, list))
            if variable or (needed and name not in ("answer", "foil") and not (place and pairs.even)):
                row[f"corrupt_{name}"] = cell
        if pairs.factor != "undeclared":
            row["factor"] = pairs.factor
        rows.append(row)
    return write_rows(path, rows)


def write_prompts(prompts: PromptSet, path: Path) -> Path:
    """Write prompts."""
    return write_rows(path, _side(prompts))


def _side(prompts: PromptSet) -> list[dict[str, Any]]:
    """Return the rows of a set of prompts, with dots in the names of nested columns."""
    if not prompts.texts:
        raise DataError("prompts that were given as tokens have no text to write", fix="build them from text")
    said = {
        what: getattr(prompts, what) is not None or getattr(prompts, f"{what}s") is not None
        for what in ("answer", "foil")
    }
    missing = [what for what, is_there in said.items() if is_there and what not in prompts.given]
    missing += [name for name in prompts.positions if f"position.{name}" not in prompts.given]
    if missing:
        raise DataError(
            f"the {missing[0]!r} of these prompts was given as tokens, which cannot be written as text",
            fix="build them from text",
        )
    rows = []
    for row, text in enumerate(prompts.texts):
        cells: dict[str, Any] = {"text": text}
        for name, column in prompts.given.items():
            cell = column[row]
            if name.startswith("position."):
                cell = cell if isinstance(cell, str) else list(characters_of(text, cell))
            elif isinstance(cell, tuple):
                cell = list(cell)
            cells |= {} if cell is None else {name: cell}
        for name, field in _COLUMNS.items():
            column = getattr(prompts, field)
            cells |= {name: _plain(column[row])} if column and column[row] is not None else {}
        cells |= {f"variable.{name}": column[row].tolist() for name, column in prompts.variables.items()}
        rows.append(cells)
    return rows


def _plain(value: Any) -> Any:  # noqa: ANN401 - a label
    return value.item() if hasattr(value, "item") else value
