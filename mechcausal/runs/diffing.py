"""What is different between two runs: rows that only one has, and numbers that are further apart than is allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.runs.numbers import SIDES
from mechcausal.runs.plan import Group
from mechcausal.runs.run import Run

_KEY = ["site", "at", "prompt"]
# What says when and how something was computed, and not what came out.
_NOT_COMPARED = ("created", "seconds", "compute", "git", "packages", "wall")


@dataclass(frozen=True)
class Difference:
    """What is different between two runs.

    Attributes:
        same: How many rows are equal, to the last bit or within the tolerance.
        changed: Rows whose numbers differ: where they are, both numbers, and how far they are apart.
        only_a: How many rows the first has alone, by step.
        only_b: How many rows the second has alone, by step.
        settings: Steps and combinations that one of the runs does not have.
    """

    same: int
    changed: pd.DataFrame
    only_a: dict[str, int] = field(default_factory=dict)
    only_b: dict[str, int] = field(default_factory=dict)
    settings: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not len(self.changed) and not self.only_a and not self.only_b and not self.settings

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON data."""
        changed = json.loads(str(self.changed.to_json(orient="records")))
        return {
            "identical": self.identical, "same": self.same, "changed": changed, "only_a": self.only_a,
            "only_b": self.only_b, "settings": list(self.settings),
        }  # fmt: skip

    def __str__(self) -> str:
        """Say it in a few lines."""
        if self.identical:
            return f"identical: {self.same} rows"
        lines = [f"{self.same} rows are the same, {len(self.changed)} differ"]
        lines += list(self.settings)
        for name, counts in (("the first", self.only_a), ("the second", self.only_b)):
            lines += [f"only {name} has {count} rows of {step}" for step, count in counts.items()]
        for _, row in self.changed.head(10).iterrows():
            lines.append(f"  {row['step']} {row['site']} {row['at']} {row['column']}: {row['a']} and {row['b']}")
        return "\n".join(lines)


def difference(a: Run, b: Run, tolerance: float = 0.0) -> Difference:
    """Compare the rows of two runs.

    Args:
        a: A run.
        b: Another.
        tolerance: How far apart numbers may be; at 0 they must be equal to the last bit.
    """
    groups = [{_name(group): group for group in run.plan.groups} for run in (a, b)]
    settings = [f"only the first has {name}" for name in groups[0] if name not in groups[1]]
    settings += [f"only the second has {name}" for name in groups[1] if name not in groups[0]]
    changed: list[dict[str, Any]] = []
    only: tuple[dict[str, int], dict[str, int]] = ({}, {})
    same = 0
    for name, first in groups[0].items():
        if name not in groups[1]:
            continue
        second = groups[1][name]
        if first.kind in ("whole", "audit"):
            count, changes, alone = _of_results(a, first, b, second, tolerance)
        else:
            count, changes, alone = _of_rows(a, first, b, second, tolerance)
        same += count
        changed += [{"step": first.step, **row} for row in changes]
        for which, extra in zip(only, alone, strict=True):
            if extra:
                which[name] = extra
    columns = ["step", "site", "at", "prompt", "column", "a", "b"]
    return Difference(same, pd.DataFrame(changed, columns=columns), *only, tuple(settings))


def _name(group: Group) -> str:
    """Return what a group is called in both runs: its step and its labels."""
    return f"{group.step} ({', '.join(f'{key} {value}' for key, value in group.labels.items())})"


def _of_rows(
    a: Run, first: Group, b: Run, second: Group, tolerance: float
) -> tuple[int, list[dict[str, Any]], tuple[int, int]]:
    """Compare the rows of two groups that have a number for each cell and prompt."""
    left, right = (run.rows_of(group) for run, group in ((a, first), (b, second)))
    joined = left.merge(right, on=_KEY, how="outer", suffixes=("_a", "_b"), indicator=True)
    both = joined[joined["_merge"] == "both"]
    changes: list[dict[str, Any]] = []
    differs = np.zeros(len(both), dtype=bool)
    for name in ("value", *SIDES, "more"):
        mine, theirs = both[f"{name}_a"], both[f"{name}_b"]
        if name == "more":
            apart = (
                (mine.fillna("") != theirs.fillna("")).to_numpy() if not tolerance else np.zeros(len(both), dtype=bool)
            )
        else:
            apart = _apart(mine.to_numpy(float), theirs.to_numpy(float), tolerance)
        differs |= apart
        for _, row in both[apart].iterrows():
            changes.append(
                {key: row[key] for key in _KEY} | {"column": name, "a": row[f"{name}_a"], "b": row[f"{name}_b"]}
            )
    alone = joined["_merge"].value_counts()
    return int((~differs).sum()), changes, (int(alone["left_only"]), int(alone["right_only"]))


def _apart(mine: np.ndarray, theirs: np.ndarray, tolerance: float) -> np.ndarray:
    """Say which numbers are further apart than is allowed; not a number is equal to itself alone."""
    if not tolerance:
        return (mine != theirs) & ~(np.isnan(mine) & np.isnan(theirs))
    return ~((np.abs(mine - theirs) <= tolerance) | (np.isnan(mine) & np.isnan(theirs)) | (mine == theirs))


def _of_results(
    a: Run, first: Group, b: Run, second: Group, tolerance: float
) -> tuple[int, list[dict[str, Any]], tuple[int, int]]:
    """Compare the results of a method that was run whole, number by number."""
    done = [bool(run.done(group).all()) for run, group in ((a, first), (b, second))]
    if not all(done):
        return 0, [], (int(done[0]), int(done[1]))
    left, right = (flat(run.result_of(group)) for run, group in ((a, first), (b, second)))
    changes = []
    for name in dict.fromkeys([*left, *right]):
        mine, theirs = left.get(name), right.get(name)
        if isinstance(mine, float) and isinstance(theirs, float):
            apart = bool(_apart(np.array([mine]), np.array([theirs]), tolerance)[0])
        else:
            apart = mine != theirs
        if apart:
            changes.append({"site": "", "at": "", "prompt": "", "column": name, "a": mine, "b": theirs})
    return int(not changes), changes, (0, 0)


def flat(result: Any) -> dict[str, Any]:  # noqa: ANN401 - any result
    """Return what a result says as numbers and texts by their path, without when and how it was computed."""
    frame = getattr(result, "frame", None)
    frame = frame() if callable(frame) else frame
    if isinstance(frame, pd.DataFrame):
        values = {f"{column}[{row}]": _plain(value) for column in frame for row, value in enumerate(frame[column])}
        examples = getattr(result, "examples", None)
        if isinstance(examples, np.ndarray):
            values |= {f"examples{list(index)}": float(value) for index, value in np.ndenumerate(examples)}
        return values
    if hasattr(result, "archive"):
        return {"files": result.archive}
    return dict(_walked(result.to_json() if hasattr(result, "to_json") else repr(result), ""))


def _walked(value: Any, path: str) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _NOT_COMPARED:
                yield from _walked(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _walked(item, f"{path}[{number}]")
    else:
        yield path, _plain(value)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, (bool, np.bool_)) or value is None or value is pd.NA:
        return None if value is None or value is pd.NA else bool(value)
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    return str(value)
