"""What other processes do to the store of a run, in tests: they write, and some of them are killed while they do."""

import os
import signal
import sys
from pathlib import Path

from stored_rows import table

from mechcausal.runs.store import Store

EVENTS = ("open", "tempfile.mkstemp", "os.chmod", "mmap.__new__", "os.link", "os.remove")


def write_in_turn(folder, sizes, barrier):
    """Commit all rows of 24 cells and 16 prompts again and again, in shards of some sizes, and count the shards written."""
    store = Store(Path(folder), writing=True)
    barrier.wait()
    written = 0
    for size in sizes:
        for start in range(0, 24, size):
            written += store.commit(table(range(start, min(24, start + size)), range(16)))
        store.refresh()
    (Path(folder) / f"written-{os.getpid()}").write_text(str(written))


def write_until_killed(folder, first, log):
    """Commit one cell after the other, and log those whose commit has returned."""
    store = Store(Path(folder), writing=True)
    with open(log, "ab", buffering=0) as file:  # noqa: PTH123
        for cell in range(first, first + 10_000):
            store.commit(table([cell], range(1000)))
            file.write(f"{cell}\n".encode())


def write_and_die(folder, cell, event):
    """Commit one shard, and be killed at the given event of the file system (its number, counted from the start)."""
    store = Store(Path(folder), writing=True)
    rows, seen = table([cell], range(4)), 0

    def count(name, _):
        nonlocal seen
        if name in EVENTS:
            seen += 1
            if seen == event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    store.commit(rows)
    os._exit(0)
