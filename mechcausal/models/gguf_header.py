"""The head of a GGUF file, read without any library: what it says of its model, and which tensors it holds.

It is looked at before a library parses the file, because the file may come from anywhere, may be cut off, and may hold
a model that takes more memory than there is. The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechcausal.errors import ModelError
from mechcausal.models.files import name_of

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_TEXT, _LIST = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MOST = 100_000_000  # entries of anything; a file that claims more is damaged
_DIMENSIONS = 8


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself.

    Attributes:
        fields: Its entries that are one text or one number, by name; of lists their length.
        shapes: The shape of every tensor, as the file has it.
        size: How many bytes the file must have at least.
    """

    fields: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    size: int

    @property
    def architecture(self) -> str:
        """The name of the architecture, as llama.cpp calls it."""
        return str(self.fields.get("general.architecture", ""))

    @property
    def n_numbers(self) -> int:
        """How many numbers its tensors hold together."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def is_gguf(path: Path) -> bool:
    """Say whether a file begins as GGUF does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_header(path: Path) -> Header:
    """Return the head of a GGUF file; refuse one that is none, of another version, or cut off."""
    if not path.stat().st_size:
        raise ModelError(f"{name_of(path)} is no GGUF file", got="an empty file", fix="download it again")
    if not is_gguf(path):
        raise ModelError(
            f"{name_of(path)} is no GGUF file", got="other first bytes", expected="GGUF", fix="check the path"
        )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            header = _Reader(content).header()
        except (struct.error, IndexError, UnicodeDecodeError, OverflowError, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            raise _cut_off(path, "an end within its head") from error
    size = path.stat().st_size
    if size < header.size:
        raise _cut_off(path, f"{size:,} bytes", f"at least {header.size:,}")
    if not header.shapes:
        raise ModelError(f"{name_of(path)} holds no tensors", fix="choose a GGUF file with weights")
    return header


def _cut_off(path: Path, got: str, expected: str | None = None) -> ModelError:
    return ModelError(
        f"the GGUF file {name_of(path)} is cut off or damaged", got=got, expected=expected, fix="download it again"
    )


class _Reader:
    """Reads on from where it stands."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.at = content, len(MAGIC)

    def header(self) -> Header:
        version = self.number("I")
        if version not in _VERSIONS:
            raise ModelError(
                "this GGUF file has a version that cannot be read", got=version, expected="2 or 3",
                fix="convert it anew with llama.cpp",
            )  # fmt: skip
        n_tensors, n_fields = self.count(), self.count()
        fields = {self.text(): self.value(self.number("I")) for _ in range(n_fields)}
        shapes: dict[str, tuple[int, ...]] = {}
        ends = [0]
        for _ in range(n_tensors):
            name, n_dimensions = self.text(), self.number("I")
            if n_dimensions > _DIMENSIONS:
                raise ValueError
            shapes[name] = tuple(self.count(2**48) for _ in range(n_dimensions))
            kind, offset = self.number("I"), self.number("Q")
            ends.append(offset + _bytes_of(kind, math.prod(shapes[name])))
        alignment = int(fields.get("general.alignment", 32)) or 32
        start = -(-self.at // alignment) * alignment
        return Header(fields, shapes, start + max(ends) if n_tensors else self.at)

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self.content, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def count(self, most: int = _MOST) -> int:
        number = self.number("Q")
        if number > most:
            raise ValueError
        return number

    def skip(self, size: int) -> None:
        if self.at + size > len(self.content):
            raise IndexError
        self.at += size

    def text(self) -> str:
        size = self.count()
        start = self.at
        self.skip(size)
        return self.content[start : self.at].decode("utf-8")

    def value(self, kind: int) -> Any:  # noqa: ANN401 - a number, a text, or the length of a list
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            return self.number(_NUMBERS[kind]) if kind in _NUMBERS else self.refuse()
        kind, length = self.number("I"), self.count()
        if kind in _NUMBERS:
            self.skip(length * struct.calcsize(f"<{_NUMBERS[kind]}"))
        else:
            for _ in range(length):
                self.skip(self.count()) if kind == _TEXT else self.value(kind)
        return length

    def refuse(self) -> int:
        raise ValueError


def _bytes_of(kind: int, n_numbers: int) -> int:
    """Return how many bytes a tensor takes; nothing for a kind that the library does not know either."""
    from gguf.constants import GGML_QUANT_SIZES

    sizes = {int(number): size for number, size in GGML_QUANT_SIZES.items()}
    block, size = sizes.get(kind, (1, 0))
    return -(-n_numbers // block) * size
