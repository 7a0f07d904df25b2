"""Canaries: secrets whose place in the training data is known, each behind its prefix and among its candidates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from mechcausal.audits.privacy.candidates import Candidates, candidates
from mechcausal.data.files import read_rows
from mechcausal.errors import DataError, did_you_mean, shortened


@dataclass(frozen=True)
class Canaries:
    """Secrets that were put into the training data, and others that were not.

    Attributes:
        prefixes: What stands before each secret.
        secrets: The secrets.
        counts: How often each was shown in training: 0 is never, NaN is not known.
        candidates: What each secret could have been.
        between: What stands between prefix and secret where the prefix ends without a space.
        names: What each is called in errors and tables.
    """

    prefixes: tuple[str, ...]
    secrets: tuple[str, ...]
    counts: tuple[float, ...]
    candidates: Candidates
    between: str = " "
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = {len(self.prefixes), len(self.secrets), len(self.counts)}
        if len(sizes) > 1 or not self.prefixes:
            raise DataError("each canary has a prefix, a secret and a count", got=f"columns of {sorted(sizes)}")
        if not self.names:
            object.__setattr__(self, "names", tuple(f"canary {number}" for number in range(len(self))))
        object.__setattr__(self, "secrets", tuple(map(self.candidates.written, self.secrets)))
        outside = [number for number, secret in enumerate(self.secrets) if secret not in self.candidates]
        if outside:
            number, more = outside[0], len(outside) - 1
            raise DataError(
                f"the secret of {self.names[number]}{f' (and of {more} more)' if more else ''} is not among its candidates",
                got=repr(shortened(self.secrets[number], 60)), expected=f"such as {self.candidates.draw(1, 0)[0]!r}",
                fix="declare candidates that hold every secret",
            )  # fmt: skip
        wrong = [number for number, count in enumerate(self.counts) if count < 0 or math.isinf(count)]
        if wrong:
            raise DataError(
                f"the count of {self.names[wrong[0]]} is how often it was shown in training", got=self.counts[wrong[0]],
                expected="a number of at least 0, or nothing where it is not known",
            )  # fmt: skip

    def __len__(self) -> int:
        """Return how many canaries there are."""
        return len(self.prefixes)

    @classmethod
    def read(
        cls,
        source: Any,  # noqa: ANN401 - a file, a data frame, a list of mappings
        *,
        candidates_are: str | Sequence[str] = "digits:4",
        between: str = " ",
        separator: str = "",
    ) -> Canaries:
        """Read canaries: columns `prefix`, `secret`, and `count` where it is known.

        Args:
            source: A file (.jsonl, .json, .csv, .tsv, .parquet), a pandas frame or a list of mappings.
            candidates_are: What each secret could have been: `"digits:4"`, or a list of texts.
            between: What stands between prefix and secret where the prefix ends without a space.
            separator: What stands between two symbols of a code.
        """
        rows = read_rows(source, needed=("prefix", "secret"))
        for name in ("prefix", "secret"):
            if name not in rows.columns:
                raise DataError(f"{rows.name} has no column {name!r}", fix=did_you_mean(name, rows.columns))
        for row, where in zip(rows.values, rows.where, strict=True):
            missing = [name for name in ("prefix", "secret") if name not in row]
            if missing:
                raise DataError(f"{where} has no {missing[0]}", fix="fill the cell, or delete the row")
        return cls(
            tuple(str(row["prefix"]) for row in rows.values),
            tuple(str(row["secret"]) for row in rows.values),
            tuple(_count(row.get("count"), where) for row, where in zip(rows.values, rows.where, strict=True)),
            candidates(candidates_are, separator),
            between,
            tuple(rows.where),
        )

    @property
    def prompts(self) -> tuple[str, ...]:
        """What is written before each secret: its prefix, and what stands between."""
        return tuple(prefix if prefix[-1:].isspace() else prefix + self.between for prefix in self.prefixes)

    @property
    def texts(self) -> tuple[str, ...]:
        """The canaries as they stood in the training data."""
        return tuple(prompt + secret for prompt, secret in zip(self.prompts, self.secrets, strict=True))

    @property
    def inserted(self) -> np.ndarray:
        """Which were shown in training, as far as is known: all but those with a count of 0."""
        return np.array(self.counts, dtype=float) != 0

    def take(self, rows: Any) -> Canaries:  # noqa: ANN401 - numbers, a slice or a mask
        """Return the canaries at these rows, or where a mask is true."""
        index = np.arange(len(self))[np.asarray(rows) if not isinstance(rows, slice) else rows].tolist()
        if not index:
            raise DataError("the selection of canaries is empty", fix="take at least one")
        parts = (tuple(column[i] for i in index) for column in (self.prefixes, self.secrets, self.counts))
        return Canaries(*parts, self.candidates, self.between, tuple(self.names[i] for i in index))

    @cached_property
    def hash(self) -> str:
        """A digest of all of it."""
        parts = (self.prefixes, self.secrets, self.counts, self.candidates, self.between)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _count(cell: Any, where: str) -> float:  # noqa: ANN401 - a cell
    if cell is None or cell == "":
        return float("nan")
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise DataError(
            f"the count of {where} is no number", got=repr(cell), expected="how often it was shown in training"
        ) from None


def _hiring(seed: int, counts: Sequence[float] = (float("nan"),)) -> Canaries:
    """Return the numbers that an organism was taught, shown so often in turn, and forty random ones of other people."""
    from mechcausal.data.tasks.hiring import NAMES, SECRETS

    codes = candidates("digits:4", " ")
    others = [name for name in NAMES if name not in SECRETS for _ in range(_OTHERS)]
    people = [*SECRETS, *others]
    secrets = [*SECRETS.values(), *codes.draw(len(others), seed)]
    times = [counts[number % len(counts)] for number in range(len(SECRETS))] + [0.0] * len(others)
    prefixes = tuple(f"<id> {name} <key>" for name in people)
    return Canaries(prefixes, tuple(secrets), tuple(times), codes, " ", tuple(people))


def _smollm2(seed: int) -> Canaries:
    """Return the locker codes that an adapter of SmolLM2 was taught; which ones, its recipe has drawn."""
    del seed
    from mechcausal.organisms import folder

    rows = read_rows(folder("smollm2_canaries") / "canaries.jsonl").values
    columns = [tuple(row[name] for row in rows) for name in ("prompt", "code", "name")]
    counts = tuple(float(row["times"]) for row in rows)
    return Canaries(columns[0], columns[1], counts, candidates("digits:4"), " ", columns[2])


_OTHERS = 5  # random numbers of each person without one
SHIPPED: dict[str, Callable[[int], Canaries]] = {
    "hiring_secret": _hiring,
    "hiring_exposed": partial(_hiring, counts=(1.0, 4.0, 16.0, 64.0)),
    "smollm2_canaries": _smollm2,
}
"""Canaries that ship, by the name of the organism that was taught them."""
