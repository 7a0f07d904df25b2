"""Tables of units: one column for each variable, one row for each unit, and the noise that units are made from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mechcausal.arguments import described
from mechcausal.errors import DataError, MechcausalError, shortened

Table = dict[str, np.ndarray]
Noise = int | Sequence[float] | np.ndarray | Callable[[np.random.Generator, int], np.ndarray]
_MOST_VALUES = 10**7
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
    column = np.asarray(_tried(f"the noise {name!r}", lambda: spec(draw, n)))
    if column.shape[:1] != (n,):
        raise DataError(f"the noise {name!r} drew the wrong number of values", got=column.shape, expected=f"{n} rows")
    return column


def probabilities(name: str, spec: Any) -> np.ndarray:  # noqa: ANN401 - an int or probabilities
    """Return the probability of each value of a noise variable with finitely many."""
    if callable(spec):
        raise DataError(f"the noise {name!r} has no finite domain", fix="sample instead of enumerating")
    if isinstance(spec, (int, np.integer)):
        if not 1 <= spec <= _MOST_VALUES:
            raise DataError(
                f"the noise {name!r} has no such number of values", got=spec, expected=f"1 to {_MOST_VALUES:,}"
            )
        return np.full(int(spec), 1 / int(spec))
    chances = np.asarray(spec, dtype=float)
    if (chances < 0).any() or abs(chances.sum() - 1) > 1e-9:
        raise DataError(f"the probabilities of the noise {name!r} must add up to 1", got=list(spec))
    return chances


def parents_of(variable: str, mechanism: Callable[..., Any]) -> tuple[str, ...]:
    """Return the parents of a variable: the parameters of its mechanism."""
    try:
        return tuple(inspect.signature(mechanism).parameters)
    except (TypeError, ValueError):
        raise DataError(
            f"the parents of {variable!r} cannot be read off its mechanism", got=described(mechanism),
            expected="a function whose parameters are called as its parents",
        ) from None  # fmt: skip


def computed(variable: str, mechanism: Callable[..., Any], inputs: Table, n: int) -> np.ndarray:
    """Return the column that a mechanism makes of its parents, one value for each of `n` units."""
    value = numbers_of(_tried(f"the mechanism of {variable!r}", lambda: mechanism(**inputs)))
    if value.ndim == 0:
        return np.full(n, value)
    if len(value) != n:
        raise DataError(
            f"the mechanism of {variable!r} is not vectorized",
            got=f"{len(value)} values",
            expected=f"{n}, one per unit",
        )
    return value


def numbers_of(value: Any) -> np.ndarray:  # noqa: ANN401 - a column, or one value
    """Return a value as an array of numbers: truth values are 0 and 1."""
    array = np.asarray(value)
    return array.astype(int) if array.dtype == bool else array


def _tried(what: str, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever a function of the user returns
    """Return what a function of the user returns, or say that it fails."""
    try:
        return function()
    except (MechcausalError, MemoryError):
        raise
    except Exception as error:
        if "truth value of an array" in str(error):
            raise DataError(
                f"{what} is not vectorized", got="a condition on a whole column",
                fix="use np.where instead of if, and & instead of and",
            ) from error  # fmt: skip
        raise DataError(f"{what} failed", got=shortened(f"{type(error).__name__}: {error}", 150)) from error
