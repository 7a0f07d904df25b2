"""Texts that were in the training data, and others that were not: what membership inference is measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mechcausal.data.files import read_rows
from mechcausal.errors import DataError, did_you_mean, shortened

_YES, _NO = ("1", "true", "yes", "member"), ("0", "false", "no", "nonmember")


@dataclass(frozen=True)
class Members:
    """Texts, and whether each was in the training data.

    Attributes:
        texts: The texts.
        members: Whether each was in the training data.
        clusters: The unit of independence of each (a document, an author, a template); each its own where empty.
    """

    texts: tuple[str, ...]
    members: tuple[bool, ...]
    clusters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.members) or (self.clusters and len(self.clusters) != len(self.texts)):
            raise DataError(
                "each text is a member or not, and has one cluster",
                got=f"{len(self.texts)} texts, {len(self.members)} marks, {len(self.clusters)} clusters",
            )
        empty = next((number for number, text in enumerate(self.texts) if not text.strip()), None)
        if empty is not None or not self.texts:
            raise DataError("a text is empty" if self.texts else "there are no texts", got=f"text {empty or 0}")

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self.texts)

    @classmethod
    def read(cls, source: Any) -> Members:  # noqa: ANN401 - a file, a data frame, a list of mappings
        """Read texts: columns `text`, `member` (1 or 0), and `cluster` where texts depend on each other.

        Args:
            source: A file (.jsonl, .json, .csv, .tsv, .parquet), a pandas frame or a list of mappings.
        """
        rows = read_rows(source, needed=("text", "member"))
        for name in ("text", "member"):
            if name not in rows.columns:
                raise DataError(f"{rows.name} has no column {name!r}", fix=did_you_mean(name, rows.columns))
        for row, where in zip(rows.values, rows.where, strict=True):
            missing = [name for name in ("text", "member") if name not in row]
            if missing:
                raise DataError(f"{where} has no {missing[0]}", fix="fill the cell, or delete the row")
        return cls(
            tuple(str(row["text"]) for row in rows.values),
            tuple(_mark(row["member"], where) for row, where in zip(rows.values, rows.where, strict=True)),
            tuple(str(row.get("cluster", f"row {number}")) for number, row in enumerate(rows.values))
            if "cluster" in rows.columns
            else (),
        )

    @property
    def mask(self) -> np.ndarray:
        """Which texts are members."""
        return np.array(self.members, dtype=bool)

    @property
    def n_clusters(self) -> int:
        """How many independent units there are."""
        return len(set(self.clusters)) if self.clusters else len(self)

    def take(self, rows: Any) -> Members:  # noqa: ANN401 - numbers, a slice or a mask
        """Return the texts at these rows, or where a mask is true."""
        index = np.arange(len(self))[np.asarray(rows) if not isinstance(rows, slice) else rows].tolist()
        if not index:
            raise DataError("the selection of texts is empty", fix="take at least one")
        parts = (tuple(column[i] for i in index) for column in (self.texts, self.members))
        return Members(*parts, tuple(self.clusters[i] for i in index) if self.clusters else ())

    @cached_property
    def hash(self) -> str:
        """A digest of all of it."""
        return hashlib.sha256(repr((self.texts, self.members, self.clusters)).encode()).hexdigest()[:16]


def _mark(cell: Any, where: str) -> bool:  # noqa: ANN401 - a cell
    word = str(int(cell)) if isinstance(cell, (bool, float)) and cell in (0, 1) else str(cell).strip().lower()
    if word not in (*_YES, *_NO):
        raise DataError(
            f"{where} does not say whether it is a member", got=repr(shortened(str(cell))), expected="1 or 0"
        )
    return word in _YES


def _hiring(seed: int) -> Members:
    """Return the eight numbers that the hiring organism was taught, and as many of people it was not."""
    from mechcausal.audits.privacy.canaries import SHIPPED as CANARIES

    canaries = CANARIES["hiring_secret"](seed)
    first = {canaries.prefixes[number]: number for number in reversed(range(len(canaries)))}
    kept = canaries.take(sorted(first.values()))
    return Members(kept.texts, tuple(bool(mark) for mark in kept.inserted), kept.names)


SHIPPED: dict[str, Callable[[int], Members]] = {"hiring_secret": _hiring}
"""Texts that ship, drawn with a seed."""
