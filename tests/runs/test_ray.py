"""Ray computes what one process computes, to the last bit, whatever becomes of its workers and machines."""

import json
import os
import signal
import subprocess
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_runs import assert_sound, bits, content, drive, driver_of, finish, kill_when, said, shards, wait_for

from mechcausal.errors import ArgumentError, MechcausalError, ModelError, ResultError, UnsupportedError
from mechcausal.results.provenance import package_versions
from mechcausal.runs import ray as engine
from mechcausal.runs.experiment import Experiment
from mechcausal.runs.plan import Plan
from mechcausal.runs.ray import Answer, Ray, Seat
from mechcausal.runs.run import Run


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Return the rows that the local engine computes."""
    out = tmp_path_factory.mktemp("local") / "run"
    assert drive(out).complete
    return bits(out)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def workers(out):
    """Return the processes that have computed something, in the order in which they began."""
    path = out / "units.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return list(dict.fromkeys(json.loads(line)["process"] for line in lines))


def test_the_table_is_the_same_though_a_worker_is_killed(out, reference):
    driver = driver_of(out, engine="ray", workers=2)
    wait_for(lambda: (len(workers(out)) == 2 and shards(out) >= 8) or not driver.is_alive())
    assert driver.is_alive(), said(out, driver)
    first, second = workers(out)
    environment = Path(f"/proc/{second}/environ").read_bytes().split(b"\0")
    os.kill(first, signal.SIGKILL)
    driver.join()
    assert driver.exitcode == 0, said(out, driver)
    assert b"OMP_NUM_THREADS=1" in environment
    assert_sound(out, reference)
    wait_for(lambda: not alive(second))


def alive(process):
    """Say whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
