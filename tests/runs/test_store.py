"""Rows survive: what was committed is there once, whole and unchanged, and what is damaged does not count."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from stored_rows import GROUP, OTHER, every, pairs, table

from mechcausal.errors import ArgumentError
from mechcausal.runs.store import ROW, Store


def test_rows_are_read_back_in_order_and_once(tmp_path):
    store = Store(tmp_path, writing=True)
    assert store.commit(table([3, 1], [5, 4]))
    assert store.commit(table([1, 2], [4, 6]))  # (1, 4) a second time
    assert not store.commit(table([1, 2], [4, 6]))
    assert not store.commit(table([2, 1], [6, 4]))  # the same rows in another order
    expected = [(1, 4, 1004.0), (1, 5, 1005.0), (1, 6, 1006.0), (2, 4, 2004.0), (2, 6, 2006.0)]
    expected += [(3, 4, 3004.0), (3, 5, 3005.0)]
    for reader in (store, Store(tmp_path), Store(tmp_path, writing=True)):
        assert pairs(reader.rows(GROUP)) == expected
        assert reader.rows(GROUP).schema.equals(pa.schema([field for field in ROW if field.name != "blob"]))
        assert reader.check() == []
        assert reader.damaged == ()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["rows"]
    assert len(list((tmp_path / "rows").iterdir())) == 2


def test_done_is_the_anti_join_of_a_resume(tmp_path):
    store = Store(tmp_path, writing=True)
    store.commit(table([1, 2], [5, 6]))
    store.commit(table([3], [5], group=OTHER))
    store.commit(table([2**64 - 1], [7]).drop_columns("value"))
    largest = 2**64 - 1
    for reader in (store, Store(tmp_path)):
        # In any order, and a cell may be asked for twice.
        done = reader.done(GROUP, np.array([2, largest, 3, 2], dtype=np.uint64), np.array([7, 6], dtype=np.uint64))
        assert done.tolist() == [[False, True], [True, False], [False, False], [False, True]]
        assert reader.done(OTHER, np.array([3]), np.array([5])).tolist() == [[True]]
        assert reader.done("c" * 64, np.array([3]), np.array([5])).tolist() == [[False]]
        assert reader.done(GROUP, np.array([], dtype=np.uint64), np.array([5])).shape == (0, 1)


def test_a_store_that_nobody_wrote_is_empty(tmp_path):
    store = Store(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    assert (store.refresh(), store.check(), store.damaged) == (0, [], ())
    assert len(store.rows(GROUP)) == len(store.failed()) == 0
    assert store.blob(GROUP, 1, 2) is None


def test_another_drivers_rows_appear(tmp_path):
    first, second = Store(tmp_path, writing=True), Store(tmp_path, writing=True)
    first.commit(table([1], [1, 2]))
    assert second.refresh() == 2
    assert second.refresh() == first.refresh() == 0
    assert second.done(GROUP, np.array([1]), np.array([1, 2])).all()
    second.commit(table([2], [1, 2]))
    assert not first.commit(table([2], [1, 2]))  # it finds the rows of the other one, which count
    assert pairs(first.rows(GROUP)) == every([1, 2], [1, 2])


def test_failed_rows_are_rows_until_they_succeed(tmp_path):
    store = Store(tmp_path, writing=True)
    store.commit(table([1], [1, 2], error="OSError: first"))
    store.commit(table([1], [1, 2], error="OSError: second"))  # tried again, failed again
    assert len(store.rows(GROUP)) == 0
    assert not store.done(GROUP, np.array([1]), np.array([1, 2])).any()
    for reader in (store, Store(tmp_path)):
        assert reader.failed().to_pylist() == [
            {"group": GROUP, "cell": 1, "prompt": prompt, "error": "OSError: second"} for prompt in (1, 2)
        ]
    store.commit(table([1], [2]))
    store.commit(table([1], [2, 3], error="OSError: late"))  # a slow worker; the row is there all the same
    for reader in (store, Store(tmp_path)):
        left = reader.failed()
        assert list(zip(left["prompt"].to_pylist(), left["error"].to_pylist(), strict=True)) == [
            (1, "OSError: second"), (3, "OSError: late"),
        ]  # fmt: skip
        assert pairs(reader.rows(GROUP)) == every([1], [2])
        assert reader.check() == []


def test_two_drivers_that_failed_the_same_rows_agree_on_what_is_said(tmp_path):
    first, second = Store(tmp_path, writing=True), Store(tmp_path, writing=True)
    first.commit(table([1], [1], error="OSError: of the first"))
    second.commit(table([1], [1, 2], error="OSError: of the second"))
    first.refresh()
    second.refresh()
    assert first.failed().equals(second.failed())
    assert first.failed().equals(Store(tmp_path).failed())


def test_the_store_needs_no_torch():
    code = "import sys, mechcausal.runs.store; print([m for m in ('torch', 'transformer_lens') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_that_cannot_be_are_refused(tmp_path):
    store = Store(tmp_path, writing=True)
    assert not store.commit(table([], []))
    with pytest.raises(ArgumentError, match="same key"):
        store.commit(table([1, 1], [2]))
    with pytest.raises(ArgumentError, match="no prompt"):
        store.commit(table([1], [2]).set_column(2, "prompt", pa.nulls(1, pa.uint64())))
    with pytest.raises(ArgumentError, match="did you mean 'value'"):
        store.commit(table([1], [2]).append_column("valeu", pa.nulls(1)))
    with pytest.raises(ArgumentError, match="value of rows is of the wrong type"):
        store.commit(table([1], [2]).set_column(3, "value", pa.array(["high"])))
    with pytest.raises(ArgumentError, match="no such column"):
        store.rows(GROUP, ["valeu"])
    assert list((tmp_path / "rows").iterdir()) == []
