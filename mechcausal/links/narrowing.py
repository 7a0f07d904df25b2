"""Which of many candidates are measured exactly: likely ones by two estimates, and some drawn at random.

All of it looks at the half to choose by alone. A gradient proposes what may be used, the association what may be told
and not used; neither is trusted, and the random ones show what the estimates pass over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from mechcausal.dictionaries.screening.attribution import attribute
from mechcausal.links.bench import Bench
from mechcausal.links.measure import Available, Held
from mechcausal.models.binding import bound
from mechcausal.patching.activation import Direction

# Of those that are measured: by gradient, by association; the rest at random.
_BY_GRADIENT, _BY_ASSOCIATION = 0.6, 0.2


def narrowed(
    bench: Bench, held: Held, available: Sequence[Available], most: int, direction: str
) -> tuple[Held, list[Available], dict[str, Any]]:
    """Return at most `most` candidates, what is known of them, and how they were chosen.

    The q-values of the associations stay those of the whole family.
    """
    count = len(held.candidates)
    if count <= most:
        return held, list(available), {"of": count, "measured": count}
    draw = np.random.default_rng([bench.seed, 5])
    gradient = _gradient(bench, held, direction)
    told = np.min([np.minimum(one.decision.p, one.pooled.p) for one in available], axis=0)
    strength = np.max([np.abs(one.decision.auc - 0.5) for one in available], axis=0)
    by_association = np.lexsort((-strength, told))
    kept: dict[int, str] = {}
    for how, order, share in (
        ("gradient", np.argsort(-gradient, kind="stable"), _BY_GRADIENT),
        ("association", by_association, _BY_ASSOCIATION),
        ("random", draw.permutation(count), 1 - _BY_GRADIENT - _BY_ASSOCIATION),
    ):
        fresh = [int(number) for number in order if int(number) not in kept]
        kept |= dict.fromkeys(fresh[: round(share * most)], how)
    chosen = np.array(sorted(kept))
    ways = list(kept.values())
    how_many = {f"by {how}": ways.count(how) for how in ("gradient", "association", "random")}
    told_of = {"of": count, "measured": len(chosen), **how_many}
    return held.take(chosen), [one.take(chosen) for one in available], told_of


def _gradient(bench: Bench, held: Held, direction: str) -> np.ndarray:
    """Return the size of the estimated effect of every candidate; what is no feature is always measured."""
    out = np.full(len(held.candidates), np.inf)
    names = dict.fromkeys(one.site.dictionary for one in held.candidates if one.site.dictionary is not None)
    pairs = bench.pairs.take(bench.split[0].tolist())
    for name in names:
        found = attribute(
            bench.model, pairs, bound(bench.model, name),
            direction=cast(Direction, direction), metric=bench.metric, at=bench.where, batch_size=bench.batch_size,
        )  # fmt: skip
        bench.forwards += found.forwards
        for number, one in enumerate(held.candidates):
            if one.site.dictionary == name and one.site.feature is not None:
                out[number] = abs(found.scores[0, one.site.feature])
    return out
