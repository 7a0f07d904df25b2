"""Which rows of a group are there, and where: sorted arrays of keys, so that a resume is one anti-join."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Places:
    """Rows of one group: their keys, and where they are.

    Attributes:
        cell: The cell of each row.
        prompt: Its prompt.
        shard: The number of its shard.
        row: Its number in the shard.
    """

    cell: np.ndarray
    prompt: np.ndarray
    shard: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    def take(self, which: np.ndarray) -> Places:
        """Return some of the rows."""
        return Places(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[Places]) -> Places:
        """Return the rows of all parts."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


NOWHERE = Places(*(np.empty(0, dtype) for dtype in (np.uint64, np.uint64, np.int32, np.int32)))


def codes(*keys: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Return a number for each key (cell, prompt), equal where keys are equal and in their order.

    Args:
        keys: Arrays of cells and of prompts; all of them share their numbers.
    """
    _, cell = np.unique(np.concatenate([cell for cell, _ in keys]), return_inverse=True)
    prompts, prompt = np.unique(np.concatenate([prompt for _, prompt in keys]), return_inverse=True)
    numbers = cell.astype(np.int64) * max(1, len(prompts)) + prompt
    return np.split(numbers, np.cumsum([len(cell) for cell, _ in keys])[:-1])


def ranks(names: Sequence[Any]) -> np.ndarray:
    """Return where each name stands among the sorted ones."""
    rank = np.empty(len(names), dtype=np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return rank


class Index:
    """The rows of one group that are there.

    Most rows are kept sorted by cell, so that a question about some cells looks at their rows only; rows that were added
    since are few, and are looked at one and all.
    """

    def __init__(self) -> None:
        self._sorted = NOWHERE
        self._added: list[Places] = []

    def add(self, places: Places) -> None:
        """Add rows; a key may be added again."""
        self._added.append(places)

    def places(self) -> Places:
        """Return all rows, sorted by cell; a key stands in it as often as there are rows of it."""
        if self._added:
            rows = Places.joined([self._sorted, *self._added])
            self._sorted, self._added = rows.take(np.argsort(rows.cell, kind="stable")), []
        return self._sorted

    def done(self, cells: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Say of each cell and prompt whether there is such a row, [cell prompt]."""
        asked, cell_number = np.unique(np.asarray(cells, dtype=np.uint64), return_inverse=True)
        columns, prompt_number = np.unique(np.asarray(prompts, dtype=np.uint64), return_inverse=True)
        there = np.zeros((len(asked), len(columns)), dtype=bool)
        if there.size:
            for cell, prompt in self._near(asked):
                i, j = np.searchsorted(asked, cell), np.searchsorted(columns, prompt)
                i, j = np.minimum(i, len(asked) - 1), np.minimum(j, len(columns) - 1)
                hit = (asked[i] == cell) & (columns[j] == prompt)
                there[i[hit], j[hit]] = True
        return there[np.ix_(cell_number, prompt_number)]

    def _near(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield cells and prompts of the rows among which those of some cells are."""
        if sum(map(len, self._added)) > max(10_000, len(self._sorted) // 4):
            self.places()
        rows = self._sorted
        begin, end = np.searchsorted(rows.cell, cells, "left"), np.searchsorted(rows.cell, cells, "right")
        sizes = end - begin
        if sizes.sum() == len(rows):
            yield rows.cell, rows.prompt
        else:
            which = np.repeat(begin - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
            yield rows.cell[which], rows.prompt[which]
        for part in self._added:
            yield part.cell, part.prompt
