"""Rows of one key are the same to the last bit, or it is said which are not."""

import numpy as np
import pyarrow as pa
import pytest
from stored_rows import GROUP, table

from mechcausal.runs.store import Store


def nan(bits):
    return np.array([0x7FF8000000000000 + bits], np.uint64).view(np.float64)[0]


FIRST = {"value": nan(1), "base": 0.0, "clean": None, "corrupt": 1.0, "more": '{"a": 1}', "blob": b"abc"}
OTHERS = {
    "value": [nan(2), 1.0, None],
    "base": [-0.0, 1e-300, None],
    "clean": [0.0, nan(1)],
    "corrupt": [1.0 + 2**-52, None],
    "more": ['{"a":1}', "", None],
    "blob": [b"abd", b"", None],
}


def two_of(folder, first, second):
    """Return a store that holds one row twice, beside rows that are there once or agree."""
    store = Store(folder, writing=True)
    for cell, columns in ((7, first), (8, second)):  # the shards differ in another row
        rows = [table([1], [1], **{name: pa.array([value], None) for name, value in columns.items()})]
        store.commit(pa.concat_tables([*rows, table([cell], [1]), table([2], [1], more=["same"])]))
    return store


def test_rows_that_agree(tmp_path):
    assert two_of(tmp_path, FIRST, FIRST).check() == []


@pytest.mark.parametrize("name", OTHERS)
def test_each_column_is_compared(tmp_path, name):
    for number, other in enumerate(OTHERS[name]):
        store = two_of(tmp_path / str(number), FIRST, FIRST | {name: other})
        left, right = sorted(shard.name for shard in store._shards)
        assert store.check() == [f"{left} and {right} disagree on {name} of group {GROUP}, cell 1, prompt 1"]


def test_all_columns_that_differ_are_named_in_one_sentence(tmp_path):
    (line,) = two_of(tmp_path, FIRST, {name: others[0] for name, others in OTHERS.items()}).check()
    assert " disagree on value, base, clean, corrupt, more, blob of group " in line


def test_three_of_one_key(tmp_path):
    store = Store(tmp_path, writing=True)
    for cell, shift in ((7, 0.0), (8, 0.5), (9, 0.0)):
        store.commit(pa.concat_tables([table([1], [1], shift=shift), table([cell], [1])]))
    names = sorted(shard.name for shard in store._shards)
    odd = next(shard.name for shard in store._shards if 8 in shard.cell)
    lines = store.check()
    assert len(lines) == (2 if odd == names[0] else 1)
    assert all(odd in line for line in lines)
