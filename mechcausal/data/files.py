"""Tables of text from anywhere: files, data frames, data sets and lists of mappings, with a name for each row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechcausal.arguments import described
from mechcausal.disk import path_of, write_file, write_text
from mechcausal.errors import DataError, shortened

TEXT_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
FILES = (*TEXT_FILES[:5], ".parquet")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Rows:
    """A table.

    Attributes:
        name: Where it comes from.
        values: One mapping for each row; a cell that is empty is not in it.
        where: What each row is called in errors.
        flat: Whether all cells are text, as in CSV.
    """

    name: str
    values: list[dict[str, Any]]
    where: list[str]
    flat: bool = False

    @property
    def columns(self) -> list[str]:
        """The names of all columns that hold something, in the order in which they come."""
        return list(dict.fromkeys(name for row in self.values for name in row))


def read_rows(source: Any, *, needed: Sequence[str] = ()) -> Rows:  # noqa: ANN401 - many forms
    """Read a table.

    Args:
        source: A file, a pandas frame, a `datasets.Dataset`, or a list of mappings.
        needed: Columns that it must have; a header of a CSV file is recognized by them.
    """
    if isinstance(source, (str, Path)):
        rows = _file(Path(source), needed)
    elif isinstance(source, Mapping) and all(hasattr(value, "column_names") for value in source.values()):
        raise DataError("this is several splits of a data set", got=", ".join(map(str, source)), fix="give one of them")
    elif hasattr(source, "to_dict") and hasattr(source, "columns"):
        rows = _from_records("frame", source.to_dict(orient="records"))
    elif hasattr(source, "column_names") and hasattr(source, "__iter__"):
        rows = _from_records("data set", source)
    elif isinstance(source, (list, tuple)) and all(isinstance(row, Mapping) for row in source):
        rows = _from_records("rows", source)
    else:
        raise DataError(
            "rows cannot be read from this", got=described(source),
            expected=f"a file ({', '.join(FILES)}), a pandas frame, a datasets.Dataset or a list of mappings",
        )  # fmt: skip
    if not rows.values:
        raise DataError(f"{rows.name} has no rows", fix="give at least one")
    return rows


def _from_records(name: str, records: Iterable[Mapping[Any, Any]]) -> Rows:
    values = [{str(key): _plain(value) for key, value in record.items()} for record in records]
    values = [{key: value for key, value in row.items() if value is not None} for row in values]
    return Rows(name, values, [f"{name} row {number}" for number in range(len(values))])


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a cell as plain data: arrays as lists, and what is missing (None, NaN, NA) as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        cells = {key: _plain(item) for key, item in value.items()}
        return {key: item for key, item in cells.items() if item is not None}
    missing = (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
    return None if missing else value


def _file(path: Path, needed: Sequence[str]) -> Rows:
    path = path_of(path, DataError)
    if path.is_dir() or not path.exists():
        raise DataError(f"there is no file {path}", fix="check the name and the folder" if not path.is_dir() else None)
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix not in TEXT_FILES:
        raise DataError(f"{path.name} is no table that can be read", expected=f"a name that ends in {', '.join(FILES)}")
    text = _text(path)
    if not text.strip():
        raise DataError(f"{path.name} is empty", fix="give at least one row")
    if path.suffix in (".csv", ".tsv"):
        return _csv(path.name, text, needed)
    if path.suffix == ".txt":
        lines = [(f"{path.name} line {n}", line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        return Rows(path.name, [{"text": line} for _, line in lines], [where for where, _ in lines])
    return _json(path.name, text, lines=path.suffix != ".json")


def _text(path: Path) -> str:
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path.name} is written in UTF-16", expected="UTF-8", fix="save it as UTF-8")
    try:
        return data.decode("utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path.name} line {line} is not UTF-8", got=f"byte {data[error.start]:#x}", fix="save it as UTF-8"
        ) from None


def _json(name: str, text: str, *, lines: bool) -> Rows:
    if not lines:
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{name} line {error.lineno} is not JSON", got=f"{error.msg} in column {error.colno}"
            ) from None
        if not isinstance(values, list) or not all(isinstance(row, dict) for row in values):
            raise DataError(
                f"{name} is no list of objects", fix='write [{"clean": ...}, ...], or one object a line as .jsonl'
            )
        made = _from_records(name, values)
        return Rows(name, made.values, [f"{name} item {number}" for number in range(len(values))])
    objects, where = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{name} line {number} is not JSON", got=f"{error.msg} in column {error.colno}: {shortened(line.strip(), 60)}",
                fix="write one object on each line",
            ) from None  # fmt: skip
        if not isinstance(value, dict):
            raise DataError(
                f"{name} line {number} is no object", got=shortened(line.strip(), 60), expected='{"clean": ...}'
            )
        objects.append(value)
        where.append(f"{name} line {number}")
    return Rows(name, _from_records(name, objects).values, where)


def _csv(name: str, text: str, needed: Sequence[str]) -> Rows:
    head = text.splitlines()[0]
    headers = {mark: [cell.strip() for cell in next(csv.reader([head], delimiter=mark))] for mark in _DELIMITERS}
    fitting = [mark for mark, cells in headers.items() if set(needed) <= set(cells)]
    if len(fitting) != 1:  # none of them, or a table of one column
        fitting = [max(headers, key=lambda mark: len(headers[mark]))]
        tied = [mark for mark in headers if len(headers[mark]) == len(headers[fitting[0]]) > 1]
        if len(tied) > 1:
            raise DataError(
                f"{name} may be divided by {' or '.join(map(repr, tied))}", got=shortened(head, 80),
                fix="divide it by one of them, or write .jsonl",
            )  # fmt: skip
    header = headers[fitting[0]]
    if twice := [cell for cell in header if header.count(cell) > 1]:
        raise DataError(f"{name} has two columns called {twice[0]!r}", fix="rename one")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=fitting[0], strict=True)
    values, where, line = [], [], 0
    try:
        for cells in reader:
            first, line = line + 1, reader.line_num
            if first == 1 or not any(cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{name} line {first} has {len(cells)} cells", got=shortened(fitting[0].join(cells), 80),
                    expected=f"{len(header)}, one for each column", fix='write texts that hold the delimiter in "quotes"',
                )  # fmt: skip
            values.append({key: cell for key, cell in zip(header, cells, strict=True) if cell})
            where.append(f"{name} line {first}")
    except csv.Error as error:
        raise DataError(f"{name} line {reader.line_num} is not CSV", got=str(error)) from None
    return Rows(name, values, where, flat=True)


def _parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        records = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is not a Parquet file", got=str(error).partition("\n")[0][:100]) from None
    return _from_records(path.name, records)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a table: nested in JSON, flat in CSV and Parquet, where a cell that is no text or number is written as JSON."""
    if path.suffix not in FILES:
        raise DataError(
            f"{path.name} is no table that can be written", expected=f"a name that ends in {', '.join(FILES)}"
        )
    if path.suffix in (".jsonl", ".ndjson"):
        return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if path.suffix == ".json":
        return write_text(path, json.dumps(list(rows), ensure_ascii=False, indent=1))
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
        return write_file(path, lambda temporary: pq.write_table(table, temporary))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return write_text(path, text.getvalue())


def _column(cells: Sequence[Any]) -> list[Any]:
    """Return a column of one kind: numbers and words as they are, and anything else as JSON."""
    kinds = {type(cell) for cell in cells if cell is not None}
    plain = len(kinds) <= 1 and kinds <= {str, int, float, bool}
    return list(cells) if plain else [None if cell is None else _cell(cell) for cell in cells]


def _cell(value: Any) -> str:  # noqa: ANN401 - plain data
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
