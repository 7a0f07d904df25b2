"""What `group_metrics` gives: rates by group and their gaps, in the words of fairlearn's `MetricFrame`.

A rate is a mean over a mean: a true positive rate is mean(decision x label) / mean(label). So a gap of two groups is a linear
contrast of two ratios, and a cluster may have units in both. Numbers alone are needed, and no model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from mechcausal.audits.estimate import Estimate
from mechcausal.errors import DataError, did_you_mean
from mechcausal.results.multiplicity import holm

Method = Literal["between_groups", "to_overall"]
Callables = Mapping[str, Callable[..., float]]
_One = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
# Name -> what is averaged, and among which units: of (label, decision, score).
RATES: dict[str, tuple[_One, _One]] = {
    "selection_rate": (lambda y, d, s: d, lambda y, d, s: np.ones_like(d)),
    "true_positive_rate": (lambda y, d, s: d * y, lambda y, d, s: y),
    "false_positive_rate": (lambda y, d, s: d * (1 - y), lambda y, d, s: 1 - y),
    "true_negative_rate": (lambda y, d, s: (1 - d) * (1 - y), lambda y, d, s: 1 - y),
    "false_negative_rate": (lambda y, d, s: (1 - d) * y, lambda y, d, s: y),
    "positive_predictive_value": (lambda y, d, s: d * y, lambda y, d, s: d),
    "negative_predictive_value": (lambda y, d, s: (1 - d) * (1 - y), lambda y, d, s: 1 - d),
    "accuracy": (lambda y, d, s: (d == y).astype(float), lambda y, d, s: np.ones_like(d)),
    "base_rate": (lambda y, d, s: y, lambda y, d, s: np.ones_like(d)),
    "calibration": (lambda y, d, s: y - s, lambda y, d, s: np.ones_like(d)),
}


@dataclass(frozen=True, eq=False)
class GroupMetrics:
    """Metrics by group.

    Attributes:
        table: Labels, decisions, scores, group, control and cluster of every unit, as columns.
        names: The metrics.
        callables: Those that are functions of the caller.
        level: The level of intervals.
        n_boot: How many draws of whole clusters give the intervals of functions of the caller.
        random_state: The seed of the draws.
    """

    table: pd.DataFrame
    names: tuple[str, ...]
    callables: Callables
    level: float = 0.95
    n_boot: int = 0
    random_state: int = 0

    @cached_property
    def groups(self) -> list[Any]:
        """The groups, in order."""
        return sorted(self.table["group"].unique(), key=str)

    @cached_property
    def overall(self) -> pd.Series | pd.DataFrame:
        """Every metric of all units; by control feature where there is one."""
        if not self._controlled:
            return pd.Series({name: self.estimate(name).value for name in self.names})
        rows = {control: {n: self.estimate(n, control=control).value for n in self.names} for control in self._controls}
        return pd.DataFrame(rows).T.rename_axis("control")

    @cached_property
    def by_group(self) -> pd.DataFrame:
        """Every metric of each group (of each group at each value of the control feature)."""
        return self._by_group("value")

    @property
    def by_group_ci(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The lower and the upper ends of the intervals of `by_group`."""
        return self._by_group("low"), self._by_group("high")

    @property
    def counts(self) -> pd.Series:
        """How many units each group has."""
        return self.table["group"].value_counts().sort_index()

    def group_min(self) -> Any:  # noqa: ANN401 - a Series, or a frame by control
        """Return the smallest value of each metric over the groups."""
        return self._over_groups(lambda frame, overall: frame.min())

    def group_max(self) -> Any:  # noqa: ANN401
        """Return the largest value of each metric over the groups."""
        return self._over_groups(lambda frame, overall: frame.max())

    def difference(self, *, method: Method = "between_groups") -> Any:  # noqa: ANN401
        """Return for each metric the largest difference between two groups, or of a group from all units."""
        if method == "to_overall":
            return self._over_groups(lambda frame, overall: (frame - overall).abs().max())
        return self._over_groups(lambda frame, overall: frame.max() - frame.min())

    def ratio(self, *, method: Method = "between_groups") -> Any:  # noqa: ANN401
        """Return for each metric the smallest ratio between two groups, or of a group to all units, the smaller above."""
        if method == "to_overall":
            return self._over_groups(
                lambda frame, overall: (frame / overall).map(lambda x: 1 / x if x > 1 else x).min()
            )
        return self._over_groups(lambda frame, overall: frame.min() / frame.max())

    @cached_property
    def codes(self) -> np.ndarray:
        """The number of each unit's group, in their order."""
        number = {group: code for code, group in enumerate(self.groups)}
        return self.table["group"].map(number).to_numpy()

    def rates(self, name: str, codes: np.ndarray | None = None) -> np.ndarray:
        """Return the rate of each group, in their order, without intervals; NaN where a group has no unit to count.

        Args:
            name: The metric.
            codes: The number of each unit's group, where it is another than the table says.
        """
        above, below = self._parts(name, self.table)
        codes = self.codes if codes is None else codes
        sums = [np.bincount(codes, weights=part, minlength=len(self.groups)) for part in (above, below)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(sums[1] != 0, sums[0] / sums[1], np.nan)

    def estimate(self, name: str, group: Any = None, control: Any = None) -> Estimate:  # noqa: ANN401
        """Return one metric of a group, or of all units, with its interval.

        Args:
            name: The metric.
            group: The group; all of them unless said.
            control: The value of the control feature; all of them unless said.
        """
        table = self._part(group, control)
        if name in self.callables:
            return self._booted(self.callables[name], table)
        above, below = self._parts(name, table)
        return Estimate.ratio(above, below, table["cluster"].to_numpy(), self.level)

    def gap(self, name: str, first: Any, second: Any, control: Any = None) -> Estimate:  # noqa: ANN401
        """Return the metric of one group less that of another, with the uncertainty of both.

        Args:
            name: The metric, one of those with an interval.
            first: One group.
            second: The other.
            control: The value of the control feature; all of them unless said.
        """
        units = self.gap_units(name, first, second, control)
        if not len(units):
            return Estimate(float("nan"), n=len(self._part(None, control)))
        return Estimate.mean(units.to_numpy(), self.table["cluster"][units.index].to_numpy(), self.level)

    def gap_units(self, name: str, first: Any, second: Any, control: Any = None) -> pd.Series:  # noqa: ANN401
        """Return one number for each unit of two groups, whose mean is their gap and which vary as it does.

        It is the linearization of a difference of two ratios; empty where a group has no unit to count.

        Args:
            name: The metric.
            first: One group.
            second: The other.
            control: The value of the control feature; all of them unless said.
        """
        if name in self.callables:
            raise DataError(f"the metric {name!r} is a function of your own, so its gap has no interval")
        table = pd.concat([self._part(group, control) for group in (first, second)]).sort_index()
        above, below = self._parts(name, table)
        units = np.zeros(len(table))
        for sign, group in ((1, first), (-1, second)):
            side = (table["group"] == group).to_numpy()
            if not below[side].sum():
                return pd.Series(dtype=float)
            ratio = above[side].sum() / below[side].sum()
            units += sign * (ratio + side * (above - ratio * below) / (below[side].sum() / len(units)))
        return pd.Series(units, index=table.index)

    def gaps(self, name: str) -> pd.DataFrame:
        """Return the gap of every two groups with its interval, p-value and p-value adjusted by Holm."""
        rows = []
        for first, second in itertools.combinations(self.groups, 2):
            gap = self.gap(name, first, second)
            rows.append(
                {"metric": name, "first": first, "second": second, "gap": gap.value, "low": gap.low, "high": gap.high}
                | {"n": gap.n, "n_clusters": gap.n_clusters, "p": gap.zero()}
            )
        frame = pd.DataFrame(rows)
        return frame.assign(p_adjusted=holm(frame["p"].to_numpy())) if rows else frame

    @property
    def _controlled(self) -> bool:
        return bool(self.table["control"].notna().any())

    @property
    def _controls(self) -> list[Any]:
        return sorted(self.table["control"].unique(), key=str) if self._controlled else []

    def _part(self, group: Any, control: Any) -> pd.DataFrame:  # noqa: ANN401
        table = self.table
        for column, value in (("group", group), ("control", control)):
            if value is not None:
                if value not in table[column].to_numpy():
                    raise DataError(
                        f"there is no {column} {value!r}", fix=did_you_mean(value, map(str, table[column].unique()))
                    )
                table = table[table[column] == value]
        return table

    def _parts(self, name: str, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        if name not in RATES:
            raise DataError(f"there is no metric {name!r}", fix=did_you_mean(name, RATES))
        columns = [table[column].to_numpy(dtype=float) for column in ("y_true", "y_pred", "y_score")]
        above, below = (function(*columns) for function in RATES[name])
        return above, below

    def _by_group(self, what: str) -> pd.DataFrame:
        keys = [(c, g) for c in self._controls or [None] for g in self.groups]
        rows = [{name: getattr(self.estimate(name, g, c), what) for name in self.names} for c, g in keys]
        if not self._controlled:
            return pd.DataFrame(rows, index=pd.Index([g for _, g in keys], name="group"))
        return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(keys, names=["control", "group"]))

    def _over_groups(self, reduce: Callable[[pd.DataFrame, Any], pd.Series]) -> Any:  # noqa: ANN401
        frame, overall = self.by_group, self.overall
        if not self._controlled:
            return reduce(frame, overall)
        rows = {control: reduce(frame.loc[control], overall.loc[control]) for control in self._controls}
        return pd.DataFrame(rows).T.rename_axis("control")

    def _booted(self, function: Callable[..., float], table: pd.DataFrame) -> Estimate:
        true, predicted = (table[name].to_numpy() for name in ("y_true", "y_pred"))
        value, n = float(function(true, predicted)), len(table)
        clusters = table["cluster"].to_numpy()
        names, rows_of = np.unique(clusters, return_inverse=True)
        if not self.n_boot or len(names) < 2:
            return Estimate(value, n=n, n_clusters=len(names))
        rows = [np.flatnonzero(rows_of == number) for number in range(len(names))]
        random = np.random.default_rng(self.random_state)
        drawn = []
        for _ in range(self.n_boot):
            chosen = np.concatenate([rows[number] for number in random.integers(len(names), size=len(names))])
            drawn.append(float(function(true[chosen], predicted[chosen])))
        low, high = np.quantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Estimate.interval(value, float(low), float(high), n, len(names), self.level)
