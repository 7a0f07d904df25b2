"""Methods that give a number for each cell and each prompt: their cells, a part of them at a time, and their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import metric as metric_of
from mechcausal.patching.sweep import Recorder
from mechcausal.results.result import Result
from mechcausal.runs.numbers import SIDES

# Which fields say where the cells of a method are: sites, positions.
_WHERE = {
    "patch": ("sites", "at"),
    "ablate": ("sites", "at"),
    "attribute": ("sites", "at"),
    "path_patch": ("senders", "at"),
}
_AT_ONCE = ("attribute", "direct_logit_attribution")  # one pass gives all cells
_ROWS = ("site", "component", "layer", "head", "neuron", "at", "position", "label", "dictionary", "feature")
SWEEPS = (*_WHERE, "direct_logit_attribution")


@dataclass(frozen=True)
class Cells:
    """The cells of a sweep.

    Attributes:
        rows: For each cell the columns that say where it is.
        joint: For each its sites.
        at_once: Whether all are computed in one go.
        alone: Whether the number of a prompt does not depend on the others.
        fields: The fields of the specification that say where cells are, which are no part of the key of a group.
    """

    rows: tuple[dict[str, Any], ...]
    joint: tuple[tuple[str, ...], ...]
    at_once: bool
    alone: bool
    fields: tuple[str, ...]


def cells_of(spec: Any, model: Any, data: Contrast | PromptSet) -> Cells:  # noqa: ANN401 - a specification, a model
    """Return the cells of a sweep, or raise for what the model or the data cannot give; nothing is run but one prompt."""
    word = spec.word
    if word not in _WHERE:
        frame = spec.run(model, data.take([0])).frame
        rows = [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False)]
        where = tuple(
            {name: _plain(row.get(name)) for name in _ROWS if name in row} | {"number": n} for n, row in enumerate(rows)
        )
        return Cells(where, tuple((str(row["site"]),) for row in where), at_once=True, alone=True, fields=())
    Recorder(model, data, metric_of(spec.metric), word, {})  # which checks the metric and the prompts
    cells = spec.cells(model, data)
    return Cells(
        tuple({name: _plain(value) for name, value in cell.row().items()} for cell in cells),
        tuple(tuple(map(str, cell.sites)) for cell in cells),
        at_once=word in _AT_ONCE,
        alone=not getattr(spec, "needs_others", False),
        fields=_WHERE[word],
    )


def narrowed(
    spec: Any,  # noqa: ANN401 - a specification
    joint: Sequence[Sequence[str]],
    rows: Sequence[dict[str, Any]],
) -> Iterator[tuple[Any, list[int]]]:
    """Yield specifications that have some cells of a sweep, each with the numbers of its cells in the order of its table.

    Args:
        spec: The specification.
        joint: The sites of each cell that is wanted.
        rows: Where each of them is.
    """
    if spec.word not in _WHERE:
        yield spec, list(range(len(rows)))
        return
    by_sites: dict[tuple[str, ...], dict[str, int]] = {}
    for number, (sites, row) in enumerate(zip(joint, rows, strict=True)):
        by_sites.setdefault(tuple(sites), {})[str(row["at"])] = number
    together: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for sites, at in by_sites.items():
        together.setdefault(tuple(at), []).append(sites)
    where, when = _WHERE[spec.word]
    for at, cells in together.items():
        sites = [cell[0] if len(cell) == 1 else cell for cell in cells]
        yield replace(spec, **{where: sites, when: list(at)}), [by_sites[cell][each] for cell in cells for each in at]


def numbers_of(result: Result) -> dict[str, np.ndarray]:
    """Return the numbers of a result as matrices [cell example]: its values, the unedited runs, and influence where it has one."""
    shape = result.examples.shape
    numbers = {"value": result.examples}
    numbers |= {side: np.broadcast_to(values, shape) for side, values in result.baselines.items() if side in SIDES}
    return numbers if result.influence is None else numbers | {"influence": result.influence}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if value is None or (isinstance(value, float) and np.isnan(value)) or str(value) == "<NA>":
        return None
    return value.item() if hasattr(value, "item") else value
