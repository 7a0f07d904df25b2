"""The engine under every method: many cells of edits, one base run each, one number per cell and example.

What can be computed without running a cell from the start goes to `replay`; the rest, and everything on request, to the
loop, which is the reference: one full forward per cell and batch through plain hooks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import ALL, Site
from mechcausal.data.batching import by_length, parts
from mechcausal.data.prompts import PromptSet
from mechcausal.data.selected import Selected
from mechcausal.errors import DataError, MechcausalError
from mechcausal.metrics import Metric
from mechcausal.metrics.answers import longest_answer
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.finite import refuse_nan
from mechcausal.models.hooked import Run, forward, readings
from mechcausal.models.plan import Cell, Economy, Found, Plan
from mechcausal.models.replay.evaluate import BUDGET, replay
from mechcausal.models.replay.verify import SEVERAL, Replayer, replayer
from mechcausal.models.rows import align as align
from mechcausal.models.rows import (
    in_columns,
    in_two,
    matched,
    of_prompts,
    taken,
    together,
    uneven,
    why_matched,
    without_padding,
    written_out,
)
from mechcausal.models.sources import SourceRun, check_source, from_elsewhere, source_of

logger = logging.getLogger("mechcausal")

Exact = Literal["replay", "naive"]


@dataclass(frozen=True)
class Values:
    """What came out.

    Attributes:
        values: [cell example]; NaN where a prompt has no position that the cell selects.
        forwards: How many forwards were run.
        batch_size: The batch size at the end (it is halved when memory runs out).
        compute: What provenance says of the engine: which way ran and why, and what it saved.
        unedited: The metric of the unedited base run, and of the source run, if they were asked for.
    """

    values: np.ndarray
    forwards: int
    batch_size: int
    compute: dict[str, Any] = field(default_factory=dict)
    unedited: dict[str, np.ndarray] = field(default_factory=dict)


def evaluate(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    plan: Plan,
    *,
    batch_size: int,
    progress: str = "patching",
    exact: Exact = "replay",
    budget: int = BUDGET,
    unedited: bool = False,
) -> Values:
    """Run every cell of the plan on every example.

    Args:
        model: The bridge.
        plan: What is to be computed.
        batch_size: How many examples at a time.
        progress: The label of the progress bar.
        exact: `"replay"` computes only what can have changed, where that was found to agree with the loop;
            `"naive"` is the loop, one forward for each cell.
        budget: How many bytes one stack of replayed examples may take.
        unedited: Measure the unedited base and source runs too, which are run anyway.
    """
    check_exact(exact)
    able = abilities(model)
    able.require([edit.site for cell in plan.cells for edit in cell])
    able.require(from_elsewhere(plan.cells), writes=False)
    if plan.source is not None and plan.source.model is not None:
        check_source(model, plan.source.model, from_elsewhere(plan.cells))
    check_prompts(model, plan.base)
    by_number = plan.source is not None and plan.source.by_number
    if not by_number and (apart := uneven(plan.base, plan.rows)).any():
        options = {"batch_size": batch_size, "progress": progress, "budget": budget, "unedited": unedited}
        return _in_two(model, plan, apart, exact, options)
    if by_number:
        aligned = plan
    elif plan.source is None or plan.source.at is None:
        base, rows, reference = in_columns(plan)
        aligned = replace(plan, base=base, rows=rows, reference=reference)
    else:  # the source prompts keep their own lengths
        base, reference = align(plan.base, plan.reference)
        aligned = replace(plan, base=base, reference=reference)
    base = aligned.base
    engine, fast, reasons = _replayed(model, plan.cells) if exact == "replay" else (None, [], {"all": "asked for"})
    slow = sorted(set(range(len(plan.cells))) - set(fast))
    economy = Economy()
    forwards = 0
    bar = tqdm(total=len(plan.cells) * len(base), desc=progress, unit="cell", disable=None, leave=False)

    def one_batch(index: Tensor) -> np.ndarray:
        nonlocal forwards, economy
        part = aligned.batch(index, bridge.device_of(model))
        part, answers = written_out(part if any(plan.cells) else without_padding(part))
        compared, selected = None, Selected(part.base)
        if plan.metric.compares:
            compared = forward(model, part.reference or part.base).logits
            forwards += 1
        out = np.full((len(plan.cells) + 2, len(part.base)), np.nan)
        if fast:
            assert engine is not None  # there are cells that it can do
            assert engine.twin is not None
            carried = [kind for kind in _kinds(plan.cells) if engine.carries(kind)]
            options = {"budget": budget, "tick": bar.update, "unedited": unedited, "selected": selected}
            run = replay(engine.twin, part.only(fast), carried, compared, **options)
            out[[*fast, -2, -1]] = [*run.values, run.base, run.source]
            forwards, economy = forwards + run.forwards, economy + run.economy
        if slow or (unedited and not fast):
            run = _looped(model, part.only(slow), compared, bar.update, unedited=unedited and not fast)
            out[slow] = run.values
            if not fast:
                out[-2:] = run.base, run.source
            forwards += run.forwards
        reached = _reached(part, selected)
        sides = out[-2 : None if plan.rows is not None else -1] if unedited else out[:0]
        if not plan.dry and not (np.isfinite(out[:-2][reached]).all() and np.isfinite(sides).all()):
            refuse_nan(model, part.base, able.components)
        out[:-2][~reached] = np.nan
        return of_prompts(plan.metric, out, answers)

    values, used = in_batches(len(base), batch_size, one_batch)
    bar.close()
    compute = _compute_of(fast, slow, reasons, economy, plan, len(base))
    sides = {"base": values[-2], "source": values[-1]} if unedited else {}
    return Values(values[:-2], forwards, used, compute, sides)


def _in_two(model: Any, plan: Plan, apart: np.ndarray, exact: Exact, options: dict[str, Any]) -> Values:  # noqa: ANN401
    """Evaluate pairs of equal length as they are, and match the others by the positions that both prompts share."""

    def one(rows: np.ndarray, other: bool) -> tuple[np.ndarray, Values]:
        part = taken(plan, rows)
        evaluated = evaluate(model, matched(part) if other else part, exact="naive" if other else exact, **options)
        evaluated.compute["examples"] = len(rows)
        return np.concatenate([evaluated.values, *(side[None] for side in evaluated.unedited.values())]), evaluated

    values, parts = in_two(apart, one)
    compute = together([part.compute for part in parts], why_matched(int(apart.sum()), len(apart)))
    cells = len(plan.cells)
    sides = dict(zip(("base", "source"), values[cells:], strict=True)) if options["unedited"] else {}
    forwards, size = sum(part.forwards for part in parts), min(part.batch_size for part in parts)
    return Values(values[:cells], forwards, size, compute, sides)


def _looped(
    model: Any,  # noqa: ANN401
    plan: Plan,
    compared: Tensor | None,
    tick: Callable[[int], object],
    *,
    unedited: bool,
) -> Found:
    """Evaluate a plan of one batch by the loop, one forward for each cell; with `unedited`, both sides unedited too."""
    values = np.full((len(plan.cells), len(plan.base)), np.nan)
    base, source = np.full((2, len(plan.base)), np.nan)
    taken: dict[Site, Tensor] = {}
    forwards = len(plan.cells)

    def measured(prompts: PromptSet, run: Run) -> np.ndarray:
        return run.score(plan.metric, prompts, compared).float().cpu().numpy()

    wholes = from_elsewhere(plan.cells)
    if plan.rows is not None and (wholes or unedited):
        taken, run = (plan.source or SourceRun()).recorded(model, plan.base, plan.rows, wholes)
        forwards += 1
        if unedited:
            source = measured(plan.rows, run)
    if unedited:
        base, forwards = measured(plan.base, forward(model, plan.base)), forwards + 1
    for number, cell in enumerate(() if plan.dry else plan.cells):
        sources = [source_of(edit, taken, plan.means, plan.base) for edit in cell]
        values[number] = measured(plan.base, forward(model, plan.base, cell, sources=sources))
        tick(len(plan.base))
    return Found(values, base, source, forwards)


def _kinds(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(edit.site.kind for cell in cells for edit in cell))


def _reached(plan: Plan, selected: Selected) -> np.ndarray:
    """Say which examples have a position that a cell selects, [cell example]; the unedited run has all it needs."""
    chosen = [tuple(dict.fromkeys(edit.at for edit in cell)) or (ALL,) for cell in plan.cells]
    numbers = [selected.number(*selections) for selections in chosen]
    return selected.masks.any(-1).cpu().numpy()[numbers] if numbers else np.ones((0, len(plan.base)), dtype=bool)


def _replayed(model: Any, cells: Sequence[Cell]) -> tuple[Replayer | None, list[int], dict[str, str]]:  # noqa: ANN401
    """Return which cells need not be run from the start, and why the others do."""
    if not any(cells):
        return None, [], {}
    if foreign := bridge.foreign(model):
        return None, [], {"all": foreign}
    engine = replayer(model)
    fast, reasons = [], {}
    for number, cell in enumerate(cells):
        kind = cell[0].site.kind if cell else ""
        if len(cell) > 1 and len({edit.site.whole for edit in cell}) > 1:
            left = sorted({edit.site.kind for edit in cell} - engine.together)
            if left:
                reasons[SEVERAL] = engine.reasons.get(SEVERAL, f"edits of {', '.join(left)} are left to the loop")
            else:
                fast.append(number)
        elif kind and (engine.carries(kind) or engine.makes(kind)):
            fast.append(number)
        elif cell:
            reasons[kind] = engine.reasons.get(kind, "its effect is not carried to the end of its layer")
    return engine, fast, reasons


def _compute_of(
    fast: Sequence[int], slow: Sequence[int], reasons: Mapping[str, str], economy: Economy, plan: Plan, n: int
) -> dict[str, Any]:
    """Return what provenance says of the engine."""
    engine = "naive" if not fast else "replay" if not slow else "replay and naive"
    compute: dict[str, Any] = {"engine": engine, "cells": len(plan.cells)}
    if reasons and any(plan.cells):
        compute["naive_because"] = dict(reasons)
    if fast:
        compute = economy.counts() | compute | {"cells_and_examples": len(plan.cells) * n}
    return compute


def check_exact(exact: str) -> None:
    """Refuse a way of being exact that there is not."""
    if exact not in ("replay", "naive"):
        raise DataError("the engine is exact in two ways", got=repr(exact), expected="'replay' or 'naive'")


def check_prompts(model: Any, prompts: PromptSet) -> None:  # noqa: ANN401
    """Refuse prompts that this model cannot read, before any compute."""
    cfg = model.cfg
    longest = int(prompts.lengths.max()) + longest_answer(prompts) - 1
    if longest > cfg.n_ctx:
        raise DataError(
            f"prompt {int(prompts.lengths.argmax())} is longer than the model's context",
            got=f"{longest} tokens",
            expected=f"at most {cfg.n_ctx}",
        )
    outputs = getattr(cfg, "d_vocab_out", None)
    sizes = {
        "tokens": cfg.d_vocab,
        **dict.fromkeys(("answer", "foil", "answers", "foils"), cfg.d_vocab if outputs in (None, -1) else outputs),
    }
    for name, size in sizes.items():
        ids = getattr(prompts, name)
        ids = ids[ids != -1] if name in ("answers", "foils") and ids is not None else ids  # which stands for no token
        if ids is not None and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            raise DataError(
                f"the {name} of these prompts are not in the model's vocabulary",
                got=f"ids {int(ids.min())} to {int(ids.max())}",
                expected=f"0 to {size - 1}",
                fix="build the prompts with this model's tokenizer",
            )


def measure(
    model: Any,  # noqa: ANN401
    prompts: PromptSet,
    metric: Metric,
    *,
    batch_size: int,
    reference: PromptSet | None = None,
) -> Values:
    """Return the metric of the unedited run, as one cell."""
    order = by_length(prompts)  # so that a batch has little padding
    compared = None if reference is None else reference.take(order)
    values = evaluate(model, Plan(prompts.take(order), [()], metric, reference=compared), batch_size=batch_size)
    return replace(values, values=values.values[:, order.argsort().numpy()])


def mean_activations(
    model: Any,  # noqa: ANN401
    prompts: PromptSet,
    sites: Sequence[Site],
    *,
    batch_size: int,
    per_position: bool,
) -> dict[Site, Tensor]:
    """Return the mean of each whole site over the prompts, and over positions unless `per_position`."""
    sums: dict[Site, Tensor] = {}
    counts: dict[Site, Tensor] = {}
    # Without padding there is nothing to gain; a mean over positions does not depend on where the padding was.
    sorts = not per_position and not any(site.component == "pattern" for site in sites)
    order = by_length(prompts)

    def one_batch(index: Tensor) -> np.ndarray:
        added: list[tuple[Site, Tensor, Tensor]] = []
        all_at_once = [(index, prompts.take(index), 0)]
        for _, part, _ in parts(prompts, order[index]) if sorts else all_at_once:
            batch = part.to(bridge.device_of(model))
            for site, value in readings(model, batch, sites).items():
                value = value.double()
                axis = 2 if site.component == "pattern" else 1
                ones = [1] * (value.ndim - axis - 1)
                keep = batch.mask.double().reshape(len(batch), *([1] * (axis - 1)), -1, *ones)
                over = (0,) if per_position else (0, axis)
                added.append((site, (value * keep).sum(dim=over), keep.sum(dim=over)))
        for site, total, count in added:  # only now: a batch that ran out of memory is tried again
            sums[site] = sums.get(site, 0) + total
            counts[site] = counts.get(site, 0) + count
        return np.zeros((0, len(index)))

    in_batches(len(prompts), batch_size, one_batch, progress="means")
    return {site: sums[site] / counts[site].clamp(min=1) for site in sums}


def in_batches(
    n: int, batch_size: int, one_batch: Callable[[Tensor], np.ndarray], *, progress: str = ""
) -> tuple[np.ndarray, int]:
    """Call `one_batch` on consecutive rows and join the columns; go on with half the batch when memory runs out.

    Args:
        n: How many rows.
        batch_size: How many at a time, at most.
        one_batch: From row numbers to an array [cell row]; it leaves nothing behind when it fails.
        progress: The label of a progress bar over the rows; none without it.

    Returns:
        The joined array and the batch size that fitted.
    """
    if batch_size < 1:
        raise DataError("the batch size must be at least 1", got=batch_size)
    size = first = min(batch_size, n)
    parts, done = [], 0
    bar = tqdm(total=n, desc=progress, unit="prompt", disable=None if progress else True, leave=False)
    while done < n:
        rows = torch.arange(done, min(done + size, n))
        try:
            parts.append(one_batch(rows))
            done += len(rows)
            bar.update(len(rows))
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if size == 1:
                raise MechcausalError(
                    "a single prompt does not fit into memory", fix="use shorter prompts or fewer cells"
                ) from error
            size //= 2
    bar.close()
    if size < first:
        logger.warning("out of memory with batches of %d: went on with batches of %d", first, size)
    return np.concatenate(parts, axis=1), batch_size if size == first else size


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
