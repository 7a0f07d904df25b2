"""Tables of units: one column for each variable, one row for each unit, and the noise that units are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mechcausal.errors import DataError

Table = dict[str, np.ndarray]
Noise = int | Sequence[float] | Callable[[np.random.Generator, int], np.ndarray]
Outcome = str | Callable[[Table], np.ndarray]


def n_units(table: Table) -> int:
    """Return how many units a table holds."""
    return len(next(iter(table.values()))) if table else 0


def rows(table: Table, index: np.ndarray) -> Table:
    """Return these units of a table."""
    return {name: column[index] for name, column in table.items()}


def outcome_of(table: Table, outcome: Outcome) -> np.ndarray:
    """Return the outcome of every unit: a column, or a function of the table, as floats."""
    return np.asarray(table[outcome] if isinstance(outcome, str) else outcome(table), dtype=float)


def drawn(name: str, spec: Noise, draw: np.random.Generator, n: int) -> np.ndarray:
    """Return `n` values of a noise variable."""
    if not callable(spec):
        chances = probabilities(name, spec)
        return draw.choice(len(chances), size=n, p=chances)
    column = np.asarray(spec(draw, n))
    if column.shape[:1] != (n,):
        raise DataError(f"the noise {name!r} drew the wrong number of values", got=column.shape, expected=f"{n} rows")
    return column


def probabilities(name: str, spec: Any) -> np.ndarray:  # noqa: ANN401 - an int or probabilities
    """Return the probability of each value of a noise variable with finitely many."""
    if callable(spec):
        raise DataError(f"the noise {name!r} has no finite domain", fix="sample instead of enumerating")
    if isinstance(spec, (int, np.integer)):
        if spec < 1:
            raise DataError(f"the noise {name!r} needs at least one value", got=spec)
        return np.full(int(spec), 1 / int(spec))
    chances = np.asarray(spec, dtype=float)
    if (chances < 0).any() or abs(chances.sum() - 1) > 1e-9:
        raise DataError(f"the probabilities of the noise {name!r} must add up to 1", got=list(spec))
    return chances
