"""Whatever happens to the writers, to the disk or to the clock: nothing is lost, nothing is doubled, nothing is taken for a row."""

import multiprocessing.forkserver
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from store_writers import write_and_die, write_in_turn, write_until_killed
from stored_rows import GROUP, every, pairs, table

from mechcausal import disk
from mechcausal.errors import ResultError
from mechcausal.runs import placing, shards
from mechcausal.runs.store import Store

PARTS = ".*.mechcausal-part"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "mechcausal-test", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture(scope="module")
def killable():
    """Processes that start quickly: they are forked from one that has imported the store."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["store_writers"])
    with pytest.MonkeyPatch.context() as patch:
        # The server itself is not told where modules are.
        patch.setenv("PYTHONPATH", os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")]))
        multiprocessing.forkserver.ensure_running()
    return context


def test_two_processes_write_the_same_and_overlapping_shards_at_once(quick_folder):
    context = multiprocessing.get_context("spawn")
    barrier, before = context.Barrier(2), Store(quick_folder)
    # Sizes that both have are shards of one name; the others overlap.
    sizes = [[1, 2, 3, 1, 5, 7, 24, 2, 9], [1, 2, 4, 1, 6, 11, 24, 3, 8]]
    processes = [context.Process(target=write_in_turn, args=(quick_folder, each, barrier)) for each in sizes]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert before.refresh() > 24 * 16
    for store in (before, Store(quick_folder), Store(quick_folder, writing=True)):
        assert pairs(store.rows(GROUP)) == every(range(24), range(16))
        assert (store.check(), store.damaged) == ([], ())
    names = [item.name for item in (quick_folder / "rows").iterdir()]
    expected = {(start, min(24, start + size)) for each in sizes for size in each for start in range(0, 24, size)}
    assert len(names) == len(expected)
    assert sum(int(count.read_text()) for count in quick_folder.glob("written-*")) == len(names)  # one winner each


def test_a_writer_is_killed_at_random_moments(quick_folder, killable):
    draw, log, killed_in_commit = random.Random(0), quick_folder / "log", 0
    for attempt in range(12):
        writer = killable.Process(target=write_until_killed, args=(quick_folder / "run", 1000 * attempt, log))
        writer.start()
        deadline = time.monotonic() + 60
        lines = log.read_bytes().count(b"\n") if log.exists() else 0
        while not log.exists() or log.read_bytes().count(b"\n") == lines:  # until it is at work
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(draw.random() * 0.03)
        writer.kill()
        writer.join()
        killed_in_commit += len(list((quick_folder / "run" / "rows").glob(PARTS)))
        # What is listed is whole, whoever reads it now.
        reader = Store(quick_folder / "run")
        assert reader.damaged == ()
        committed = {int(line) for line in log.read_bytes().split()}
        cells = reader.rows(GROUP, ["cell"])["cell"].to_numpy()
        assert committed <= set(cells.tolist())  # nothing is lost; the last one may have had no time to say so
        assert len(cells) == 1000 * len(np.unique(cells))  # no shard counts in part, none twice
    assert killed_in_commit, "no writer was killed while it wrote"
    store = Store(quick_folder / "run", writing=True)
    assert not list((quick_folder / "run" / "rows").glob(PARTS))
    assert store.check() == []
    assert pairs(store.rows(GROUP)) == every(sorted(set(cells.tolist())), range(1000))


def test_a_writer_is_killed_at_every_step_of_a_commit(quick_folder, killable):
    events = 0
    while True:
        events += 1
        folder = quick_folder / str(events)
        Store(folder, writing=True).commit(table([1], range(4)))
        writer = killable.Process(target=write_and_die, args=(folder, 2, events))
        writer.start()
        writer.join(60)
        reader = Store(folder)
        assert (reader.damaged, reader.check()) == ((), [])
        assert pairs(reader.rows(GROUP)) in (every([1], range(4)), every([1, 2], range(4)))
        store = Store(folder, writing=True)
        assert not list((folder / "rows").glob(PARTS))
        store.commit(table([2], range(4)))
        assert pairs(store.rows(GROUP)) == every([1, 2], range(4))
        if writer.exitcode == 0:  # there are no more steps
            break
        assert writer.exitcode == -9
    assert events > 6


def damage(path, kind):
    """Damage a file as disks and copies do."""
    content = bytearray(path.read_bytes())
    if kind in ("cut off", "empty"):
        path.write_bytes(content[: len(content) * (kind == "cut off") // 2])
        return
    at = {"header": 2, "page": len(content) // 4, "footer": len(content) - 60, "end": len(content) - 1}[kind]
    content[at] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["cut off", "empty", "header", "page", "footer", "end"])
def test_a_damaged_shard_does_not_count_and_its_rows_are_computed_again(tmp_path, kind):
    store = Store(tmp_path, writing=True)
    store.commit(table([1], range(50)))
    (path,) = (tmp_path / "rows").iterdir()
    store.commit(table([2], range(50)))
    good = path.read_bytes()
    damage(path, kind)
    assert store.check() == [f"{path.name}: {shards.flaw(path)}"]  # also of a run that is open
    reader = Store(tmp_path)
    assert [name for name, _ in reader.damaged] == [path.name]
    assert reader.damaged[0].why.startswith("truncated" if kind in ("cut off", "empty", "end") else "checksum")
    assert reader.check() == [": ".join(reader.damaged[0])]
    assert path.exists()  # a reader touches nothing
    writer = Store(tmp_path, writing=True)
    assert writer.damaged == reader.damaged
    assert [item.name for item in (tmp_path / "damaged").iterdir()] == [path.name]
    assert writer.done(GROUP, np.array([1, 2]), np.arange(50)).all(1).tolist() == [False, True]
    assert writer.commit(table([1], range(50)))
    assert path.read_bytes() == good
    assert reader.refresh() == 50
    for each in (reader, writer, Store(tmp_path)):
        assert pairs(each.rows(GROUP)) == every([1, 2], range(50))
        assert each.check() == []
    assert reader.damaged == ()


@pytest.mark.parametrize("writing", [False, True])
def test_a_writer_does_not_yield_to_a_damaged_shard(tmp_path, writing):
    # A worker opens the store as a reader, because its driver has put everything in order, and commits all the same.
    first, second = Store(tmp_path, writing=True), Store(tmp_path, writing=writing)
    for number in range(2):
        first.commit(table([number], [1, 2]))
        (path,) = (tmp_path / "rows").iterdir()
        damage(path, "page")
        assert second.commit(table([number], [1, 2]))  # it has not seen that file before
        assert shards.flaw(path) is None
        path.rename(tmp_path / "taken away")
    assert len(list((tmp_path / "damaged").iterdir())) == 2


def test_a_shard_is_put_back_if_another_writer_mended_it_first(tmp_path, monkeypatch):
    Store(tmp_path, writing=True).commit(table([1], [1, 2]))
    (path,) = (tmp_path / "rows").iterdir()
    good = path.read_bytes()
    damage(path, "page")
    read = shards.read_keys

    def mended_meanwhile(at, name=None):
        answer = read(at, name)
        if at == path and isinstance(answer, str):
            path.write_bytes(good)
        return answer

    monkeypatch.setattr(shards, "read_keys", mended_meanwhile)
    store = Store(tmp_path, writing=True)
    assert path.read_bytes() == good
    store.refresh()
    assert pairs(store.rows(GROUP)) == every([1], [1, 2])


def fill(path):
    """Write until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(2**16))


