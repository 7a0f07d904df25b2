"""The store of a run's rows: what it costs beside the computation, and how quickly a large run is opened again.

    python benchmarks/store.py [--quick] [--only WORDS] [--ray]

One JSON line for each case; exits 1 if a bar is missed.

`overhead`   a sweep of heads on 10,000 rows through `mc.patch`, and the same rows through the store as a run does it: opened,
             asked which rows are there, committed, a shard every three seconds of the sweep. `share` is the store's seconds
             over those of the sweep, in percent, of the processor; the two take turns. `waiting_ms` is what one commit
             waits for the disk beyond that, which depends on the disk (twice per shard it is asked to keep what it was
             given). `share_with_waiting` counts it; it has a bar on the real model alone, because the organism's
             sweep takes less time than some disks need to answer. SmolLM2 is left out where it is not installed; it
             sweeps fewer rows, and `store_seconds` and `sweep_seconds` are scaled to 10,000.
`opening`    1,000,000 rows of 5 groups in 500 shards, opened and anti-joined by a fresh process: seconds by the clock, and
             the most memory of that process, imports included. Half of the rows asked for are there.
`ray`        with `--ray`: a sweep of heads of SmolLM2 by one Ray actor and by two on this machine, in turns. `faster` is the time
             from the plan to the last row of one over that of two, by the clock: it needs two processors that nothing else
             uses. `faster_by_processor` is what it would be on such a machine: the processor seconds of the one over half of
             those of the two together, which share the work by shards. `load` is how many processes wanted a processor.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pyarrow as pa

import mechcausal as mc
from mechcausal.errors import ModelError
from mechcausal.runs.store import Store

BARS = {"share": 3.0, "seconds": 5.0, "gb": 1.0, "faster": 1.6}
ROWS, PERIOD = 10_000, 3.0  # rows of a sweep; seconds of a sweep between two shards
GROUP = "0" * 64
GROUPS, CELLS, PROMPTS, SHARD = 5, 1000, 200, 10  # of the large run; cells in a shard


def rows_of(result: Any) -> tuple[np.ndarray, np.ndarray, pa.Table]:  # noqa: ANN401
    """Return cells, prompts and the rows that a run would keep of a sweep."""
    examples = np.asarray(result.examples)
    draw = np.random.default_rng(0)
    cells, prompts = (draw.integers(2**64, size=n, dtype=np.uint64) for n in examples.shape)
    baselines = {name: np.broadcast_to(result.baselines[name], examples.shape) for name in ("base", "clean", "corrupt")}
    n = examples.size
    return cells, prompts, pa.table({
        "group": pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), [GROUP]),
        "cell": np.repeat(cells, len(prompts)), "prompt": np.tile(prompts, len(cells)),
        "value": examples.ravel(), **{name: values.ravel() for name, values in baselines.items()},
    })  # fmt: skip


def stored(folder: Path, cells: np.ndarray, prompts: np.ndarray, rows: pa.Table, n_shards: int) -> None:
    """Put rows into the store of a new run, as a run does."""
    store = Store(folder, writing=True)
    store.done(GROUP, cells, prompts)
    size = math.ceil(len(rows) / n_shards)
    for start in range(0, len(rows), size):
        store.commit(rows.slice(start, size))


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return seconds by the clock and of the processor, and what the function returned."""
    clock, processor = time.perf_counter(), time.process_time()
    answer = function()
    return time.perf_counter() - clock, time.process_time() - processor, answer


def overhead(name: str, sweep: Callable[[], Any], runs: int) -> dict[str, Any]:
    """Measure the store beside a sweep."""
    sweep()  # what is done once, such as a comparison with the loop, is not counted
    shares, clock_shares, waits, seconds = [], [], [], []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for number in range(runs):
            sweep_clock, sweep_processor, result = timed(sweep)
            kept = rows_of(result)
            n_shards = max(1, round(sweep_processor / PERIOD))
            clock, processor, _ = timed(
                lambda at=Path(folder) / str(number), kept=kept, n=n_shards: stored(at, *kept, n)
            )
            shares.append(processor / sweep_processor)
            clock_shares.append(clock / sweep_clock)
            waits.append((clock - processor) / n_shards)
            seconds.append((sweep_processor, processor))
    rows = kept[-1]
    scale = ROWS / len(rows)
    return {
        "case": f"overhead, {name}", "rows": len(rows), "shards": n_shards,
        "sweep_seconds": round(scale * statistics.median(sweep for sweep, _ in seconds), 3),
        "store_seconds": round(scale * statistics.median(store for _, store in seconds), 4),
        "share": round(100 * statistics.median(shares), 2),
        "share_with_waiting": round(100 * statistics.median(clock_shares), 2),
        "waiting_ms": round(1e3 * statistics.median(waits), 1), "bar": BARS["share"],
    }  # fmt: skip


def hiring(runs: int) -> dict[str, Any]:
    """Measure beside the smallest model that the package has."""
    model = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", model, n=80)
    return overhead("organism:hiring", lambda: mc.patch(model, pairs, sites="z", at="each"), runs)


def smollm2(quick: bool) -> Iterator[dict[str, Any]]:
    """Measure beside a real model, where it is installed."""
    try:
        model = mc.load("smollm2")
    except ModelError:
        return
    clean, corrupt = ("When {0} and {1} met, {" + side + "} gave a book to" for side in "01")
    names = [("John", "Mary"), ("Tom", "Anna"), ("Paul", "Emma"), ("David", "Lucy")][: 2 if quick else 4]
    pairs = mc.Contrast.from_text(
        model, [clean.format(*pair) for pair in names], [corrupt.format(*pair) for pair in names],
        answer=[f" {second}" for _, second in names], foil=[f" {first}" for first, _ in names], factor="name",
    )  # fmt: skip
    yield overhead("smollm2", lambda: mc.patch(model, pairs, sites="z"), 1 if quick else 3)


