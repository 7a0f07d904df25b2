"""Files appear whole, are checked when read, and are not lost when the disk fails."""

import errno
import json
import random
import tempfile

import pytest
import torch

from mechcausal.errors import DataError, ResultError
from mechcausal.results.storage import (
    SEAL,
    check_seal,
    checksum,
    read_json,
    read_tensors,
    seal,
    write_json,
    write_sealed,
    write_tensors,
)


def test_every_flipped_bit_is_noticed(tmp_path):
    data = {"a": [1.5, None, "x"], "nested": {"b": True}}
    file = write_json(tmp_path / "data.json", data)
    assert read_json(file) == data
    assert json.loads(file.read_text())["a"] == data["a"]  # still JSON to everybody else
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor([1, 2])}
    other = write_tensors(tmp_path / "t.safetensors", tensors, {"about": "ours"})
    back, about = read_tensors(other)
    assert about == {"about": "ours"}
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    draw = random.Random(0)
    for path, read in ((file, read_json), (other, read_tensors)):
        good = path.read_bytes()
        for _ in range(300):
            bad = bytearray(good)
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
            path.write_bytes(bad)
            with pytest.raises(DataError, match="damaged"):
                read(path, "ours", DataError)
        for size in (0, 10, len(good) - 1):
            path.write_bytes(good[:size])
            with pytest.raises(ResultError):
                read(path)


def test_a_file_that_holds_sealed_files_is_sealed_at_its_end(tmp_path):
    inner, outer = write_json(tmp_path / "inner.json", {"a": 1}), tmp_path / "outer"
    outer.write_bytes(inner.read_bytes() + SEAL.encode())
    seal(outer, last=True)
    check_seal(outer, last=True)
    assert outer.read_bytes().startswith(inner.read_bytes())  # whose own seal stays as it was
    with pytest.raises(ResultError, match="damaged"):
        check_seal(outer)
    good = outer.read_bytes()
    for at in (0, len(inner.read_bytes()) // 2, len(good) - 1):
        outer.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(ResultError, match="damaged"):
            check_seal(outer, last=True)


def test_a_checksum_is_that_of_the_standard_tool(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert checksum(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_writer_without_a_seal_is_a_bug(tmp_path):
    with pytest.raises(AssertionError, match="put SEAL"):
        write_sealed(tmp_path / "a", lambda path: path.write_text("nothing"))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_put_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    (tmp_path / "spare").mkdir()
    target = tmp_path / "full" / "a.json"

    def write(path):
        if path.parent.name == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_text(f"result {SEAL}")

    with pytest.raises(ResultError, match=r"No space left on device.*nothing is lost: it was put into .*a\.json"):
        write_sealed(target, write)
    (found,) = (tmp_path / "spare").rglob("a.json")
    check_seal(found)
    assert not target.exists()

    def never(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResultError, match="still in memory"):
        write_sealed(target, never)
    assert len(list((tmp_path / "spare").iterdir())) == 1  # no empty folder is left
