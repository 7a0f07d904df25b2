"""Groups of prompts by the names of their columns, what is wrong with these, and the accuracy of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.audits.desk import Desk
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.probes.labels import column_of
from mechcausal.results.charts import Bar, Bars


def groups_of(prompts: PromptSet, by: Sequence[str]) -> np.ndarray:
    """Return the group of each prompt: the values of these columns, joined."""
    columns = [[str(value) for value in column_of(prompts, name)] for name in by]
    return np.array([", ".join(values) for values in zip(*columns, strict=True)])


def wrong_groups(prompts: PromptSet, by: Sequence[str], least: int) -> Iterator[str]:
    """Say which columns are missing, and which groups are too small to say anything about."""
    try:
        groups = groups_of(prompts, by)
    except DataError as error:
        yield str(error)
        return
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2:
        yield f"there is one group by {', '.join(by)}, so none is worse than another"
    for name, count in zip(names, counts, strict=True):
        if count < least:
            yield f"the group {str(name)!r} has {count} prompts, fewer than {least}: bring more, or lower `least`"


def by_group(desk: Desk, right: np.ndarray, groups: np.ndarray, clusters: Sequence[Any] | np.ndarray) -> pd.DataFrame:
    """Return the accuracy of each group with its interval."""
    ids, rows = np.asarray(clusters) if len(clusters) else np.arange(len(right)), []
    for name in dict.fromkeys(sorted(groups.tolist())):
        here = groups == name
        estimate = desk.rate(right[here], ids[here])
        rows.append({"group": name, "accuracy": estimate.value, "low": estimate.low, "high": estimate.high,
                     "n": estimate.n, "n_clusters": estimate.n_clusters})  # fmt: skip
    return pd.DataFrame(rows)


def bars_of(table: pd.DataFrame) -> Bars:
    """Return the picture of accuracies by group."""
    columns = zip(table["group"], table["accuracy"], table["low"], table["high"], strict=True)
    bars = tuple(Bar(str(name), float(value), float(low), float(high)) for name, value, low, high in columns)
    return Bars(bars, "Accuracy by group", "accuracy")
