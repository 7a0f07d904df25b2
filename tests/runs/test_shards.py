"""A shard is what was written, bit by bit, or it is known not to be."""

import random
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_rows import GROUP, OTHER, table

from mechcausal.results.storage import SEAL, check_seal, write_json
from mechcausal.runs import shards
from mechcausal.runs.shards import (
    Shard,
    digest64,
    fitted,
    flaw,
    is_shard_name,
    name_of,
    read_columns,
    read_keys,
    shard_of,
)
from mechcausal.runs.store import Store


def written(folder, rows, attempt=0):
    rows = fitted(rows)
    name = name_of(shard_of(rows, attempt=attempt))
    shards.write(rows, folder / name, name, attempt)
    return folder / name


def numbers(*bits):
    return np.array(bits, dtype=np.uint64).view(np.float64)


def test_numbers_texts_and_blobs_come_back_bit_by_bit(tmp_path):
    # NaNs of different bits, both infinities, both zeros, the smallest and the largest number.
    special = numbers(
        0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001, 0x7FF0000000000000,
        0xFFF0000000000000, 0, 0x8000000000000000, 1, 0x7FEFFFFFFFFFFFFF,
    )  # fmt: skip
    many = np.concatenate([special, special, np.random.default_rng(0).normal(size=80)])
    n = len(many)
    nothing = pa.array(many, mask=np.arange(n) % 7 == 0)
    texts = [None, "", '{"é": "\u2028 \U0001f600"}', "x" * 100_000][:4] * (n // 4)
    blobs = [None, b"", bytes(range(256)), b"PAR1"] * (n // 4)
    rows = table(range(n), [2**64 - 1], value=many, base=nothing, more=texts, blob=blobs)
    path = written(tmp_path, rows)
    back = read_columns(path, ["value", "base", "more", "blob", "error"], np.arange(n))
    assert back["value"].null_count == 0
    assert (back["value"].to_numpy().view(np.uint64) == many.view(np.uint64)).all()
    assert back["base"].is_valid().equals(rows["base"].is_valid())
    valid = np.arange(n) % 7 != 0
    assert (back["base"].drop_null().to_numpy().view(np.uint64) == many[valid].view(np.uint64)).all()
    assert back["more"].to_pylist() == texts
    assert back["blob"].to_pylist() == blobs
    shard = read_keys(path)
    assert shard.cell.tolist() == list(range(n))
    assert set(shard.prompt.tolist()) == {2**64 - 1}
    assert back.schema == pa.schema([shards.ROW.field(name) for name in back.column_names])
    # Some rows, in another order.
    assert read_columns(path, ["more"], np.array([3, 1]))["more"].to_pylist() == [texts[3], texts[1]]


def test_every_flipped_bit_and_every_cut_is_noticed(quick_folder):
    path = written(quick_folder, table([1, 2], [3, 4], more=["a", None, "b", "c"]))
    good, draw = path.read_bytes(), random.Random(0)
    assert flaw(path) is None
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << draw.randrange(8)
        path.write_bytes(bad)
        assert flaw(path) is not None, at
        path.write_bytes(good[:at])
        assert flaw(path).startswith(("truncated", "checksum")), at
    path.write_bytes(good + b"PAR1")
    assert flaw(path).startswith("checksum")
    path.write_bytes(good)
    assert isinstance(read_keys(path), Shard)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        flaw(path)


def test_a_shard_holds_sealed_files_and_texts_that_look_like_seals(quick_folder):
    inner = write_json(quick_folder / "inner.json", {"a": 1}).read_bytes()
    texts = [SEAL, inner.decode(), f"{SEAL} again"]
    rows = table([1], [1, 2, 3], blob=[inner, SEAL.encode() * 3, inner], more=texts)
    rows = pa.concat_tables([rows, table([2], [1], error=f"OSError: {SEAL}")])
    path = written(quick_folder, rows, attempt=1)
    assert flaw(path) is None
    back = read_columns(path, ["blob", "more"], np.arange(3))
    assert back["blob"].to_pylist() == [inner, SEAL.encode() * 3, inner]
    assert back["more"].to_pylist() == texts
    (quick_folder / "back.json").write_bytes(back["blob"][0].as_py())
    check_seal(quick_folder / "back.json")
    good = path.read_bytes()
    start = good.rindex(SEAL[:-64].encode())
    assert start > len(good) - 2000  # it is in the footer
    for at in range(start - 200, len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert flaw(path) is not None


def test_a_name_says_which_rows_failed_and_not_in_which_order_they_stand():
    rows = table([1, 2], [3, 4])
    name = name_of(shard_of(fitted(rows)))
    assert is_shard_name(name)
    assert not is_shard_name("x" + name)
    assert not is_shard_name(name.upper())
    assert name_of(shard_of(fitted(rows.take([2, 0, 3, 1])))) == name
    both = pa.concat_tables([table([9], [9], group=OTHER), rows])
    assert name_of(shard_of(fitted(both))) == name_of(shard_of(fitted(both.take([3, 4, 0, 1, 2]))))
    assert name_of(shard_of(fitted(fitted(both).slice(1)))) == name  # the group that was cut off has no say
    others = [
        table([1, 2], [3, 5]), table([1, 3], [3, 4]), table([1, 2], [3, 4], group=OTHER), table([3, 4], [1, 2]),
        table([1, 2], [3, 4], error="E: e"), both, rows.slice(1),
    ]  # fmt: skip
    names = {name_of(shard_of(fitted(other))) for other in others}
    failed = fitted(table([1, 2], [3, 4], error="E: e"))
    names |= {name_of(shard_of(failed, attempt=attempt)) for attempt in (1, 2)}
    assert len(names | {name}) == 10
    assert name_of(shard_of(fitted(table([1, 2], [3, 4], shift=5.0)))) == name  # values have no say


def test_a_file_of_something_else_is_no_shard(tmp_path):
    path = tmp_path / f"{'0' * 32}.parquet"
    schema = pa.schema([("a", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        writer.add_key_value_metadata({"checksum": SEAL})
    shards.seal(path, last=True)
    assert read_keys(path).startswith("not a shard")
    path.write_text(f"PAR1 {SEAL} PAR1")
    shards.seal(path, last=True)
    assert read_keys(path) == "not a shard: ArrowInvalid"
    path.unlink()
    path.mkdir()
    assert read_keys(path) == "it cannot be read: Is a directory"


def test_keys_alone_are_read(tmp_path, monkeypatch):
    Store(tmp_path, writing=True).commit(table([1], [1, 2], blob=[b"x" * 1000, None]))
    columns = []
    read = pq.ParquetFile.read

    def spied(self, names, **options):
        columns.append(list(names))
        return read(self, names, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", spied)
    store = Store(tmp_path)
    store.done(GROUP, np.array([1]), np.array([1]))
    assert columns == [["group", "cell", "prompt", "error"]]
    store.rows(GROUP)
    assert "blob" not in columns[-1]
    assert store.blob(GROUP, 1, 1) == b"x" * 1000
    assert store.blob(GROUP, 1, 2) is store.blob(GROUP, 2, 1) is None


def test_errors_stand_with_their_rows():
    rows = pa.concat_tables(
        [table([1], [1], error="E: a"), table([1], [2]), table([1], [3], error="E: b"), table([1], [4], error="E: c")]
    )
    shard = shard_of(fitted(rows))
    assert shard.failed.tolist() == [True, False, True, True]
    assert [shard.error(row) for row in (0, 2, 3)] == ["E: a", "E: b", "E: c"]
    assert len(shard) == 4


def test_columns_that_are_left_out_are_null_and_types_are_made_to_fit():
    rows = fitted(pa.table({"prompt": [1], "cell": [2], "group": ["a"], "value": pa.array([1.5], pa.float32())}))
    assert rows.column_names == shards.ROW.names
    assert rows["value"].to_pylist() == [1.5]
    assert rows["more"].null_count == rows["clean"].null_count == 1


def test_digests_of_texts_are_64_bits_and_do_not_change():
    assert digest64("") == struct.unpack(">Q", bytes.fromhex("e3b0c44298fc1c14"))[0]  # the SHA-256 of nothing
    assert digest64("abc") == 0xBA7816BF8F01CFEA  # and that of the standard's example
    assert digest64("\ud800") != digest64("é")  # half a character, as a tokenizer may leave it
