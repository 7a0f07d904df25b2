"""Compare decisions between groups: what is true of every unit and what was decided, as columns; no model is needed.

frame = audit.group_metrics(y_true, y_pred, sensitive_features=group, clusters=template)
frame.by_group; frame.overall; frame.difference(); frame.ratio(method="to_overall"); frame.gap("accuracy", "a", "b")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, CountOrZero, OpenShare, Seed, checked, described
from mechcausal.audits.fairness.metric_frame import RATES, Callables, GroupMetrics
from mechcausal.errors import DataError, did_you_mean

SMALLEST = 10
"""A smaller group says nothing about those it stands for."""
DEFAULT = ("selection_rate", "true_positive_rate", "false_positive_rate", "positive_predictive_value", "accuracy")
WITHOUT_LABELS = ("selection_rate",)


@checked
def group_metrics(
    y_true: Any,  # noqa: ANN401 - a list, an array, a Series
    y_pred: Any,  # noqa: ANN401
    *,
    sensitive_features: Any,  # noqa: ANN401 - a column, or several by name
    clusters: Any = None,  # noqa: ANN401
    control_features: Any = None,  # noqa: ANN401
    y_score: Any = None,  # noqa: ANN401
    metrics: Any = None,  # noqa: ANN401 - names, or functions by name
    pos_label: str | int | bool = 1,
    smallest: Count = SMALLEST,
    level: OpenShare = 0.95,
    n_boot: CountOrZero = 0,
    random_state: Seed = 0,
) -> GroupMetrics:
    """Compare decisions between groups.

    Estimands: the rate of each group, and the gap of two groups. A gap of 0 is equality; 1 is all of one group and none of
    the other. Words and formulas are those of fairlearn's `MetricFrame`; intervals are cluster-robust (CR2) in place of its
    bootstrap of rows.

    Args:
        y_true: What is true of every unit; None for metrics that need no truth.
        y_pred: The decision about every unit.
        sensitive_features: The group of every unit: a column, or several by name, whose combinations are the groups.
        clusters: The unit of independence of every unit, such as its template; each is its own unless said.
        control_features: A column within whose values groups are compared.
        y_score: The predicted chance of the positive label, for `"calibration"`: mean label less mean score.
        metrics: Names of metrics, or functions of (y_true, y_pred) by name.
        pos_label: The label that counts as positive.
        smallest: A group with fewer units is refused.
        level: The level of the intervals.
        n_boot: For functions of your own: how many draws of whole clusters their intervals rest on.
        random_state: The seed of these draws.

    Example:
        >>> from mechcausal import audit
        >>> group = ["a"] * 20 + ["b"] * 20
        >>> frame = audit.group_metrics([1] * 40, [1] * 15 + [0] * 25, sensitive_features=group)
        >>> frame.by_group["selection_rate"].tolist(), float(frame.difference()["selection_rate"])
        ([0.75, 0.0], 0.75)
    """
    callables = dict(metrics) if isinstance(metrics, Mapping) else {}
    names = _names(metrics, callables, y_true is not None)
    decisions = _column(y_pred, "y_pred")
    n = len(decisions)
    truth = np.full(n, np.nan) if y_true is None else _column(y_true, "y_true")
    numeric = not callables or any(name in RATES for name in names)
    columns = {
        "y_true": _binary(truth, pos_label, "y_true") if numeric and y_true is not None else truth,
        "y_pred": _binary(decisions, pos_label, "y_pred") if numeric else decisions,
        "y_score": np.full(n, np.nan) if y_score is None else _column(y_score, "y_score", float),
        "group": _joined(sensitive_features, "sensitive_features"),
        "control": np.full(n, None) if control_features is None else _joined(control_features, "control_features"),
        "cluster": np.arange(n) if clusters is None else _column(clusters, "clusters"),
    }
    wrong = {name: len(column) for name, column in columns.items() if len(column) != n}
    if wrong:
        name, length = next(iter(wrong.items()))
        raise DataError(
            f"{name} and y_pred differ in length", got=f"{length} and {n}", expected="one entry for each unit"
        )
    table = pd.DataFrame(columns)
    require_groups(table["group"], table["control"], smallest)
    return GroupMetrics(table, names, callables, level, n_boot, random_state)


def require_groups(groups: Sequence[Any] | pd.Series, controls: Any = None, smallest: int = SMALLEST) -> None:  # noqa: ANN401
    """Refuse a group that is too small to say anything, by its name, and a single group."""
    problem = group_problem(groups, controls, smallest)
    if problem:
        raise DataError(problem)


def group_problem(groups: Sequence[Any] | pd.Series, controls: Any = None, smallest: int = SMALLEST) -> str:  # noqa: ANN401
    """Return what is wrong with the groups; empty if nothing is."""
    names = pd.Series(list(groups)).map(str)
    if names.nunique() < 2:
        return (
            f"there is only the group {names.iloc[0]!r}, so there is nothing to compare"
            if len(names)
            else "there are no units"
        )
    cells = names
    if controls is not None and pd.Series(list(controls)).notna().any():
        cells = names + " where the control is " + pd.Series(list(controls)).map(str)
    counts = cells.value_counts()
    small = counts[counts < smallest].sort_index()
    if not len(small):
        return ""
    name, count = small.index[0], int(small.iloc[0])
    more = f" ({len(small) - 1} more such groups)" if len(small) > 1 else ""
    return (
        f"the group {name!r} has {count} units, fewer than the {smallest} from which something can be said{more}: join groups, "
        "leave it out, or bring more"
    )


def _names(metrics: Any, callables: Callables, labeled: bool) -> tuple[str, ...]:  # noqa: ANN401
    if metrics is None:
        return DEFAULT if labeled else WITHOUT_LABELS
    listed = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(listed, (list, tuple, Mapping)) or not all(isinstance(name, str) for name in listed):
        raise DataError("metrics are names, or functions by name", got=described(metrics), expected=", ".join(RATES))
    names = tuple(listed)
    for name, function in callables.items():
        if not callable(function):
            raise DataError(f"the metric {name!r} is no function", expected="a function of (y_true, y_pred)")
    unknown = [name for name in names if name not in RATES and name not in callables]
    if unknown or not names:
        raise DataError(
            f"there is no metric {unknown[0]!r}" if names else "there is no metric",
            fix=did_you_mean(str(unknown[0]) if unknown else "", RATES),
        )
    needy = [name for name in names if name not in callables and name not in WITHOUT_LABELS]
    if needy and not labeled:
        raise DataError(f"the metric {needy[0]!r} needs y_true", fix="give what is true of every unit")
    return names


def _binary(values: np.ndarray, positive: str | int | bool, what: str) -> np.ndarray:
    kinds = list(dict.fromkeys(values.tolist()))
    if len(kinds) > 2 or (len(kinds) == 2 and positive not in kinds):
        raise DataError(
            f"{what} does not hold two kinds of values, one of them the positive label {positive!r}",
            got=", ".join(map(repr, kinds[:5]))[:80], fix="say which one is positive with pos_label=",
        )  # fmt: skip
    return np.array([value == positive for value in values.tolist()], dtype=float)


def _joined(features: Any, what: str) -> np.ndarray:  # noqa: ANN401 - a column, or several by name
    if isinstance(features, Mapping):
        features = pd.DataFrame({str(name): _column(column, f"{what}[{name!r}]") for name, column in features.items()})
    if isinstance(features, pd.DataFrame) and features.shape[1]:
        return features.astype(str).agg(" & ".join, axis=1).to_numpy()
    return _column(features, what)


def _column(values: Any, what: str, kind: type | None = None) -> np.ndarray:  # noqa: ANN401 - whatever a caller gives
    """Return a list, an array or a Series as an array of one dimension whose entries can be told apart."""
    try:
        column = np.asarray(values, dtype=kind) if hasattr(values, "__len__") and not isinstance(values, str) else None
        if column is not None and column.ndim == 1 and len(set(column.tolist())):
            return column
    except (TypeError, ValueError):
        pass
    wanted = "a number for each unit" if kind else "one entry for each unit"
    raise DataError(f"{what} is no column", got=described(values), expected=f"a list with {wanted}")


TRUTHS = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "True": 1, "False": 0, "true": 1, "false": 0}


def zero_or_one(values: list[str], name: str) -> np.ndarray:
    """Return a column of decisions as numbers.

    Args:
        values: The column.
        name: What it is called.
    """
    wrong = sorted({value for value in values if value not in TRUTHS})
    if wrong:
        raise DataError(f"the column {name!r} holds no decisions", got=", ".join(wrong[:3]), expected="1 or 0")
    return np.array([TRUTHS[value] for value in values])
