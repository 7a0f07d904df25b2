"""How much circuits of one model have in common."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.circuits.circuit import Circuit, require_wiring
from mechcausal.circuits.grouped import grouped


def overlaps(circuits: Mapping[str, Circuit]) -> pd.DataFrame:
    """Return one row for each two circuits: what they share, and what random circuits of their sizes would share.

    Columns: `edges_shared`, `edges` (the share of the edges of either that both have), `by_chance` (the same of two random
    circuits of these sizes, in expectation), `nodes` (the same of heads and MLPs), `scores` (the rank correlation of the
    absolute scores of edges that both have scored; NaN where fewer than three are).

    Args:
        circuits: The circuits by name. Positions are joined, and so are query heads that share keys and values.
    """
    plain = {name: grouped(circuit) for name, circuit in circuits.items()}
    first = next(iter(plain.values()))
    for circuit in plain.values():
        require_wiring(circuit, first.wiring)
    rows = [{"first": a, "second": b} | _shared(plain[a], plain[b]) for a, b in combinations(plain, 2)]
    columns = ["first", "second", "edges_shared", "edges", "by_chance", "nodes", "scores"]
    return pd.DataFrame(rows, columns=columns)


def _shared(first: Circuit, second: Circuit) -> dict[str, Any]:
    kept = [np.asarray(circuit.kept.any(-1)) for circuit in (first, second)]
    both, sizes, total = int((kept[0] & kept[1]).sum()), [int(edges.sum()) for edges in kept], first.wiring.count
    expected = sizes[0] * sizes[1] / total
    nodes = [edges.any(1) for edges in kept]
    return {
        "edges_shared": both,
        "edges": _share(both, sum(sizes) - both),
        "by_chance": _share(expected, sum(sizes) - expected),
        "nodes": _share(int((nodes[0] & nodes[1]).sum()), int((nodes[0] | nodes[1]).sum())),
        "scores": _correlation(first, second),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _correlation(first: Circuit, second: Circuit) -> float:
    sizes = [np.nan_to_num(np.abs(circuit.scores), nan=-1.0).max(-1) for circuit in (first, second)]
    scored = (sizes[0] >= 0) & (sizes[1] >= 0)
    if scored.sum() < 3:
        return float("nan")
    return float(pd.Series(sizes[0][scored]).corr(pd.Series(sizes[1][scored]), method="spearman"))