def test_a_disk_fills_up(small_disk):
    store = Store(small_disk / "run", writing=True)
    store.commit(table([1], range(1000)))
    ballast = small_disk / "ballast"
    fill(ballast)
    for n in (1000, 20_000):  # what fails while it is written, and what fails when it is closed
        with pytest.raises(ResultError, match=r"No space left on device\): all rows written before are safe") as error:
            store.commit(table([2], range(n)))
        assert len(str(error.value)) < 400
        assert len(list((small_disk / "run" / "rows").iterdir())) == 1  # no rest is left
    with pytest.raises(
        ResultError, match=r"No space left on device|nearly full"
    ):  # the next run finds out before it computes
        Store(small_disk / "run", writing=True)
    assert pairs(Store(small_disk / "run").rows(GROUP)) == every([1], range(1000))
    ballast.unlink()
    assert store.commit(table([2], range(1000)))
    assert pairs(store.rows(GROUP)) == every([1, 2], range(1000))
    assert store.check() == Store(small_disk / "run").check() == []


def test_a_folder_is_read_only(small_disk):
    store = Store(small_disk, writing=True)
    store.commit(table([1], [1, 2]))
    store.commit(table([2], [1, 2], error="OSError: x"))
    store.commit(table([3], [1, 2]))
    damage(max((small_disk / "rows").iterdir(), key=lambda path: path.stat().st_mtime_ns), "page")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    reader = Store(small_disk)
    assert pairs(reader.rows(GROUP)) == every([1], [1, 2])
    assert (len(reader.failed()), len(reader.damaged), len(reader.check())) == (2, 1, 1)
    with pytest.raises(ResultError, match=r"nothing can be written to .*Read-only file system"):
        Store(small_disk, writing=True)
    with pytest.raises(ResultError, match=r"Read-only file system\): all rows written before are safe"):
        store.commit(table([4], [1, 2]))


def test_only_what_dead_writers_of_this_machine_left_is_removed(tmp_path):
    rows = tmp_path / "rows"
    rows.mkdir()
    here, dead = disk._host(), subprocess.Popen(["true"])
    dead.wait()
    names = {
        "dead": f".0.parquet.{here}-{dead.pid}-a.mechcausal-part",
        "alive": f".0.parquet.{here}-{os.getpid()}-a.mechcausal-part",
        "elsewhere": f".0.parquet.elsewhere-{dead.pid}-a.mechcausal-part",
        "strange": ".DS_Store",
    }
    for name in names.values():
        (rows / name).write_text("half")
    assert (Store(tmp_path).rows(GROUP).num_rows, Store(tmp_path).damaged) == (0, ())
    assert len(list(rows.iterdir())) == 4
    store = Store(tmp_path, writing=True)
    assert {item.name for item in rows.iterdir()} == set(names.values()) - {names["dead"]}
    assert store.damaged == ()


