"""The numbers of a sweep in rows, and the result that its method would have made of them. Neither torch nor a model is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result
from mechcausal.results.table import tabulate

SIDES = ("base", "clean", "corrupt")


def more_of(influence: float | None) -> str | None:
    """Return what a row says besides its numbers."""
    return None if influence is None else json.dumps({"influence": influence})


def influence_of(more: Sequence[str | None]) -> np.ndarray | None:
    """Return what rows say of influence."""
    if not any(more):
        return None
    return np.array([json.loads(text)["influence"] if text else np.nan for text in more])


def result_of(
    where: Sequence[dict[str, Any]],
    numbers: dict[str, np.ndarray],
    provenance: Provenance,
    groups: tuple[str, ...],
    clusters: tuple[str, ...],
) -> Result:
    """Return the result that the method itself would have made of the same numbers."""
    influence, values = numbers.get("influence"), numbers["value"]
    sides = {side: _one_row(numbers[side]) for side in SIDES if side in numbers}
    places = [{name: value for name, value in cell.items() if name != "number"} for cell in where]
    frame = tabulate(places, values, sides, clusters, influence=influence)
    return Result(frame, provenance, values, sides, groups, clusters, influence=influence)


def _one_row(values: np.ndarray) -> np.ndarray:
    """Return the numbers of the examples where they are the same for all cells."""
    same = len(values) > 0 and bool(((values == values[0]) | (np.isnan(values) & np.isnan(values[0]))).all())
    return values[0].copy() if same else values
