"""What gaps cannot all be zero: the identity of Chouldechova (2017), and what it forces at the base rates at hand.

With p the base rate of a group, PPV, FNR and FPR its rates:

    FPR = p / (1 - p) x (1 - PPV) / PPV x (1 - FNR)

So where base rates differ and decisions are not perfect, no two of the gaps below can be closed without opening a third one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from mechcausal.audits.fairness.metric_frame import GroupMetrics
from mechcausal.audits.figures import Cell, Matrix

SHORT = {
    "selection_rate": "selection rate", "true_positive_rate": "TPR", "false_positive_rate": "FPR",
    "positive_predictive_value": "PPV",
}  # fmt: skip


class Rates(NamedTuple):
    """The rates of all units together: selected, of the positive, of the negative, right among the selected."""

    selection: float
    tpr: float
    fpr: float
    ppv: float


# What is closed -> what opens, as a function of the base rate, with the closed rates as they are over all units.
FORCED: dict[tuple[str, str], tuple[str, Callable[[float, Rates], float]]] = {
    ("true_positive_rate", "false_positive_rate"): (
        "positive_predictive_value", lambda p, r: _over(p * r.tpr, p * r.tpr + (1 - p) * r.fpr),
    ),
    ("true_positive_rate", "positive_predictive_value"): (
        "false_positive_rate", lambda p, r: _over(p * (1 - r.ppv) * r.tpr, (1 - p) * r.ppv),
    ),
    ("false_positive_rate", "positive_predictive_value"): (
        "true_positive_rate", lambda p, r: _over((1 - p) * r.ppv * r.fpr, p * (1 - r.ppv)),
    ),
    ("selection_rate", "true_positive_rate"): (
        "false_positive_rate", lambda p, r: _over(r.selection - p * r.tpr, 1 - p),
    ),
    ("selection_rate", "false_positive_rate"): (
        "true_positive_rate", lambda p, r: _over(r.selection - (1 - p) * r.fpr, p),
    ),
    ("selection_rate", "positive_predictive_value"): (
        "true_positive_rate", lambda p, r: _over(r.selection * r.ppv, p),
    ),
}  # fmt: skip


def false_positive_rate(base_rate: float, ppv: float, fnr: float) -> float:
    """Return the false positive rate that base rate, PPV and FNR leave no choice about."""
    return _over(base_rate * (1 - ppv) * (1 - fnr), (1 - base_rate) * ppv)


def identity(metrics: GroupMetrics) -> pd.DataFrame:
    """Return for each group its base rate, its rates, and the false positive rate by the identity."""
    rows = []
    for group in metrics.groups:
        rate = {
            name: metrics.estimate(name, group).value
            for name in ("base_rate", "positive_predictive_value", "false_negative_rate", "false_positive_rate")
        }
        implied = false_positive_rate(rate["base_rate"], rate["positive_predictive_value"], rate["false_negative_rate"])
        rows.append({"group": group, **rate, "fpr_by_identity": implied})
    return pd.DataFrame(rows)


def forced(metrics: GroupMetrics) -> pd.DataFrame:
    """Return for every two gaps that are closed which third one opens between the groups of extreme base rates, and how far.

    The closed rates are those of all units together. A rate outside 0 to 1 means that the two gaps cannot both be zero at
    these rates at all.
    """
    base = {group: metrics.estimate("base_rate", group).value for group in metrics.groups}
    low, high = min(base, key=lambda g: base[g]), max(base, key=lambda g: base[g])
    together = Rates(*(metrics.estimate(name).value for name in SHORT))
    rows = []
    for (first, second), (third, rate) in FORCED.items():
        ends = rate(base[high], together), rate(base[low], together)
        rows.append(
            {
                "closed": f"{SHORT[first]} and {SHORT[second]}", "opens": SHORT[third], "group": high, "other": low,
                "rate": ends[0], "other_rate": ends[1], "gap": ends[0] - ends[1],
                "possible": all(0 <= end <= 1 for end in ends),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def sentence(metrics: GroupMetrics) -> str:
    """Say which gaps cannot be zero together at these base rates."""
    table = forced(metrics)
    row = table.iloc[0]
    rates = " and ".join(
        f"{metrics.estimate('base_rate', name).value:.3f} ({name})" for name in (row["group"], row["other"])
    )
    open_gaps = table[(table["gap"].abs() > 1e-9) | ~table["possible"]]
    if not len(open_gaps):
        return f"at base rates of {rates} all gaps can be zero together"
    parts = [
        f"{r['closed']} cannot both be equal at these rates"
        if not r["possible"]
        else f"{r['closed']} equal forces a {r['opens']} gap of {r['gap']:+.3f}"
        for _, r in open_gaps.iterrows()
    ]
    return f"at base rates of {rates} " + "; ".join(parts)


def picture(metrics: GroupMetrics) -> Matrix:
    """Lay out what opens when two gaps are closed."""
    table = forced(metrics).set_index("closed")
    names = list(SHORT)

    def cell(first: str, second: str) -> Cell:
        if first == second:
            return Cell(float("nan"), "")
        pair = (first, second) if (first, second) in FORCED else (second, first)
        row = table.loc[f"{SHORT[pair[0]]} and {SHORT[pair[1]]}"]
        if not row["possible"]:
            return Cell(1.0, "impossible", "bad")
        gap = float(row["gap"])
        return Cell(abs(gap), f"{row['opens']} {gap:+.3f}", "good" if abs(gap) <= 1e-9 else "bad")

    cells = tuple(tuple(cell(first, second) for second in names) for first in names)
    words = tuple(SHORT.values())
    return Matrix(words, words, cells, "What opens when two gaps are closed", "gap that is forced at these base rates")


def _over(above: float, below: float) -> float:
    return above / below if below else float("nan")
