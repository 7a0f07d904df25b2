"""The driver of a run: plan what can be planned, hand out what is missing, and again, until no step is waiting."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from mechcausal.errors import MechcausalError, ResultError
from mechcausal.results.storage import replacing, require_room
from mechcausal.runs.config import Config, ExperimentError
from mechcausal.runs.engines import Engine
from mechcausal.runs.engines import engine as engine_of
from mechcausal.runs.listing import note
from mechcausal.runs.plan import FILE, Group, Plan, Unit
from mechcausal.runs.run import Run
from mechcausal.runs.store import Store
from mechcausal.runs.tracking import Tracker
from mechcausal.runs.worker import Done

if TYPE_CHECKING:
    from mechcausal.runs.experiment import Experiment

LOG, DRIVER, EXPERIMENT = "run.log", "driver.json", "experiment.toml"
_SHARD_SECONDS = 3.0  # what is lost with the machine, unless a single unit takes longer
_SHARD_UNITS = 64


class Stopped(MechcausalError):
    """A run that was stopped by its user; what was computed is kept."""


@dataclass
class Tally:
    """What this driver has done so far.

    Attributes:
        planned: How many rows there are to be.
        done: How many are there.
        failed: How many could not be computed.
        computed: How many this driver has had computed.
        rates: How many rows a second one worker computed last, by model and step.
    """

    planned: int = 0
    done: int = 0
    failed: int = 0
    computed: int = 0
    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @property
    def pace(self) -> float:
        """Rows a second."""
        return self.computed / max(1e-9, time.perf_counter() - self.started)

    def add(self, done: Done) -> None:
        """Count what became of a shard."""
        self.done += done.rows
        self.failed += done.failed
        self.computed += done.rows
        self.rates[done.of] = (done.rows + done.failed) / max(1e-9, done.seconds)


def drive(
    experiment: Experiment,
    out: Path,
    engine: str,
    options: Mapping[str, Any],
    *,
    track: Any = None,  # noqa: ANN401
    quiet: bool = False,
) -> Run:
    """Run an experiment into a folder; see `Experiment.run`."""
    config = experiment.config
    require_room(out, folder=True)
    _require_same(out, config)
    store = Store(out, writing=True)
    note(out)
    _write(out / EXPERIMENT, config.to_toml())
    log = _Log(out / LOG)
    log.say(f"begin: {config.name}, engine {engine}, process {os.getpid()} on {platform.node()}")
    for name, why in store.damaged:
        log.say(f"put aside: {name}: {why}")
    steps = {step.id: step.run for step in config.steps}
    plan = Plan(config.name, config.question, steps, waiting=tuple(steps), folder=str(experiment.folder))
    tracker = Tracker(track, config)
    try:
        with _stopping(out, log):
            workers = engine_of(engine, out, config, experiment.folder, **options)
            try:
                _run(plan, config, out, store, workers, log, tracker, quiet)
            finally:
                workers.stop()
    finally:
        tracker.finish()
        with suppress(OSError):
            (out / DRIVER).unlink(missing_ok=True)
    run = Run(out)
    failed = sum(part.failed for part in run.status())
    log.say(f"end: {sum(part.done for part in run.status())} rows" + (f", {failed} failed" if failed else ""))
    return run


def _run(
    plan: Plan, config: Config, out: Path, store: Store, workers: Engine, log: _Log, tracker: Tracker, quiet: bool
) -> None:
    """Plan and compute, until no step is left that could be."""
    tally, tried = Tally(), set[str]()
    first = True
    bar = tqdm(total=0, desc=config.name, unit="row", disable=True if quiet else None, leave=False, smoothing=0.1)
    try:
        while True:
            plan = _planned(plan, config, out, store, workers, first=first)
            first = False
            plan.save(out)
            workers.know(plan)
            missing = [group for group in plan.distinct if not _done(store, group).all()]
            tally.planned = plan.rows
            tally.done = plan.rows - sum(int((~_done(store, group)).sum()) for group in missing)
            bar.total, bar.n = tally.planned, tally.done
            bar.refresh()
            log.say(
                f"planned: {tally.planned} rows, {tally.planned - tally.done} to do"
                + (f"; waiting: {', '.join(plan.waiting)}" if plan.waiting else "")
            )
            wanted = {group.id for group in missing} - tried  # what failed just now is tried again by the next run
            for done in workers.work(_queues(plan, store, tally, wanted, workers.workers)):
                tally.add(done)
                bar.update(tally.done - bar.n)
                for error in done.errors:
                    log.say(f"failed: {error}")
                _beat(out, tally)
                tracker.log(tally)
            tracker.log(tally, now=True)
            tried |= wanted
            store.refresh()
            if not any(_ready(plan, config, store, step) for step in plan.waiting):
                return
    finally:
        bar.close()


def _planned(plan: Plan, config: Config, out: Path, store: Store, workers: Engine, *, first: bool) -> Plan:
    """Return the plan with every step that waits for nothing; raise with everything that is wrong, before compute."""
    problems: list[str] = []
    for step in list(plan.waiting):
        if not _ready(plan, config, store, step):
            problems += workers.problems(step) if first else []
            continue
        if config.step(step).earlier:
            workers.know(plan)
        groups, wrong = workers.plan(step)
        problems += wrong
        plan = plan.with_groups(step, groups)
    if problems:
        raise ExperimentError(list(dict.fromkeys(problems)), config.name)
    return plan


def _ready(plan: Plan, config: Config, store: Store, step: str) -> bool:
    """Say whether all that a step takes of others is there."""
    needed = config.step(step).earlier
    return all(name not in plan.waiting and all(_done(store, g).all() for g in plan.of(name)) for name in needed)


def _done(store: Store, group: Any) -> Any:  # noqa: ANN401
    return store.done(group.key, group.cell_digests, group.prompt_digests[group.distinct])


def _queues(
    plan: Plan, store: Store, tally: Tally, wanted: set[str], workers: int
) -> dict[str, Iterator[Sequence[Unit]]]:
    """Return for each model the shards that are missing."""
    groups: dict[str, list[Group]] = {}
    for group in plan.distinct:
        if group.id in wanted:
            groups.setdefault(group.model, []).append(group)
    return {model: _shards(part, store, tally, workers) for model, part in groups.items()}


def _shards(groups: Sequence[Group], store: Store, tally: Tally, workers: int) -> Iterator[Sequence[Unit]]:
    """Yield what is missing of a model; what another driver did meanwhile is left out.

    A shard is as many units as make some seconds of work, and towards the end of a step fewer, so that several workers end at
    the same time. The first shards of a step are one unit each, which shows how long one takes.
    """
    for step in dict.fromkeys(group.step for group in groups):
        parts = [(group, _done(store, group)) for group in groups if group.step == step]
        left = sum(int((~done).sum()) for _, done in parts)
        units: list[Unit] = []
        for group, done in parts:
            for unit in group.units(done):
                cells, prompts = group.cell_digests[list(unit.cells)], group.prompt_digests[list(unit.prompts)]
                if store.done(group.key, cells, prompts).all():
                    tally.done, left = tally.done + unit.rows, left - unit.rows
                    continue
                alone = group.kind in ("whole", "audit")  # its row has a shard of its own, whoever writes it
                if alone and units:
                    yield units
                    left -= sum(each.rows for each in units)
                    units = []
                units.append(unit)
                rows = sum(each.rows for each in units)
                share = left / (2 * workers) if workers > 1 else left
                enough = min(tally.rates.get((group.model, step), 0.0) * _SHARD_SECONDS, share)
                if rows >= enough or len(units) >= _SHARD_UNITS or alone:
                    yield units
                    units, left = [], left - rows
                    store.refresh()
        if units:
            yield units


@contextmanager
def _stopping(out: Path, log: _Log) -> Generator[None]:
    """Turn Ctrl-C into a sentence that says how to go on, and write down whatever else ends the run."""
    try:
        yield
    except MechcausalError as error:
        log.say(f"stopped: {error}")
        raise
    except KeyboardInterrupt:
        log.say("stopped by its user")
        raise Stopped(
            f"stopped: what was computed is kept in {out}", fix="run the same again, which goes on from there"
        ) from None


def _require_same(out: Path, config: Config) -> None:
    """Refuse a folder that holds the run of another experiment."""
    if (out / FILE).is_file():
        try:
            name = Plan.load(out).name
        except ResultError:
            return  # it is damaged, and is written anew
        if name != config.name:
            raise ResultError(f"{out} holds the run of {name!r}, not of {config.name!r}", fix="choose another folder")


def _beat(out: Path, tally: Tally) -> None:
    """Write down how far this driver is, for `status`; nothing depends on it."""
    state = {
        "process": os.getpid(), "host": platform.node(), "planned": tally.planned, "done": tally.done,
        "failed": tally.failed, "rows_per_second": tally.pace,
    }  # fmt: skip
    with suppress(OSError, ResultError):  # a full disk, say: rows that cannot be written say so
        _write(out / DRIVER, json.dumps(state) + "\n")


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class _Log:
    """The log of a run: a line for whatever happens, for people."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def say(self, what: str) -> None:
        """Add a line."""
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {' '.join(what.split())}\n")
