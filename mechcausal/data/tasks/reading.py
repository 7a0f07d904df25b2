"""Mechanisms whose parents are named by a list, as those that read many places are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import numpy as np


def reading(parents: Sequence[str], function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """Return a mechanism of these parents from a function of the table whose columns they are, [unit parent]."""

    def mechanism(**columns: np.ndarray) -> np.ndarray:
        return function(np.stack([columns[parent] for parent in parents], axis=1))

    named = [inspect.Parameter(parent, inspect.Parameter.KEYWORD_ONLY) for parent in parents]
    mechanism.__signature__ = inspect.Signature(named)  # ty: ignore[missing-attribute]
    return mechanism
