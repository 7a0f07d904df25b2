"""The rows of a plan as they are run: pairs that differ in length apart, and answers of several tokens written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mechcausal.data.forced import Forced, forced
from mechcausal.data.prompts import PromptSet
from mechcausal.data.spans import matches_token_by_token
from mechcausal.errors import DataError
from mechcausal.metrics import Metric
from mechcausal.metrics.answers import combined
from mechcausal.models.plan import Plan
from mechcausal.models.sources import SourceRun

MATCHED = "pairs of different length"  # under this name is told which pairs are left to the loop


def uneven(base: PromptSet, source: PromptSet | None) -> np.ndarray:
    """Say in which rows token i of a prompt does not stand against token i of its source, [row]."""
    if source is None or not base.aligned or not source.aligned:
        return np.zeros(len(base), dtype=bool)
    return np.array([not matches_token_by_token(*pair) for pair in zip(base.aligned, source.aligned, strict=True)])


def why_matched(count: int, total: int) -> dict[str, str]:
    """Return what provenance says of pairs that are left to the loop."""
    return {MATCHED: f"{count} of {total} pairs are matched span by span, which the loop does"}


def taken(plan: Plan, rows: np.ndarray) -> Plan:
    """Return the plan for some of its rows."""
    sides = {"base": plan.base, "rows": plan.rows, "reference": plan.reference}
    return replace(plan, **{name: None if side is None else side.take(rows.tolist()) for name, side in sides.items()})


def matched(plan: Plan) -> Plan:
    """Return the plan with source activations matched by the positions that pairs share, padded to end in one column."""
    source = replace(plan.source or SourceRun(), by_number=True)
    sides = side_by_side(plan.base, plan.rows, plan.reference)
    return replace(plan, base=sides[0], rows=sides[1], reference=sides[2], source=source)


def side_by_side(*sides: PromptSet | None) -> list[Any]:
    """Return prompts of different lengths padded on the left to one width, so that all are read in the last column."""
    width = max(side.tokens.shape[1] for side in sides if side is not None)
    return [None if side is None else side.padded(width, "left") for side in sides]


def align(base: PromptSet, *others: PromptSet | None) -> tuple[Any, ...]:
    """Pad all sets to one width on the base's side, after checking that they stand row against row."""
    width = base.tokens.shape[1]
    for other in others:
        if other is None:
            continue
        if len(other) != len(base):
            raise DataError(
                "the source prompts must match the base prompts one to one", got=len(other), expected=len(base)
            )
        unequal = (other.lengths != base.lengths).nonzero().flatten()
        if len(unequal):
            row = int(unequal[0])
            raise DataError(
                f"source and base prompt {row} differ in length, so positions cannot be matched",
                got=f"{int(other.lengths[row])} and {int(base.lengths[row])} tokens",
                fix="use pairs of equal length (mc.contrast(..., lengths='equal')), or patch, ablate, attribute, path_patch or "
                "link, which match the positions that both prompts have",
            )
        width = max(width, other.tokens.shape[1])
    return tuple(None if item is None else item.padded(width, base.side) for item in (base, *others))


def in_columns(plan: Plan) -> tuple[Any, ...]:
    """Return the sides of a plan in the same columns; a reference is only needed by a metric that compares."""
    reference = plan.reference if plan.metric.compares else None
    if reference is None or torch.equal(reference.lengths, plan.base.lengths):
        return align(plan.base, plan.rows, reference)
    if not plan.base.aligned or not reference.aligned:
        align(plan.base, reference)  # which says what does not fit
    base, rows, reference = side_by_side(plan.base, plan.rows, reference)
    return (*align(base, rows), reference)


def without_padding(plan: Plan) -> Plan:
    """Return the plan without the columns that are padding on all sides."""
    sides = [side for side in (plan.base, plan.rows, plan.reference) if side is not None]
    width = max(int(side.lengths.max()) for side in sides)
    cut = [None if side is None else side.padded(width) for side in (plan.base, plan.rows, plan.reference)]
    return replace(plan, base=cut[0], rows=cut[1], reference=cut[2])


def written_out(plan: Plan) -> tuple[Plan, Forced | None]:
    """Return the plan with a row for each answer, and whose they are; as it is where answers are single tokens."""
    if not plan.metric.forces(plan.base):
        return plan, None
    made = forced(plan.base)
    rows = None if plan.rows is None else forced(plan.rows, plan.base).prompts
    return replace(plan, base=made.prompts, rows=rows, reference=None, metric=plan.metric.piece, memory=None), made


def of_prompts(metric: Metric, values: np.ndarray, made: Forced | None) -> np.ndarray:
    """Return a metric of prompts from the numbers of their rows, [... prompt]."""
    if made is None:
        return values
    assert metric.answers is not None  # else there would be one row for each prompt
    return combined(metric.answers, torch.as_tensor(values, device=made.owner.device), made).cpu().numpy()


def in_two(
    apart: np.ndarray, evaluate: Callable[[np.ndarray, bool], tuple[np.ndarray, Any]]
) -> tuple[np.ndarray, list[Any]]:
    """Evaluate rows that stand token against token, then the others, and put the columns in order again.

    Args:
        apart: Which rows are the others, [row].
        evaluate: From rows and whether they are the others to numbers, [cell row], and what else came out.
    """
    parts, order, more = [], [], []
    for other in (False, True):
        rows = np.flatnonzero(apart == other)
        if len(rows):
            values, rest = evaluate(rows, other)
            parts.append(values)
            order.append(rows)
            more.append(rest)
    return np.concatenate(parts, axis=1)[:, np.argsort(np.concatenate(order))], more


def together(parts: Sequence[Mapping[str, Any]], reason: Mapping[str, str]) -> dict[str, Any]:
    """Return what provenance says of the engine, from what it says of both kinds of rows."""
    compute = dict(parts[0])
    if len(parts) > 1 and compute["engine"] != "naive":
        compute["engine"] = "replay and naive"
        if "cells_and_examples" in compute:
            compute["cells_and_examples"] += parts[1]["cells"] * parts[1]["examples"]
    compute["naive_because"] = {**compute.get("naive_because", {}), **reason}
    compute.pop("examples", None)
    return compute
