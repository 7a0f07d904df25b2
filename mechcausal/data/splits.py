"""Clusters and their splits: what is independent of what, and which examples choose while others judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mechcausal.errors import DataError


def cluster_numbers(clusters: Sequence[str], n: int) -> np.ndarray:
    """Return the number of each example's cluster; each is its own without clusters."""
    if not len(clusters):
        return np.arange(n)
    if len(clusters) != n:
        raise DataError("there must be one cluster per example", got=len(clusters), expected=n)
    return np.unique(np.asarray(clusters), return_inverse=True)[1]
