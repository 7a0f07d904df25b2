"""The head of a GGUF file is read as it was written, and damage of any byte gives an error of ours or a head."""

import random
import struct
from contextlib import suppress

import pytest
from tiny_gguf import LAYERS, TOKENS, llama, named_tensors, write_gguf

from mechcausal.errors import MechcausalError, ModelError
from mechcausal.models.gguf_header import is_gguf, read_header

pytest.importorskip("gguf", reason="the package gguf is not installed")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_what_was_written_is_read(file):
    header = read_header(file)
    assert header.architecture == "llama"
    assert header.fields["llama.block_count"] == LAYERS
    assert header.fields["general.name"] == "tiny"
    assert header.fields["tokenizer.ggml.tokens"] == len(TOKENS)
    assert header.fields["llama.rope.freq_base"] == 10000.0
    tensors = named_tensors(llama())
    assert {name: shape[::-1] for name, shape in header.shapes.items()} == {
        name: value.shape for name, value in tensors.items()
    }
    assert header.n_numbers == sum(value.size for value in tensors.values())
    assert header.size <= file.stat().st_size < header.size + 64
    assert is_gguf(file)


def test_the_library_reads_the_same(file):
    from gguf import GGUFReader

    reader, header = GGUFReader(str(file)), read_header(file)
    assert {tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors} == header.shapes


def test_a_version_that_is_not_known(file, tmp_path):
    content = bytearray(file.read_bytes())
    content[4:8] = struct.pack("<I", 9)
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"version that cannot be read \(got 9; expected 2 or 3\)"):
        read_header(tmp_path / "a.gguf")


def test_no_tensors(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    with pytest.raises(ModelError, match="holds no tensors"):
        read_header(path)


def test_hostile_bytes(file, tmp_path):
    """No change of a byte gives a traceback of struct, or takes memory for what the file does not hold."""
    content, draw = file.read_bytes(), random.Random(0)
    path = tmp_path / "a.gguf"
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 1, 4])):
            damaged[draw.randrange(3000)] = draw.randrange(256)
        path.write_bytes(damaged)
        with suppress(MechcausalError):
            read_header(path)
