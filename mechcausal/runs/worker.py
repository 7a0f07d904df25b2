"""What computes: it loads models and data, says what a step comes to, and turns units into shards of rows.

A worker knows the folder of the run and nothing of who else works on it. The local engine has one in its own process, Ray
has one in each actor; both are the same code.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mechcausal.errors import MechcausalError, ResultError, shortened
from mechcausal.runs.bench import Bench
from mechcausal.runs.computing import computed
from mechcausal.runs.config import Config
from mechcausal.runs.plan import Group, Plan, Unit
from mechcausal.runs.planning import planned
from mechcausal.runs.store import ROW, Store

LOG = "units.jsonl"


@dataclass(frozen=True)
class Done:
    """What became of some units.

    Attributes:
        rows: How many of their rows are there now, whoever computed them.
        failed: How many could not be computed.
        seconds: How long they took.
        errors: What went wrong, once each.
        of: The model and the step.
    """

    rows: int
    failed: int
    seconds: float
    errors: tuple[str, ...] = ()
    of: tuple[str, str] = ("", "")


class Worker:
    """Compute units of a run.

    Args:
        folder: The folder of the run.
        config: The experiment.
        base: The folder that files of the experiment are named from.
        device: Where models are put that say nothing of it, such as `cuda`.
    """

    def __init__(self, folder: str | Path, config: Config, base: str | Path, device: str | None = None) -> None:
        import torch

        torch.set_num_threads(config.threads)
        self.folder, self.config = Path(folder), config
        self.bench = Bench(self.folder, config, Path(base), device)

    @property
    def store(self) -> Store:
        """The rows of the run."""
        return self.bench.store

    def plan(self, step: str) -> tuple[list[Group], list[str]]:
        """Return the groups of a step, and what is wrong with it; nothing of it is run."""
        return planned(self.bench, self.config.step(step))

    def problems(self, step: str) -> list[str]:
        """Return what is wrong with the models and data of a step that waits for others."""
        problems = []
        for name in self.config.step(step).models or self.config.models:
            try:
                self.bench.model(name)
                for data in self.config.step(step).data:
                    self.bench.data(name, data, self.config.seeds[0])
            except MechcausalError as error:
                problems.append(f"step {step}: {error}")
        return problems

    def do(self, units: Sequence[Unit]) -> Done:
        """Compute units and commit their rows as one shard; what a unit cannot compute becomes rows that say why.

        Units whose rows are there are not computed again: a worker that died after it had committed them, or another driver,
        was before us.

        Args:
            units: Units of one model and one step.
        """
        first = self.bench.group(units[0].group)
        self.bench.model(first.model)  # a model that cannot be loaded here is not the fault of its rows
        tables: list[pa.Table] = []
        started = time.perf_counter()
        self.store.refresh()
        try:
            for unit in units:
                if not self._there(unit).all():
                    tables += list(self._computed(unit))
        finally:  # what was computed is kept, whatever stops this process in a way that can be noticed
            if tables:
                self.store.commit(pa.concat_tables(tables))
        seconds = time.perf_counter() - started
        errors = [str(error) for table in tables for error in table["error"].to_pylist() if error is not None]
        rows = sum(int(self._there(unit).sum()) for unit in units)
        return Done(rows, len(errors), seconds, tuple(dict.fromkeys(errors)), (first.model, first.step))

    def _there(self, unit: Unit) -> np.ndarray:
        """Say which rows of a unit are in the store."""
        group = self.bench.group(unit.group)
        return self.store.done(
            group.key, group.cell_digests[list(unit.cells)], group.prompt_digests[list(unit.prompts)]
        )

    def _computed(self, unit: Unit) -> Iterator[pa.Table]:
        """Yield the rows of a unit; one that fails is taken apart, so that a prompt does not take its neighbors with it."""
        group = self.bench.group(unit.group)
        wall, processor = time.perf_counter(), time.process_time()
        try:
            rows = computed(self.bench, group, unit)
        except Exception as error:
            if len(unit.prompts) > 1 and not group.about.get("needs_others") and group.kind in ("sweep", "texts"):
                middle = len(unit.prompts) // 2
                yield from self._computed(unit.only(unit.prompts[:middle]))
                yield from self._computed(unit.only(unit.prompts[middle:]))
                return
            yield failed(group, unit, error)
            return
        self.bench.log(unit, group, time.perf_counter() - wall, time.process_time() - processor)
        yield rows


def failed(group: Group, unit: Unit, error: Exception) -> pa.Table:
    """Return the rows of a unit that could not be computed."""
    said = f"{type(error).__name__}: {shortened(' '.join(str(error).split()), 400)}"
    cells, prompts = group.cell_digests[list(unit.cells)], group.prompt_digests[list(unit.prompts)]
    columns: dict[str, Any] = {name: [None] * unit.rows for name in ROW.names}
    columns |= {"group": [group.key] * unit.rows, "error": [said] * unit.rows}
    columns |= {"cell": cells.repeat(len(prompts)), "prompt": list(prompts) * len(cells)}
    return pa.table(columns, schema=ROW)


def plan_of(folder: Path) -> Plan | None:
    """Return the plan of a run, if there is one already."""
    with suppress(ResultError):
        return Plan.load(folder)
    return None
