"""A shard: one file of rows, sealed, whose name is a digest of the keys of its rows and of which of them failed.

The name does not depend on who wrote the file or when, so two workers that computed the same rows write the same name, and
the first one wins. Rows that failed carry the number of the attempt, so that a later failure gets a name of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mechcausal.errors import ArgumentError, ResultError, did_you_mean
from mechcausal.results.storage import SEAL, check_seal, reason_of, seal

ROW = pa.schema([
    ("group", pa.string()),
    ("cell", pa.uint64()), ("prompt", pa.uint64()),
    ("value", pa.float64()), ("base", pa.float64()), ("clean", pa.float64()), ("corrupt", pa.float64()),
    ("more", pa.string()),
    ("blob", pa.large_binary()),
    ("error", pa.string()),
])  # fmt: skip
"""A row: its key (group, cell, prompt), its numbers, whatever else it says, and the error of a row that failed."""

KEY = ("group", "cell", "prompt")
NUMBERS = ("value", "base", "clean", "corrupt")
_FORMAT = "rows 1"
_NAME = re.compile(r"[0-9a-f]{32}\.parquet")
_MAGIC = b"PAR1"  # how a parquet file begins and ends


def digest64(text: str) -> int:
    """Return 64 bits that stand for the text of a cell or of a prompt."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


@dataclass(frozen=True)
class Shard:
    """What is kept in memory of one file: which rows it holds.

    Attributes:
        name: The name of the file.
        groups: The groups in it.
        group: The number of each row's group.
        cell: The cell of each row.
        prompt: The prompt of each row.
        failed: Which rows failed.
        errors: What the failed rows say, in their order.
        attempt: How often it had been tried, counting this one; 0 where nothing failed.
    """

    name: str
    groups: tuple[str, ...]
    group: np.ndarray
    cell: np.ndarray
    prompt: np.ndarray
    failed: np.ndarray
    errors: pa.Array
    attempt: int

    def __len__(self) -> int:
        return len(self.cell)

    def error(self, row: int) -> str:
        """Return what a row that failed says."""
        return self.errors[int(self.failed[:row].sum())].as_py()


def fitted(rows: pa.Table) -> pa.Table:
    """Return rows with the columns and types of `ROW`, the group dictionary-encoded; columns left out are null."""
    unknown = [name for name in rows.column_names if name not in ROW.names]
    if unknown or len(set(rows.column_names)) < rows.num_columns:
        wrong = unknown[0] if unknown else "a column twice"
        raise ArgumentError("rows have a column that is not theirs", got=wrong, fix=did_you_mean(wrong, ROW.names))
    columns = {}
    for field in ROW:
        column = rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        if field.name in KEY and column.null_count:
            raise ArgumentError(f"a row has no {field.name}", expected="a group, a cell and a prompt for every row")
        wanted = pa.dictionary(pa.int32(), field.type) if field.name == "group" else field.type
        try:
            columns[field.name] = column if column.type == wanted else column.cast(wanted)
        except pa.ArrowException as error:
            raise ArgumentError(
                f"the {field.name} of rows is of the wrong type", got=str(column.type), expected=str(field.type)
            ) from error
    return pa.table(columns)


def shard_of(rows: pa.Table, name: str = "", attempt: int = 0) -> Shard:
    """Return which rows a table holds: that of a file, or one that `fitted` returned."""
    group = rows["group"].unify_dictionaries().combine_chunks()
    failed = rows["error"].is_valid()
    return Shard(
        name=name,
        groups=tuple(group.dictionary.to_pylist()),
        group=group.indices.to_numpy(),
        cell=rows["cell"].to_numpy(),
        prompt=rows["prompt"].to_numpy(),
        failed=failed.to_numpy(),
        errors=rows["error"].filter(failed).combine_chunks(),
        attempt=attempt,
    )