def test_a_writer_whose_temporary_file_was_taken_for_a_leftover_writes_again(tmp_path, monkeypatch):
    store, write, taken = Store(tmp_path, writing=True), shards.write, []

    def robbed(rows, path, name, attempt):
        write(rows, path, name, attempt)
        if len(taken) < 2:
            taken.append(path)
            path.unlink()

    monkeypatch.setattr(shards, "write", robbed)
    assert store.commit(table([1], [1]))
    assert len(taken) == 2
    assert pairs(Store(tmp_path).rows(GROUP)) == every([1], [1])
    shutil.rmtree(tmp_path / "rows")
    with pytest.raises(ResultError, match="rows could not be written"):
        store.commit(table([2], [1]))


def test_a_clock_that_is_set_back_changes_nothing(tmp_path, monkeypatch):
    """The clock of the machine is not set, because others use it; what the package reads of it is."""
    store = Store(tmp_path, writing=True)
    store.commit(table([1, 2], [1, 2], error="OSError: first"))
    now = time.time()
    for years, error in ((-30, "second"), (30, "third"), (-5, "fourth")):
        then = now + years * 3.15e7
        monkeypatch.setattr(time, "time", lambda then=then: then)
        monkeypatch.setattr(time, "time_ns", lambda then=then: int(then * 1e9))
        mine = Store(tmp_path, writing=True)
        mine.commit(table([1, 2], [1, 2], error=f"OSError: {error}"))
        for path in (tmp_path / "rows").iterdir():
            os.utime(path, (then, then))
    monkeypatch.undo()
    assert set(Store(tmp_path).failed()["error"].to_pylist()) == {"OSError: fourth"}
    mine.commit(table([1], [1, 2]))
    monkeypatch.setattr(time, "time", lambda: now - 1e9)
    mine.commit(table([1], [1, 2], error="OSError: late"))
    assert pairs(Store(tmp_path, writing=True).rows(GROUP)) == every([1], [1, 2])
    assert Store(tmp_path).failed()["cell"].to_pylist() == [2, 2]


def test_files_that_are_no_shards_are_named_and_left_alone(tmp_path):
    store = Store(tmp_path, writing=True)
    store.commit(table([1], [1]))
    (shard,) = (tmp_path / "rows").iterdir()
    (tmp_path / "rows" / "notes.txt").write_text("not mine")
    (tmp_path / "rows" / "folder").mkdir()
    shutil.copy(shard, tmp_path / "rows" / "copy.parquet")
    stranger = tmp_path / "rows" / f"{'0' * 32}.parquet"
    shutil.copy(shard, stranger)  # a sound shard under the name of another one
    for writing in (False, True):
        store = Store(tmp_path, writing=writing)
        why = dict(store.damaged)
        assert set(why) == {"notes.txt", "folder", "copy.parquet", stranger.name}
        assert all(reason.startswith("not a shard") for reason in why.values())
        assert pairs(store.rows(GROUP)) == every([1], [1])
    assert {item.name for item in (tmp_path / "rows").iterdir()} == {
        shard.name, "notes.txt", "folder", "copy.parquet",
    }  # fmt: skip
    assert Store(tmp_path).check() == []


def test_duplicates_that_disagree_are_named(tmp_path):
    store = Store(tmp_path, writing=True)
    store.commit(table([1], [1, 2, 3]))
    store.commit(table([1], [2, 3, 4], shift=0.5))
    store.commit(table([5], [5]))
    left, right = sorted(shard.name for shard in store._shards if 1 in shard.cell)
    for each in (store, Store(tmp_path)):
        assert each.check() == [
            f"{left} and {right} disagree on value of group {GROUP}, cell 1, prompt {prompt}" for prompt in (2, 3)
        ]
    # Every reader takes the same one of the two.
    assert pairs(store.rows(GROUP)) == pairs(Store(tmp_path).rows(GROUP))


def test_a_row_that_is_not_there_any_more_is_an_error_of_one_sentence(tmp_path):
    store = Store(tmp_path, writing=True)
    store.commit(table([1], [1]))
    (path,) = (tmp_path / "rows").iterdir()
    path.unlink()
    assert store.check() == [f"{path.name}: it was removed since the run was opened"]
    with pytest.raises(ResultError, match="damaged or removed since the run was opened"):
        store.rows(GROUP)


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(placing.os, "link", refuse)
    store = Store(tmp_path, writing=True)
    assert store.commit(table([1], [1]))
    assert not Store(tmp_path / "other", writing=True).refresh()
    (path,) = (tmp_path / "rows").iterdir()
    store._names.clear()
    assert not store.commit(table([1], [1]))
    assert [item.name for item in (tmp_path / "rows").iterdir()] == [path.name]
    assert Store(tmp_path).check() == []
