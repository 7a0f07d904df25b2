"""A set of candidates chosen on one half of the pairs, and what it does together on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mechcausal.interventions.specs import Edit
from mechcausal.links.bench import ESTIMATE, Bench
from mechcausal.links.measure import Readings, Used

_LARGEST_SET = 8
MOST_SETS = 10


def chosen_set(bench: Bench, readings: Readings, used: Used, judged: Sequence[Used], random: int) -> dict[str, Any]:
    """Choose candidates on one half, and estimate on the other what they do together.

    A candidate is chosen if its effect on the first half is beyond the smallest one of interest for any concept, largest
    first. One that lies inside another (a head of a chosen activation) is left out. Random sets of the same size are
    measured for comparison.
    """
    beyond = np.any([effects.other.beyond(bench.fdr) for effects in judged], axis=0)
    size = np.max([np.nan_to_num(np.abs(effects.other.share)) for effects in judged], axis=0)
    order = [int(i) for i in np.argsort(-size, kind="stable") if beyond[i]]
    chosen: list[int] = []
    for number in order:
        inside = {readings.candidates[i].site for i in chosen}
        if readings.candidates[number].site.whole not in inside and len(chosen) < _LARGEST_SET:
            chosen.append(number)
    if not chosen:
        return {"members": []}
    draw = np.random.default_rng([bench.seed, 4])
    rest = [number for number in range(len(readings.candidates)) if number not in chosen]
    count = min(random, MOST_SETS) if len(rest) >= len(chosen) else 0
    sets = [draw.permutation(rest)[: len(chosen)].tolist() for _ in range(count)]
    cells = [_together(bench, readings, members) for members in (chosen, *sets)]
    together = bench.shares(bench.changes(cells, "chosen set"), bench.split[ESTIMATE])
    random_shares = together.share[1:]
    return {
        "members": [readings.candidates[number].name for number in chosen],
        "share": float(together.share[0]), "share_low": float(together.low[0]), "share_high": float(together.high[0]),
        "sum_of_singles": float(used.estimate.share[chosen].sum()),
        "share_where_chosen": float(used.other.share[chosen].sum()),
        "random_sets": len(sets),
        "random_low": float(random_shares.min()) if sets else np.nan,
        "random_high": float(random_shares.max()) if sets else np.nan,
    }  # fmt: skip


def _together(bench: Bench, readings: Readings, numbers: Sequence[int]) -> tuple[Edit, ...]:
    return tuple(readings.candidates[number].edit(bench.do, bench.where) for number in numbers)
