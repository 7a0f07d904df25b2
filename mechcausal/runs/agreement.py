"""Whether rows that were computed twice agree, bit by bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from mechcausal.runs.index import Places, codes
from mechcausal.runs.shards import NUMBERS

_COMPARED = (*NUMBERS, "more", "blob")


def disagreements(
    group: str, places: Places, names: Sequence[str], read: Callable[[Places, Sequence[str]], pa.Table]
) -> list[str]:
    """Return one sentence for each pair of rows of one key that differ.

    Args:
        group: The group.
        places: All of its rows that succeeded.
        names: The names of shards.
        read: Returns columns of rows, in their order.
    """
    (code,) = codes((places.cell, places.prompt))
    _, inverse, counts = np.unique(code, return_inverse=True, return_counts=True)
    repeated = counts[inverse] > 1
    places, code = places.take(repeated), code[repeated]
    if not len(places):
        return []
    order = np.lexsort((np.array(names)[places.shard], code))
    places, code = places.take(order), code[order]
    _, begin, number = np.unique(code, return_index=True, return_inverse=True)
    first = begin[number]  # for each row, the first one with its key
    columns = {name: _differs(name, _comparable(name, places, read), first) for name in _COMPARED}
    lines = []
    for row in np.flatnonzero(np.logical_or.reduce(list(columns.values()))):
        which = ", ".join(name for name, differs in columns.items() if differs[row])
        files = f"{names[places.shard[first[row]]]} and {names[places.shard[row]]}"
        key = f"group {group}, cell {places.cell[row]}, prompt {places.prompt[row]}"
        lines.append(f"{files} disagree on {which} of {key}")
    return lines


def _comparable(name: str, places: Places, read: Callable[[Places, Sequence[str]], pa.Table]) -> pa.ChunkedArray:
    """Return a column; blobs by their digests, shard by shard, so that few of them are in memory at once."""
    if name != "blob":
        return read(places, [name])[name]
    digests = np.empty(len(places), dtype=object)
    for shard in np.unique(places.shard):
        which = np.flatnonzero(places.shard == shard)
        blobs = read(places.take(which), [name])[name]
        digests[which] = [hashlib.sha256(blob.as_buffer()).hexdigest() if blob.is_valid else None for blob in blobs]
    return pa.chunked_array([pa.array(digests, pa.string())])


def _differs(name: str, column: pa.ChunkedArray, first: np.ndarray) -> np.ndarray:
    """Say which rows differ from the first one of their key."""
    valid = column.is_valid().to_numpy()
    # Two NaNs are equal if their bits are.
    values = column.fill_null(0.0).to_numpy().view(np.uint64) if name in NUMBERS else column.to_numpy()
    return (valid != valid[first]) | (values != values[first])
