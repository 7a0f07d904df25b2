"""What commands print and where they write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mechcausal.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd


def show_json(document: Any) -> None:  # noqa: ANN401 - JSON data
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON data; what is not known is null."""
    return json.loads(str(table.to_json(orient="records")))


def columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as aligned text: thousands apart in counts, three digits in shares, nothing for missing values."""
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def require_file(path: Path, *suffixes: str, option: str = "-o") -> None:
    """Refuse, before anything is computed, an output file that could not be written or has the wrong ending."""
    from mechcausal.results.storage import require_room

    if suffixes and path.suffix not in suffixes:
        raise ArgumentError(f"{option} cannot be {path}", expected=f"a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ArgumentError(f"{option} cannot be {path}, which is a folder", fix=f"name a file in it: {path / 'NAME'}")
    require_room(path)


def require_folder(path: Path) -> None:
    """Refuse, before anything is computed, an output folder that cannot be made or written to."""
    from mechcausal.results.storage import require_room

    require_room(path, folder=True)


def _cell(value: object) -> str:
    if value is None or str(value) in ("nan", "<NA>"):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
