"""The rows of a run, which survive it: shards that are there whole or not at all, and are checked when they are opened.

A row is known by its key (group, cell, prompt), and a resume is an anti-join on keys, so the number of workers and the size
of shards may change from run to run. Nothing rests on the clock, nor on the order in which files were written:

- a row that succeeded hides every failure of its key;
- of failures the one of the highest attempt counts; attempts are counted, not timed;
- of several rows with one key that of the first name counts, and `check` says whether they agree.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mechcausal.errors import ArgumentError, ResultError, did_you_mean
from mechcausal.results.storage import is_of_the_disk, reason_of, remove_leftovers, require_room, temporary_beside
from mechcausal.runs import shards
from mechcausal.runs.agreement import disagreements
from mechcausal.runs.failures import Failures
from mechcausal.runs.index import NOWHERE, Index, Places, codes, ranks
from mechcausal.runs.placing import keep_names, place
from mechcausal.runs.shards import KEY, ROW, Shard, digest64, fitted

__all__ = ["ROW", "Damaged", "Store", "digest64"]

_TRIES = 5


class Damaged(NamedTuple):
    """A file that does not count: its name, and why."""

    name: str
    why: str


class Store:
    """The rows of a run.

    Args:
        folder: The folder of the run; the shards are in its folder `rows`.
        writing: Whether rows will be written. Then leftovers of killed writers are removed, and damaged shards are put into
            the folder `damaged`, so that their rows are computed again. Otherwise nothing in the folder is touched.
    """

    def __init__(self, folder: Path, *, writing: bool = False) -> None:
        self.folder, self._rows, self._writing = Path(folder), Path(folder) / "rows", writing
        self._shards: list[Shard] = []
        self._names: set[str] = set()
        self._damaged: dict[str, Damaged] = {}
        self._index: defaultdict[str, Index] = defaultdict(Index)
        self._failed = Failures(self._shards)
        self._once: dict[str, Places] = {}  # rows of a group, each key once; forgotten when rows are added
        if writing:
            require_room(self._rows, folder=True)
            remove_leftovers(self._rows)
            keep_names(self.folder)
        self.refresh()

    @property
    def damaged(self) -> tuple[Damaged, ...]:
        """The files that do not count: damaged shards, and files that are no shards, which stay where they are."""
        return tuple(self._damaged[name] for name in sorted(self._damaged))

    def refresh(self) -> int:
        """Read the shards that appeared since, another writer's for example; return how many rows are in them."""
        before = sum(map(len, self._shards))
        for name in self._listed():
            if name not in self._names:
                self._open(name, writing=self._writing)
        return sum(map(len, self._shards)) - before

    def commit(self, rows: pa.Table) -> bool:
        """Write rows as one shard; return False if a shard of the same rows is there already, which then counts.

        The shard appears under its name at once and whole, and is on the disk when this returns.

        Args:
            rows: Rows with the columns of `ROW`; columns that are left out are null. No rows: nothing is written.
        """
        rows = fitted(rows)
        if not len(rows):
            return False
        shard = shards.shard_of(rows)
        if shard.failed.any():
            shard = replace(shard, attempt=self._failed.attempts(shard) + 1)
        name = shards.name_of(shard)
        for _ in range(_TRIES):
            try:
                if self._write(rows, name, shard.attempt):
                    self._add(replace(shard, name=name))
                    return True
            except FileNotFoundError:
                # Another machine took the temporary file for a leftover; what that machine believes must not matter here.
                continue
            except Exception as error:
                if not is_of_the_disk(error):
                    raise
                raise self._unwritten(reason_of(error)) from error
            if name in self._names or self._open(name, writing=True):
                return False
        raise self._unwritten("files vanish while they are written")

    def done(self, group: str, cells: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Say which rows of a group succeeded, [cell prompt].

        Args:
            group: The group.
            cells: The cells, one for each row of the answer.
            prompts: The prompts, one for each column of the answer.
        """
        return self._index.get(group, Index()).done(cells, prompts)

    def rows(self, group: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a group that succeeded, each key once, in the order of (cell, prompt).

        Args:
            group: The group.
            columns: Columns of `ROW`; all but `blob` unless said, because blobs are large.
        """
        names = [name for name in ROW.names if name != "blob"] if columns is None else list(columns)
        unknown = [name for name in names if name not in ROW.names]
        if unknown:
            raise ArgumentError("rows have no such column", got=unknown[0], fix=did_you_mean(unknown[0], ROW.names))
        places = self._unique(group)
        stored = self._read(places, [name for name in names if name not in KEY])
        keys = {
            "group": pa.repeat(group, len(places)),
            "cell": pa.array(places.cell),
            "prompt": pa.array(places.prompt),
        }
        return pa.table({name: keys[name] if name in keys else stored[name] for name in names})

    def failed(self) -> pa.Table:
        """Return the rows that failed and did not succeed since: group, cell, prompt, and the error of the last attempt."""
        return self._failed.table(self._index)

    def blob(self, group: str, cell: int, prompt: int) -> bytes | None:
        """Return the saved result of a row that succeeded; None where there is none."""
        places = self._unique(group)
        which = np.flatnonzero((places.cell == np.uint64(cell)) & (places.prompt == np.uint64(prompt)))
        return self._read(places.take(which), ["blob"])["blob"][0].as_py() if len(which) else None

    def check(self) -> list[str]:
        """Return everything that is wrong with the rows as they are on the disk now; nothing where they are sound.

        Shards are compared with their checksums anew, and rows of the same key with each other, bit by bit.
        """
        self.refresh()
        wrong = [f"{name}: {why}" for name, why in self.damaged if shards.is_shard_name(name) and not self._writing]
        sound = np.ones(len(self._shards), dtype=bool)
        for number, shard in enumerate(self._shards):
            try:
                why = shards.flaw(self._rows / shard.name)
            except FileNotFoundError:
                why = "it was removed since the run was opened"
            if why is not None:
                sound[number] = False
                wrong.append(f"{shard.name}: {why}")
        for group in sorted(self._index):
            places = self._index[group].places()
            wrong += disagreements(
                group, places.take(sound[places.shard]), [shard.name for shard in self._shards], self._read
            )
        return wrong

    def _listed(self) -> list[str]:
        """Return the names in the folder of shards; hidden files are temporary ones, or a file manager's."""
        try:
            return sorted(name for name in os.listdir(self._rows) if not name.startswith("."))  # noqa: PTH208
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ResultError(f"the rows in {self._rows} cannot be read", got=reason_of(error)) from error

    def _open(self, name: str, *, writing: bool) -> bool:
        """Read the keys of a file; return whether its rows count now. A writer puts it aside if they do not."""
        if not shards.is_shard_name(name):
            self._damaged[name] = Damaged(name, "not a shard: it has another name than shards have")
            return False
        try:
            shard = shards.read_keys(self._rows / name)
        except FileNotFoundError:  # another writer put it aside in this moment
            return False
        if isinstance(shard, Shard):
            self._add(shard)
            if not self._writing:  # a writer keeps what it put aside
                self._damaged.pop(name, None)
            return True
        self._damaged[name] = Damaged(name, shard)
        if writing:
            self._put_aside(name)
        return False

    def _put_aside(self, name: str) -> None:
        """Move a damaged shard out of the way; what another writer has put in its place meanwhile goes back."""
        aside = self.folder / "damaged"
        try:
            aside.mkdir(exist_ok=True)
            number, target = 0, aside / name
            while target.exists():
                number, target = number + 1, aside / f"{name}.{number}"
            (self._rows / name).rename(target)
            if shards.flaw(target) is None and isinstance(shards.read_keys(target, name), Shard):
                place(target, self._rows / name)
                target.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ResultError(
                f"the damaged shard {self._rows / name} cannot be put aside", got=reason_of(error), fix="remove it"
            ) from error

    def _add(self, shard: Shard) -> None:
        """Count the rows of a shard."""
        number = len(self._shards)
        self._shards.append(shard)
        self._names.add(shard.name)
        rows = np.arange(len(shard), dtype=np.int32)
        for code, group in enumerate(shard.groups):
            for failed in (False, True):
                which = np.flatnonzero((shard.group == code) & (shard.failed == failed))
                if not len(which):
                    continue
                places = Places(
                    shard.cell[which], shard.prompt[which], np.full(len(which), number, dtype=np.int32), rows[which]
                )
                if failed:
                    self._failed.add(group, places)
                else:
                    self._index[group].add(places)
                    self._once.pop(group, None)

    def _write(self, rows: pa.Table, name: str, attempt: int) -> bool:
        """Write one shard; return False if there is one of this name."""
        path = self._rows / name
        with temporary_beside(path) as temporary:
            shards.write(rows, temporary, name, attempt)
            placed = place(temporary, path)
        if placed:
            keep_names(self._rows)
        return placed

    def _unwritten(self, reason: str) -> ResultError:
        return ResultError(
            f"rows could not be written to {self._rows}", got=reason,
            fix="all rows written before are safe: make room, or mend the folder, and run the same again, which resumes",
        )  # fmt: skip

    def _unique(self, group: str) -> Places:
        """Return where the rows of a group are that succeeded, each key once, in the order of (cell, prompt)."""
        if group not in self._index:
            return NOWHERE
        if group not in self._once:
            places = self._index[group].places()
            (code,) = codes((places.cell, places.prompt))
            order = np.lexsort((ranks([shard.name for shard in self._shards])[places.shard], code))
            self._once[group] = places.take(order[np.unique(code[order], return_index=True)[1]])
        return self._once[group]

    def _read(self, places: Places, columns: Sequence[str]) -> pa.Table:
        """Return columns of rows, in their order."""
        if not len(places) or not columns:
            return pa.schema([ROW.field(name) for name in columns]).empty_table()
        order = np.argsort(places.shard, kind="stable")
        numbers, begin = np.unique(places.shard[order], return_index=True)
        parts = [
            shards.read_columns(self._rows / self._shards[number].name, columns, places.row[which])
            for number, which in zip(numbers, np.split(order, begin[1:]), strict=True)
        ]
        return pa.concat_tables(parts).take(pa.array(np.argsort(order)))