def keys() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each group of the large run with twice as many prompts as it has."""
    draw = np.random.default_rng(0)
    for number in range(GROUPS):
        cells, prompts = (draw.integers(2**64, size=n, dtype=np.uint64) for n in (CELLS, 2 * PROMPTS))
        yield f"{number:064x}", cells, prompts


def written(folder: Path) -> int:
    """Write a large run; return how many rows it has."""
    store, n, draw = Store(folder, writing=True), 0, np.random.default_rng(1)
    for group, cells, prompts in keys():
        for start in range(0, CELLS, SHARD):
            size = SHARD * PROMPTS
            numbers = draw.normal(size=(4, size)).astype(np.float32).astype(float)
            store.commit(pa.table({
                "group": [group] * size, "cell": np.repeat(cells[start : start + SHARD], PROMPTS),
                "prompt": np.tile(prompts[:PROMPTS], SHARD),
                **dict(zip(("value", "base", "clean", "corrupt"), numbers, strict=True)),
                "more": [json.dumps({"n": index, "text": str(numbers[0, index])}) for index in range(size)],
            }))  # fmt: skip
            n += size
    return n


def opened(folder: Path) -> dict[str, Any]:
    """Open a large run in this process, and say which rows are there."""

    def work() -> int:
        store, there = Store(folder), 0
        for group, cells, prompts in keys():
            done = store.done(group, cells, prompts)
            assert done[:, :PROMPTS].all()
            assert not done[:, PROMPTS:].any()
            there += int(done.sum())
        return there

    clock, processor, there = timed(work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"there": there, "seconds": round(clock, 2), "cpu_seconds": round(processor, 2), "peak_gb": round(peak, 3)}


def opening() -> dict[str, Any]:
    """Measure how a large run is opened."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        n = written(Path(folder))
        shards = list((Path(folder) / "rows").iterdir())
        megabytes = sum(path.stat().st_size for path in shards) / 1e6
        command = [sys.executable, __file__, "--open", folder]
        line = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert line.pop("there") == n
    return {
        "case": "opening", "rows": n, "shards": len(shards), "megabytes": round(megabytes), **line,
        "bar": {name: BARS[name] for name in ("seconds", "gb")},
    }  # fmt: skip


def heads(quick: bool) -> mc.Experiment:
    """Return the sweep that Ray is measured with."""
    return mc.Experiment.of({
        "name": "heads", "model": "smollm2", "data": {"ioi": {"contrast": "ioi", "n": 24 if quick else 48}},
        "step": [{"id": "heads", "run": "patch", "data": "ioi", "sites": [f"L{layer}.z.H*" for layer in (10, 15, 20)]}],
        "block": 4, "cells": 9,
    })  # fmt: skip


def swept(experiment: mc.Experiment, folder: Path, workers: int) -> tuple[float, list[float]]:
    """Return how long a sweep took by the clock, and the processor seconds of each actor."""
    experiment.run(folder, engine="ray", workers=workers, quiet=True)
    begin = (folder / "plan.json").stat().st_mtime
    end = max(path.stat().st_mtime for path in (folder / "rows").iterdir())
    seconds: dict[int, float] = {}
    for line in map(json.loads, (folder / "units.jsonl").read_text().splitlines()):
        seconds[line["process"]] = seconds.get(line["process"], 0.0) + line["seconds"]
    return end - begin, list(seconds.values())


def actors(quick: bool) -> dict[str, Any]:
    """Measure two actors beside one."""
    experiment, clock, processor, loads = heads(quick), {1: [], 2: []}, {1: [], 2: []}, []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for number, workers in enumerate((1, 2) if quick else (1, 2, 2, 1)):
            seconds, each = swept(experiment, Path(folder) / str(number), workers)
            clock[workers].append(seconds)
            processor[workers].append(sum(each) / workers)
            loads.append(os.getloadavg()[0])
    seconds_one, seconds_two = (statistics.mean(clock[workers]) for workers in (1, 2))
    return {
        "case": "ray", "seconds_one": round(seconds_one, 1), "seconds_two": round(seconds_two, 1),
        "faster": round(seconds_one / seconds_two, 2),
        "faster_by_processor": round(statistics.mean(processor[1]) / statistics.mean(processor[2]), 2),
        "load": [round(load, 1) for load in loads], "bar": BARS["faster"],
    }  # fmt: skip


def main() -> None:
    """Print one line for each case; fail at the end if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and fewer pairs on SmolLM2")
    parser.add_argument("--only", choices=("overhead", "opening", "ray"), help="run these cases")
    parser.add_argument("--ray", action="store_true", help="measure Ray too, which needs SmolLM2 and two processors")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(opened(arguments.open)))
        return
    missed = []
    # The large run is opened first: the memory of a new process counts from that of the process that starts it.
    if arguments.only in (None, "opening"):
        line = opening()
        print(json.dumps(line), flush=True)
        missed += [line["case"]] * (line["seconds"] >= BARS["seconds"] or line["peak_gb"] >= BARS["gb"])
    if arguments.only in (None, "overhead"):
        for line in (hiring(3 if arguments.quick else 15), *smollm2(arguments.quick)):
            print(json.dumps(line), flush=True)
            real = line["case"] == "overhead, smollm2"
            missed += [line["case"]] * (max(line["share"], line["share_with_waiting"] * real) >= BARS["share"])
    if arguments.ray or arguments.only == "ray":
        line = actors(arguments.quick)
        print(json.dumps(line), flush=True)
        missed += [line["case"]] * (line["faster"] < BARS["faster"])
    if missed:
        sys.exit("missed the bar: " + "; ".join(missed))


if __name__ == "__main__":
    main()
