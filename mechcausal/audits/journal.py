"""Work that survives: answers and rows are written as they come, and a run that starts again reads them back.

A run's folder holds `progress/KEY.json`, one sealed file for each answer, and `progress/KEY.jsonl`, the rows of a question
that is under way. A row is one line with its checksum; a line that was cut off when the machine was lost is left out.
The key is a digest of the question, its data, the model and the code's meaning, so a changed question starts anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from mechcausal.audits.plain import plain
from mechcausal.errors import ResultError
from mechcausal.models.counting import counting
from mechcausal.results.storage import read_json, remove_leftovers, require_room, write_json

T = TypeVar("T")
_FOLDER = "progress"


class Counter(dict[str, float]):
    """How many forwards of one prompt a question takes, under `forwards`, however much of it was remembered or read back.

    They are counted where the model runs (`models.counting`), so nothing that a question runs is left out.

    What is remembered counts as if it were run now, once in each question. So the count says nothing of what other questions
    of the same run had asked before, nor of where a run was stopped.
    """

    def __init__(self) -> None:
        super().__init__(forwards=0.0)
        self._counted: list[set[Any]] = [set()]

    def add(self, forwards: float) -> None:
        """Count what the model was run on just now."""
        self["forwards"] += forwards

    @property
    def whole(self) -> int:
        """The count as a whole number, the same in whatever order shares were added."""
        return math.floor(self["forwards"] + 0.5 + 1e-6)

    def counted(self, compute: Callable[[], T]) -> tuple[T, float]:
        """Return what `compute` gives, and how many forwards it takes by itself."""
        before = self["forwards"]
        self._counted.append(set())
        try:
            with counting(self.add):
                return compute(), self["forwards"] - before
        finally:
            self._counted.pop()

    def count(self, key: Any, forwards: float, *, remembered: bool) -> None:  # noqa: ANN401 - whatever names it
        """Count something that was computed just now, and counted on the way, or that is remembered."""
        if remembered and key not in self._counted[-1]:
            self.add(forwards)
        self._counted[-1].add(key)


@dataclass
class Rows:
    """The rows of one question: `row` computes what is not there yet.

    Attributes:
        path: The file; None keeps rows in memory alone.
        done: The rows that are there, by name.
        took: How many forwards each of them takes.
        counter: Where forwards are counted.
        number: Tells these rows from those of others.
    """

    path: Path | None = None
    done: dict[str, Any] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    counter: Counter = field(default_factory=Counter)
    number: int = field(default_factory=count().__next__)

    @classmethod
    def at(cls, path: Path) -> Rows:
        """Read the rows of a file; what does not fit its checksum was cut off and is computed again."""
        done, took = {}, {}
        if path.is_file():
            for line in path.read_bytes().splitlines():
                digest, _, text = line.partition(b" ")
                if digest.decode("ascii", "replace") == _digest(text):
                    name, value, *forwards = json.loads(text)
                    done[name], took[name] = value, sum(forwards)
        return cls(path, done, took)

    def row(self, name: str, compute: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON data
        """Return a row, computed once and for all: JSON data, as it would be read back."""
        remembered = name in self.done
        if not remembered:
            value, self.took[name] = self.counter.counted(compute)
            text = json.dumps([name, plain(value), self.took[name]], ensure_ascii=False).encode()
            if self.path is not None:
                _append(self.path, f"{_digest(text)} ".encode() + text + b"\n")
            self.done[name] = json.loads(text)[1]
        self.counter.count((self.number, name), self.took[name], remembered=remembered)
        return self.done[name]


class Journal:
    """What is kept of a run: the folder's, or nothing where there is no folder.

    Args:
        folder: The folder of the run.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = None if folder is None else folder / _FOLDER
        if self._folder is not None:
            require_room(self._folder, folder=True)
            remove_leftovers(self._folder)

    def rows(self, key: str) -> Rows:
        """Return the rows of a question."""
        return Rows() if self._folder is None else Rows.at(self._folder / f"{key}.jsonl")

    def answer(self, key: str) -> Mapping[str, Any] | None:
        """Return what was kept of a question that was answered."""
        path = None if self._folder is None else self._folder / f"{key}.json"
        if path is None or not path.is_file():
            return None
        try:
            return read_json(path)
        except ResultError:  # it was damaged; it is computed again
            return None

    def keep(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keep the answer to a question; its rows are no longer needed."""
        if self._folder is not None:
            write_json(self._folder / f"{key}.json", answer)
            (self._folder / f"{key}.jsonl").unlink(missing_ok=True)


def digest(*parts: Any) -> str:  # noqa: ANN401 - JSON data
    """Return a digest of JSON data."""
    return hashlib.sha256(json.dumps(plain(parts), sort_keys=True).encode()).hexdigest()[:24]


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _append(path: Path, line: bytes) -> None:
    """Add a line so that it is on the disk when this returns; a line that was cut off before it is ended first."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
