"""Choose which of many candidates are measured exactly: likely ones by two estimates, and some at random.

The choice uses one half of the pairs only. A gradient proposes candidates that may be used, the association candidates
that may be available and not used. The random ones show what both estimates miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from mechcausal.dictionaries.screening.attribution import attribute
from mechcausal.links.bench import Bench
from mechcausal.links.measure import Available, Readings
from mechcausal.models.binding import bound
from mechcausal.patching.activation import Direction

# Of those that are measured: by gradient, by association; the rest at random.
_BY_GRADIENT, _BY_ASSOCIATION = 0.6, 0.2


def narrowed(
    bench: Bench, readings: Readings, available: Sequence[Available], most: int
) -> tuple[Readings, list[Available], dict[str, Any]]:
    """Return at most `most` features and all other candidates, what is known of them, and how they were chosen.

    The q-values of the associations stay those of the whole family.
    """
    count = len(readings.candidates)
    others = [i for i, candidate in enumerate(readings.candidates) if candidate.site.dictionary is None]
    if count - len(others) <= most:
        return readings, list(available), {"of": count, "measured": count}
    draw = np.random.default_rng([bench.seed, 5])
    gradient = _gradient(bench, readings)
    shares = (_BY_GRADIENT, _BY_ASSOCIATION) if gradient is not None else (0.0, _BY_GRADIENT + _BY_ASSOCIATION)
    least_p = np.min([np.minimum(association.decision.p, association.pooled.p) for association in available], axis=0)
    strength = np.max([np.abs(association.decision.auc - 0.5) for association in available], axis=0)
    by_association = np.lexsort((-strength, least_p))
    kept = dict.fromkeys(others, "kept")
    for how, order, share in (
        ("gradient", np.argsort(-gradient, kind="stable") if gradient is not None else (), shares[0]),
        ("association", by_association, shares[1]),
        ("random", draw.permutation(count), 1 - _BY_GRADIENT - _BY_ASSOCIATION),
    ):
        fresh = [int(number) for number in order if int(number) not in kept]
        kept |= dict.fromkeys(fresh[: round(share * most)], how)
    chosen = np.array(sorted(kept))
    ways = list(kept.values())
    how_many = {f"by {how}": ways.count(how) for how in ("gradient", "association", "random")}
    numbers = {"of": count, "measured": len(chosen), **how_many}
    return readings.take(chosen), [association.take(chosen) for association in available], numbers


def _gradient(bench: Bench, readings: Readings) -> np.ndarray | None:
    """Return the size of the estimated effect of every feature, 0 for other candidates; None where there is no estimate.

    First-order estimates of all features at once need token against token, and an answer that is one token.
    """
    if not bench.pairs.even or bench.metric.forces(bench.base):
        return None
    out = np.zeros(len(readings.candidates))
    names = dict.fromkeys(
        candidate.site.dictionary for candidate in readings.candidates if candidate.site.dictionary is not None
    )
    pairs = bench.pairs.take(bench.split[0].tolist())
    for name in names:
        attribution = attribute(
            bench.model, pairs, bound(bench.model, name),
            direction=cast(Direction, bench.direction), metric=bench.metric, at=bench.where, batch_size=bench.batch_size,
        )  # fmt: skip
        bench.forwards += attribution.forwards
        for number, candidate in enumerate(readings.candidates):
            if candidate.site.dictionary == name and candidate.site.feature is not None:
                out[number] = abs(attribution.scores[0, candidate.site.feature])
    return out
