"""From a unit to its rows: the method is run on a part of the data, at a part of its cells."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mechcausal.errors import DataError, ResultError
from mechcausal.runs.bench import Bench
from mechcausal.runs.config import is_reference
from mechcausal.runs.fields import chooses
from mechcausal.runs.numbers import SIDES, more_of
from mechcausal.runs.packing import packed
from mechcausal.runs.plan import Group, Unit
from mechcausal.runs.planning import data_digest, specified
from mechcausal.runs.store import ROW
from mechcausal.runs.sweeps import narrowed, numbers_of


def computed(bench: Bench, group: Group, unit: Unit) -> pa.Table:
    """Compute the rows of a unit."""
    if group.kind == "audit":
        return _table(group, unit, blob=packed(_audited(bench, group)))
    data = bench.data(group.model, group.data, group.seed)
    now = (data_digest(data),) if group.kind == "whole" else bench.digests(group.model, group.data, group.seed)
    if now != group.prompts:
        raise DataError(f"the data {group.data!r} have changed since the run was planned", fix="start the run again")
    spec, model = _specification(bench, group), bench.model(group.model)
    if group.kind == "sweep":
        return _swept(group, unit, spec, model, data)
    if group.kind == "texts":
        return _written(group, unit, spec.run(model, data.take(list(unit.batch))))
    return _table(group, unit, blob=_whole(spec, model, data))


def _specification(bench: Bench, group: Group) -> Any:  # noqa: ANN401 - a Method
    """Return the specification of a group; one that holds no object is made once."""
    step = bench.config.step(group.step)
    if group.id in bench.specs and not step.dictionaries:
        bench.detached(group.model, {})
        return bench.specs[group.id]
    asked = specified(bench, step, group.model, group.seed, group.each, group.values)
    if asked is None:
        raise ResultError(f"what step {group.step!r} takes of an earlier step is gone", fix="start the run again")
    if all(chooses(value) for value in group.values.values() if is_reference(value)):
        bench.specs[group.id] = asked.spec
    return asked.spec


def _swept(group: Group, unit: Unit, spec: Any, model: Any, data: Any) -> pa.Table:  # noqa: ANN401
    """Return a row for each cell and prompt."""
    every = bool(group.about.get("needs_others"))
    block = data if every else data.take(list(unit.batch))
    columns = list(unit.prompts) if every else unit.columns
    rows = [group.cells[number] for number in unit.cells]
    joint = [group.joint[number] for number in unit.cells]
    gathered: dict[str, np.ndarray] = {}
    for part, numbers in narrowed(spec, joint, rows):
        result = part.run(model, block)
        places = list(zip(result.frame["site"], result.frame["at"], strict=True))
        if "number" in rows[0]:  # all cells are computed in one go, some of them are wanted
            chosen = [int(row["number"]) for row in rows]
        else:
            assert places == [(rows[number]["site"], rows[number]["at"]) for number in numbers], "cells moved"
            chosen = list(range(len(places)))
        for name, values in numbers_of(result).items():
            matrix = gathered.setdefault(name, np.full((len(rows), len(columns)), np.nan))
            matrix[numbers] = values[chosen][:, columns]
    flat = {name: values.reshape(-1) for name, values in gathered.items()}
    influence = flat.pop("influence", None)
    more = None if influence is None else [more_of(float(value)) for value in influence]
    return _table(group, unit, flat, more=more)


def _written(group: Group, unit: Unit, result: Any) -> pa.Table:  # noqa: ANN401 - a Generated
    """Return a row for each text."""
    frame = result.frame.drop(columns="prompt").iloc[unit.columns]
    records = json.loads(frame.to_json(orient="records"))
    chances = [[None if np.isnan(value) else value for value in row] for row in result.examples[unit.columns].tolist()]
    more = [
        json.dumps({"row": row, "logprobs": chance}, ensure_ascii=False)
        for row, chance in zip(records, chances, strict=True)
    ]
    return _table(group, unit, {"value": frame["logprob"].to_numpy(dtype=float)}, more=more)


def _whole(spec: Any, model: Any, data: Any) -> bytes:  # noqa: ANN401
    """Run a method whole and return its result as bytes; of a dictionary its folder."""
    if spec.word != "train_dictionary":
        return packed(spec.run(model, data))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "dictionary"
        replace(spec, out=out).run(model, data)
        return packed(out)


def _audited(bench: Bench, group: Group) -> Any:  # noqa: ANN401 - a Report
    """Run an audit; its own journal resumes it at the row where it was cut off."""
    from mechcausal.audits.reading import read

    plan = read(bench.base / str(group.values["plan"]))
    folder = bench.folder / "audits" / group.key
    return plan.run(bench.model(group.model), folder, only=group.values.get("only", ()), quiet=True)


def _table(
    group: Group,
    unit: Unit,
    numbers: Mapping[str, np.ndarray] | None = None,
    *,
    blob: bytes | None = None,
    more: Sequence[str | None] | None = None,
) -> pa.Table:
    """Return rows for each cell and prompt of a unit, cell by cell."""
    cells, prompts = group.cell_digests[list(unit.cells)], group.prompt_digests[list(unit.prompts)]
    count = unit.rows
    columns: dict[str, Any] = {name: pa.nulls(count, ROW.field(name).type) for name in ROW.names}
    columns |= {
        "group": [group.key] * count,
        "cell": cells.repeat(len(prompts)),
        "prompt": np.tile(prompts, len(cells)),
    }
    columns |= {name: values for name, values in (numbers or {}).items() if name in ("value", *SIDES)}
    if more is not None:
        columns["more"] = list(more)
    if blob is not None:
        columns["blob"] = [blob] * count
    return pa.table(columns, schema=ROW)
