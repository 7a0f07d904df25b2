"""Rows that failed: how often each was tried, and what the last attempt said, unless it has succeeded since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from mechcausal.runs.index import NOWHERE, Index, Places, codes, ranks
from mechcausal.runs.shards import KEY, ROW, Shard

FAILED = pa.schema([ROW.field(name) for name in (*KEY, "error")])


class Failures:
    """The rows that failed, by group.

    Args:
        shards: All shards, by the numbers that places name; the list grows.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._places: defaultdict[str, list[Places]] = defaultdict(list)

    def add(self, group: str, places: Places) -> None:
        """Add rows of a group; a key may be added again."""
        self._places[group].append(places)

    def attempts(self, shard: Shard) -> int:
        """Return how often the rows that failed in a new shard have failed before, at most."""
        most = 0
        for code, group in enumerate(shard.groups):
            before = Places.joined([NOWHERE, *self._places.get(group, [])])
            now = shard.failed & (shard.group == code)
            earlier, present = codes((before.cell, before.prompt), (shard.cell[now], shard.prompt[now]))
            again = np.unique(before.shard[np.isin(earlier, present)])
            most = max([most, *(self._shards[number].attempt for number in again)])
        return most

    def table(self, succeeded: Mapping[str, Index]) -> pa.Table:
        """Return what failed and did not succeed, each key once with the error of its last attempt, in the order of keys."""
        parts = [self._of(group, succeeded.get(group, Index())) for group in sorted(self._places)]
        return pa.concat_tables([FAILED.empty_table(), *parts])

    def _of(self, group: str, index: Index) -> pa.Table:
        places, better = Places.joined(self._places[group]), index.places()
        failed, succeeded = codes((places.cell, places.prompt), (better.cell, better.prompt))
        left = ~np.isin(failed, succeeded)
        places, failed = places.take(left), failed[left]
        # Two writers may have made the same attempt: of these the name decides, so that every reader says the same.
        rank = ranks([(shard.attempt, shard.name) for shard in self._shards])
        order = np.lexsort((-rank[places.shard], failed))
        places = places.take(order[np.unique(failed[order], return_index=True)[1]])
        said = [self._shards[number].error(row) for number, row in zip(places.shard, places.row, strict=True)]
        keys = {"group": [group] * len(places), "cell": places.cell, "prompt": places.prompt}
        return pa.table({**keys, "error": said}, schema=FAILED)
