"""Whole runs that are hit by what happens to machines: in the end the table is that of a run that nothing happened to.

The drivers are processes of their own, forked from this one, so that a kill is a kill.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from datetime import datetime

import pytest
from small_runs import (
    assert_sound,
    bits,
    content,
    drive,
    driver_of,
    finish,
    hear_ctrl_c,
    kill_when,
    said,
    shards,
    wait_for,
)

from mechcausal.errors import ResultError
from mechcausal.runs import computing, worker
from mechcausal.runs.experiment import Experiment
from mechcausal.runs.run import Run

SHARDS = 48  # of the whole run, at least
KILLED, STOPPED = -signal.SIGKILL, 130


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a run that nothing happens to."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert drive(out).complete
    assert shards(out) >= SHARDS
    return out


@pytest.fixture(scope="module")
def reference(finished):
    return bits(finished)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.mark.slow
@pytest.mark.parametrize("moments", [3, 12])
def test_a_driver_is_killed_at_several_moments(out, reference, moments):
    draw = random.Random(0)
    for number in range(moments):
        process = driver_of(out)
        # The first is killed while it plans; the others at any moment of computing or writing a shard.
        kill_when(out, draw.randint(1, 2) if number else 0, process, pause=draw.uniform(0, 0.03))
        assert process.exitcode == KILLED
    assert 0 < shards(out) < SHARDS
    assert not Run(out).complete
    finish(out, reference)
    assert not list(out.rglob(".*mechcausal-part"))


def test_damaged_shards_are_computed_again(out, reference):
    process = driver_of(out)
    kill_when(out, 9, process)
    damaged = sorted((out / "rows").glob("*.parquet"))[1:8:3]
    for path, damage in zip(damaged, (truncated, with_a_bit_flipped, lambda _: b""), strict=True):
        path.write_bytes(damage(path.read_bytes()))
    assert len(Run(out).store.check()) == 3
    finish(out, reference)
    assert sorted((out / "damaged").iterdir()) == [out / "damaged" / path.name for path in damaged]
    assert (out / "run.log").read_text().count("put aside") == 3


def truncated(content):
    return content[:-100]


def with_a_bit_flipped(content):
    changed = bytearray(content)
    changed[len(changed) // 3] ^= 4
    return bytes(changed)


def test_a_finished_run_that_lost_shards_gets_them_back(out, finished, reference):
    shutil.copytree(finished, out)
    for path in sorted((out / "rows").glob("*.parquet"))[::7]:
        path.unlink()
    assert not Run(out).complete
    finish(out, reference)


@contextmanager
def mounted(path, size, *options):
    """Mount a small disk in memory, which only an administrator may do."""
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}m", *options]), "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by an administrator")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path):
    """Write a file until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"0" * 4096):
            pass


def test_a_full_disk_stops_the_run_with_a_sentence_and_room_lets_it_go_on(tmp_path, reference):
    with mounted(tmp_path / "disk", 24) as disk:
        out = disk / "run"
        process = driver_of(out)
        wait_for(lambda: shards(out) >= 4)
        filler = disk / "filler"
        fill(filler)
        process.join(timeout=60)
        assert process.exitcode == 3
        assert "No space left" in said(out, process)
        assert "make room" in said(out, process)
        assert Run(out).store.check() == []
        before = shards(out)

        with pytest.raises(ResultError, match=r"nothing can be written to .*No space left.*make room"):
            drive(out)

        filler.unlink()
        assert shards(out) == before > 0
        finish(out, reference)


def test_a_read_only_folder_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "Bench", lambda *_: pytest.fail("a model was about to be loaded"))
    with mounted(tmp_path / "disk", 24, "ro") as disk, pytest.raises(ResultError, match="nothing can be written to"):
        Experiment.of(content()).run(disk / "run", quiet=True)


@pytest.mark.slow
def test_two_drivers_work_in_one_folder(out, reference):
    processes = [driver_of(out), driver_of(out)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], [said(out, process) for process in processes]
    assert_sound(out, reference)
    lines = [json.loads(line) for line in (out / "units.jsonl").read_text().splitlines()]
    assert {line["process"] for line in lines} == {process.pid for process in processes}


@pytest.mark.slow
def test_one_of_two_drivers_is_killed(out, reference):
    first, second = driver_of(out), driver_of(out)
    kill_when(out, 10, first)
    third = driver_of(out)
    second.join()
    third.join()
    assert (first.exitcode, second.exitcode, third.exitcode) == (KILLED, 0, 0), said(out, third)
    assert_sound(out, reference)


@pytest.mark.slow
def test_a_clock_that_is_set_back_changes_nothing(out, reference):
    process = driver_of(out)
    kill_when(out, 8, process)
    for path in (out / "rows").iterdir():  # what was written is of the future then
        os.utime(path, (2**31, 2**31))
    process = driver_of(out, before=set_back)
    kill_when(out, 8, process)
    assert "2001-" in (out / "run.log").read_text()
    finish(out, reference)


def set_back():
    """Let every second go backwards, from 2001 on."""
    from mechcausal.runs import driver

    begin = time.monotonic()

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: 1e9 - 1000 * (time.monotonic() - begin)
    time.time_ns = lambda: int(time.time() * 1e9)
    driver.datetime = Clock


def test_ctrl_c_stops_with_how_to_go_on(out, reference, tmp_path):
    file = tmp_path / "experiment.toml"
    file.write_text(Experiment.of(content()).config.to_toml())
    process = driver_of(out, words=["run", str(file), "-o", str(out)], before=hear_ctrl_c)
    wait_for(lambda: shards(out) >= 5)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == STOPPED
    sentence = said(out, process)
    assert f"stopped: what was computed is kept in {out}: run the same again, which goes on from there" in sentence
    assert "Traceback" not in sentence
    assert not (out / "driver.json").exists()
    assert 5 <= shards(out) < SHARDS
    finish(out, reference)


def test_rows_that_failed_are_named_and_tried_again(out, reference, monkeypatch):
    compute = computing.computed

    def failing(bench, group, unit):
        if group.step == "without" and 5 in unit.prompts:
            raise RuntimeError("the lamp went out")
        return compute(bench, group, unit)

    monkeypatch.setattr(worker, "computed", failing)
    run = drive(out)
    part = next(part for part in run.status() if part.step == "without")
    assert part.errors == {"RuntimeError: the lamp went out": 8}  # one prompt at every cell, and not its neighbors
    assert part.done == part.planned - 8
    assert "failed: RuntimeError: the lamp went out" in (out / "run.log").read_text()

    before = shards(out)
    assert next(part for part in drive(out).status() if part.step == "without").failed == 8  # again, once each
    assert shards(out) > before

    monkeypatch.undo()
    drive(out)
    assert_sound(out, reference)
