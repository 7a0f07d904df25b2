"""A small run with many shards, and drivers of it in processes of their own, which can be killed."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from contextlib import contextmanager
from functools import cache

import numpy as np

from mechcausal.cli import main
from mechcausal.models import load as loading
from mechcausal.runs import driver
from mechcausal.runs.experiment import Experiment
from mechcausal.runs.run import Run

FORK = multiprocessing.get_context("fork")  # what this process has imported and loaded need not be loaded again
_LOAD, CONNECT = loading.load, socket.socket.connect


def content(**changes):
    """Return what the file of the experiment would hold: three steps, the last of which takes sites of the first."""
    steps = [
        {"id": "heads", "run": "patch", "data": "gender", "sites": "z", "each": {"metric": ["logit_diff", "prob"]}},
        {"id": "without", "run": "ablate", "data": "gender", "sites": ["attn_out", "mlp_out"], "do": "zero"},
        {"id": "best", "run": "ablate", "data": "gender", "sites": {"from": "heads", "top": 3}, "do": "zero"},
    ]
    data = {"gender": {"contrast": "hiring/gender", "n": 12}}
    return {"name": "small", "model": "organism:hiring", "data": data, "step": steps, "block": 4, "cells": 3} | changes


@cache
def _model(name):
    return _LOAD(name)


def drive(out, engine="local", **options):
    """Run the experiment into a folder."""
    with _prepared(engine):
        return Experiment.of(content()).run(out, engine=engine, quiet=True, **options)


@contextmanager
def _prepared(engine="local"):
    """Let a shard be one unit, so that there are many moments between shards, and load a model once."""
    seconds = driver._SHARD_SECONDS
    driver._SHARD_SECONDS = 0.0
    if engine == "local":
        loading.load = lambda name, **_: _model(name)
    try:
        yield
    finally:
        loading.load, driver._SHARD_SECONDS = _LOAD, seconds


def driver_of(out, **options):
    """Start a process that runs the experiment into a folder.

    Args:
        out: The folder.
        **options: `words` of the command line instead of a call; what is called `before`; or options of the run.
    """
    _model(content()["model"])
    process = FORK.Process(target=_driven, args=(out, options))
    process.start()
    return process


def hear_ctrl_c():
    """Be stopped by Ctrl-C; a shell gives none to what it starts in the background, these tests perhaps."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _driven(out, options):
    """Be a driver; what it says at its end goes into a file beside the folder."""
    words, before = options.pop("words", None), options.pop("before", None)
    if "engine" in options:
        socket.socket.connect = CONNECT  # Ray may reach out
    sys.stdout = sys.stderr = (out.parent / f"{os.getpid()}.said").open("w", buffering=1)
    try:
        if before is not None:
            before()
        if words is None:
            drive(out, **options)
        else:
            with _prepared():
                main(words)
    except SystemExit as error:
        os._exit(error.code)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        os._exit(3)
    os._exit(0)


def said(out, process):
    """Return the sentence that a driver ended with."""
    path = out.parent / f"{process.pid}.said"
    return path.read_text() if path.exists() else ""


def shards(out):
    """Return how many shards there are."""
    return len(list((out / "rows").glob("*.parquet")))


def wait_for(condition, seconds=400.0):
    """Wait until something is the case."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.002)


def bits(out):
    """Return every row of a run by its step, labels, cell and prompt, its numbers to the last bit."""
    run = Run(out)
    found = {}
    for group in run.plan.groups:
        rows = run.store.rows(group.key)
        numbers = np.stack([rows[name].to_numpy().view(np.uint64) for name in ("value", "base", "clean", "corrupt")], 1)
        keys = zip(rows["cell"].to_pylist(), rows["prompt"].to_pylist(), strict=True)
        found[group.step, group.key] = dict(zip(keys, map(tuple, numbers.tolist()), strict=True))
    return found


def assert_sound(out, reference):
    """Check that a run is whole, that nothing is there twice or damaged, and that its numbers are those of another run."""
    run = Run(out)
    assert run.complete, run
    assert run.store.check() == []
    assert run.store.failed().num_rows == 0
    assert bits(out) == reference


def finish(out, reference, **options):
    """Run to the end, and check that all is as if nothing had happened."""
    process = driver_of(out, **options)
    process.join()
    assert process.exitcode == 0, said(out, process)
    assert_sound(out, reference)


def kill_when(out, more, process, pause=0.0):
    """Kill a driver once it has written some shards."""
    goal = shards(out) + more
    wait_for(lambda: shards(out) >= goal or not process.is_alive())
    time.sleep(pause)
    process.kill()
    process.join()
