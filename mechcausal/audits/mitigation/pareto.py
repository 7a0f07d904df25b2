"""The Pareto front of a sweep: which edits no other edit beats on two measures, with the uncertainty of both."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.audits.figures import Point, Points, still
from mechcausal.audits.mitigation.sweep import Measure, Sweep, paired
from mechcausal.errors import ResultError

SURE = 0.95
"""In which share of the resamples an edit must be worse than another to count as dominated."""


@dataclass(frozen=True)
class Pareto:
    """Two measures of every edit, and which edits are dominated.

    Attributes:
        rows: One row for each edit: `x` and `y` with intervals, `front`, `control`, `dominated_by`, and `share`, in which
            share of the resamples the strongest rival is at least as good on both measures and better on one.
        figure: The scatter, with the front joined.
        notes: Which numbers could not be resampled unit by unit, and what was drawn instead.
    """

    rows: pd.DataFrame
    figure: Points
    notes: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """Return the rows."""
        return self.rows

    @property
    def front(self) -> list[str]:
        """The edits that are not dominated, controls left out."""
        chosen = self.rows[self.rows["front"] & ~self.rows["control"]]
        return [str(name) for name in chosen["edit"]]

    def __repr__(self) -> str:
        """Say which edits are dominated by which."""
        lines = [f"{self.figure.x_label} against {self.figure.y_label}"]
        for _, row in self.rows.iterrows():
            rival = f"dominated by {row['dominated_by']} in {row['share']:.0%} of resamples"
            state = "control" if row["control"] else "front" if row["front"] else rival
            lines.append(f"  {row['edit']}: ({row['x']:.3g}, {row['y']:.3g}) {state}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<div>{still(self.figure)}<pre style='white-space:pre-wrap'>{html.escape(repr(self))}</pre></div>"


def pareto(sweep: Sweep, x: str, y: str, *, draws: int = 2000, seed: int = 0) -> Pareto:
    """Return which edits of a sweep are dominated by two measures; see `Sweep.pareto`."""
    measures = sweep.measure(x), sweep.measure(y)
    if measures[0] == measures[1]:
        raise ResultError("a front is of two measures", got=measures[0].name)
    edits = [edit for edit in sweep.edits if all((edit.name, each.name) in sweep.answers for each in measures)]
    if not edits:
        raise ResultError(f"no edit has both {measures[0].name} and {measures[1].name}")
    losses = _losses(sweep, [edit.name for edit in edits], measures, draws, seed)
    at_least_as_good = (losses[:, :, None] <= losses[:, None, :] + 1e-12).all(0)  # [edit rival draw]
    better = (losses[:, :, None] < losses[:, None, :] - 1e-12).any(0)
    beats = (at_least_as_good & better).mean(-1)
    np.fill_diagonal(beats, 0.0)
    rival, share = beats.argmax(0), beats.max(0)
    rows = []
    for number, edit in enumerate(edits):
        row: dict[str, Any] = {"edit": edit.name}
        for axis, measure in zip("xy", measures, strict=True):
            estimate = sweep.answer(edit.name, measure.name).estimate
            row |= {axis: estimate.value, f"{axis}_low": estimate.low, f"{axis}_high": estimate.high}
        front = bool(share[number] < SURE)
        row |= {
            "front": front, "control": edit.control, "share": float(share[number]),
            "dominated_by": "" if front else edits[int(rival[number])].name, "notes": ", ".join(edit.notes),
        }  # fmt: skip
        rows.append(row)
    frame = pd.DataFrame(rows)
    names = [edit.name for edit in edits]
    notes = [note for measure in dict.fromkeys(measures) if (note := _unpaired(sweep, names, measure))]
    return Pareto(frame, _figure(frame, measures), tuple(notes))


def _unpaired(sweep: Sweep, edits: list[str], measure: Measure) -> str:
    """Say that a measure could not be resampled unit by unit; empty where it was."""
    answers = [sweep.answer(edit, measure.name) for edit in edits]
    if all(paired(answer, answers[0]) for answer in answers):
        return ""
    uncertain = all(len(np.unique(answer.estimate.drawn(2, np.random.default_rng(0)))) > 1 for answer in answers)
    how = (
        "its numbers are drawn from the standard error of each edit, as if the edits had other examples"
        if uncertain
        else "an edit's number without a standard error is taken as it is, the others are drawn from theirs, as if independent"
    )
    return f"{measure.name} ({measure.word}) has not the same units under every edit: {how}"


def _losses(sweep: Sweep, edits: list[str], measures: tuple[Measure, ...], draws: int, seed: int) -> np.ndarray:
    """Return what is worse the larger it is, [measure edit draw]; one draw of clusters serves all edits and measures.

    What has not the same units under every edit is drawn from the uncertainty of its own number instead.
    """
    columns = {
        measure.name: _clusters(sweep.answer(edits[0], measure.name).unit_clusters, sweep, edits[0], measure)
        for measure in measures
    }
    names = sorted({name for clusters in columns.values() for name in clusters})
    numbers = {name: number for number, name in enumerate(names)}
    picks = np.random.default_rng([seed, 73]).integers(np.iinfo(np.int64).max, size=draws)
    rng, alone = np.random.default_rng(seed), np.random.default_rng([seed, 71])
    weights = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), size=draws) if names else None
    out = np.empty((len(measures), len(edits), draws))
    for place, measure in enumerate(measures):
        ids = np.array([numbers[name] for name in columns[measure.name]], dtype=int)
        for number, edit in enumerate(edits):
            answer = sweep.answer(edit, measure.name)
            joined = paired(answer, sweep.answer(edits[0], measure.name))
            if joined and weights is not None and answer.units:
                drawn = _resampled(np.array(answer.units), ids, weights, answer.estimate.value)
            elif joined and answer.resamples:
                drawn = np.array(answer.resamples)[picks % len(answer.resamples)]
            else:
                drawn = answer.estimate.drawn(draws, alone)
            out[place, number] = _as_loss(drawn, measure)
    return out


def _clusters(clusters: tuple[str, ...], sweep: Sweep, edit: str, measure: Measure) -> tuple[str, ...]:
    return clusters or tuple(f"unit {number}" for number in range(len(sweep.answer(edit, measure.name).units)))


def _resampled(units: np.ndarray, ids: np.ndarray, weights: np.ndarray, value: float) -> np.ndarray:
    """Return the mean of units under weights of clusters, [draw]; a draw without any unit keeps the estimate."""
    seen = np.isfinite(units)
    size = weights.shape[1]
    sums = np.bincount(ids[seen], weights=units[seen], minlength=size)
    counts = np.bincount(ids[seen], minlength=size)
    total = weights @ counts
    return np.where(total > 0, weights @ sums / np.maximum(total, 1), value)


def _as_loss(values: np.ndarray, measure: Measure) -> np.ndarray:
    return {"low": values, "high": -values, "zero": np.abs(values)}[measure.better]


def _figure(frame: pd.DataFrame, measures: tuple[Measure, ...]) -> Points:
    points = tuple(
        Point(
            str(row["edit"]), row["x"], row["y"], row["x_low"], row["x_high"], row["y_low"], row["y_high"],
            "control" if row["control"] else "front" if row["front"] else "dominated",
        )
        for _, row in frame.sort_values("x", kind="stable").iterrows()
    )  # fmt: skip
    x_label, y_label = (
        f"{measure.name}: {measure.word} ({measure.scale}; {_WAYS[measure.better]})" for measure in measures
    )
    return Points(
        points, f"{measures[0].word} against {measures[1].word}", x_label, y_label, joined="front", named=True
    )


_WAYS = {"low": "lower is better", "high": "higher is better", "zero": "nearer to zero is better"}