def name_of(shard: Shard) -> str:
    """Return the name of the file with these rows, or raise if two rows have the same key."""
    # A table that was cut out of a larger one may know groups that it has no rows of.
    groups = sorted({shard.groups[number] for number in np.unique(shard.group)})
    rank = np.array([groups.index(group) if group in groups else -1 for group in shard.groups], dtype="<i8")
    group, cell, prompt = rank[shard.group], shard.cell.astype("<u8"), shard.prompt.astype("<u8")
    order = np.lexsort((prompt, cell, group)[: len(groups) + 1])  # one group need not be sorted by
    group, cell, prompt, failed = group[order], cell[order], prompt[order], shard.failed[order]
    same = (np.diff(group) == 0) & (cell[1:] == cell[:-1]) & (prompt[1:] == prompt[:-1])
    if same.any():
        at = int(same.argmax())
        raise ArgumentError(
            "two rows have the same key", got=f"group {groups[group[at]]}, cell {cell[at]}, prompt {prompt[at]}",
            fix="commit each row once",
        )  # fmt: skip
    digest = hashlib.sha256(json.dumps([_FORMAT, groups, shard.attempt]).encode())
    for part in (group, cell, prompt, failed):
        digest.update(part.tobytes())
    return f"{digest.hexdigest()[:32]}.parquet"


def is_shard_name(name: str) -> bool:
    """Say whether a file is called as shards are."""
    return _NAME.fullmatch(name) is not None


def write(rows: pa.Table, path: Path, name: str, attempt: int) -> None:
    """Write a shard under a temporary name; it is on the disk when this returns.

    Args:
        rows: The rows, as `fitted` returned them.
        path: The temporary file.
        name: The name that it is going to have.
        attempt: See `Shard`.
    """
    # Numbers are not dictionary-encoded: dictionaries may take NaNs of different bits for one. Statistics would hold texts of
    # rows behind the seal, which has to be the last one in the file, because blobs hold sealed files of their own.
    content = pa.BufferOutputStream()  # many small writes would take longer, and this way only one can fail
    with pq.ParquetWriter(
        content, rows.schema, compression="zstd", use_dictionary=[*KEY, "more"], write_statistics=False,
        column_encoding=dict.fromkeys(NUMBERS, "BYTE_STREAM_SPLIT"),
    ) as writer:  # fmt: skip
        writer.write_table(rows, row_group_size=len(rows))
        writer.add_key_value_metadata({"rows": _FORMAT, "name": name, "attempt": str(attempt), "checksum": SEAL})
    path.write_bytes(content.getvalue())
    path.chmod(0o644)
    seal(path, last=True)


def flaw(path: Path) -> str | None:
    """Return what is wrong with the bytes of a shard, or None; raise FileNotFoundError if there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - len(_MAGIC)))
            if file.read() != _MAGIC:
                return "truncated: it does not end as a shard does"
        check_seal(path, last=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        return f"it cannot be read: {reason_of(error)}"
    except ResultError:
        return "checksum: its content is not what was written"
    return None


def read_keys(path: Path, name: str | None = None) -> Shard | str:
    """Return which rows a file holds, or what is wrong with it; its checksum is compared, its numbers are not read.

    Args:
        path: The file.
        name: The name that it was written for, where it has another one now.
    """
    name = name or path.name
    wrong = flaw(path)
    if wrong is not None:
        return wrong
    try:
        with pq.ParquetFile(path) as file:
            said = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()}
            if said.get("rows") != _FORMAT or said.get("name") != name:
                return "not a shard: it was written for something else, or by another version"
            return shard_of(file.read([*KEY, "error"], use_threads=False), name, int(said["attempt"]))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        return f"not a shard: {type(error).__name__}"


def read_columns(path: Path, columns: Sequence[str], rows: np.ndarray) -> pa.Table:
    """Return columns of some rows of a shard that was sound when it was opened."""
    try:
        with pq.ParquetFile(path) as file:
            return file.read(list(columns), use_threads=False).take(pa.array(rows))
    except (pa.ArrowException, OSError) as error:
        raise ResultError(
            f"{path} was damaged or removed since the run was opened", got=reason_of(error),
            fix="open the run again, which computes its rows anew",
        ) from error  # fmt: skip
