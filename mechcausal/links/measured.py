"""The second step of a link: every number that is measured, from one recording of both sides of the pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mechcausal.address import Site
from mechcausal.links import nulls, specificity, stability
from mechcausal.links.ceilings import Completeness, baselines, completeness, ranges
from mechcausal.links.chosen import chosen_set
from mechcausal.links.gather import Gathered
from mechcausal.links.measure import Available, Readings, Used, availability, use
from mechcausal.links.narrowing import narrowed
from mechcausal.links.stability import Counterparts
from mechcausal.links.total import Total, total_effect
from mechcausal.links.verdict import YES
from mechcausal.results.redraws import check_networks
from mechcausal.results.shares import Shares

if TYPE_CHECKING:
    from mechcausal.links.linking import Linking


@dataclass(frozen=True)
class Details:
    """What was measured of some candidates alone.

    Attributes:
        numbers: Which candidates.
        judges: The probes that were followed.
        on_probes: For each of them the share of its total effect that each candidate moves.
        groups: The group each moves most, and how far.
        kl: What removing each does to neutral text.
        stable: The columns on the counterparts of each in other dictionaries, by concept.
        peers: Others of its kind.
    """

    numbers: tuple[int, ...]
    judges: tuple[specificity.Judge, ...]
    on_probes: tuple[Shares, ...]
    groups: tuple[tuple[str, float], ...]
    kl: np.ndarray
    stable: Mapping[str, list[dict[str, Any]]]
    peers: tuple[nulls.Peers, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """Every number of a link.

    Attributes:
        readings: The candidates that are measured, and what they hold.
        available: The associations, one entry for each concept.
        family: How candidates were narrowed down.
        used: The effects over all pairs.
        judged: The effects over the pairs by which each concept is judged.
        total: The total effect against redrawn networks.
        ceilings: Rows of reference effects.
        complete: How much of its place each dictionary carries.
        drawn: What random directions at the place of each dictionary change, [copy pair].
        turned: What turned copies of candidates that are used change, [copy pair] by candidate.
        details: What was measured of some candidates alone.
        counterparts: The counterparts of some candidates in other dictionaries.
        chosen: The set chosen on one half, and its effect on the other.
    """

    readings: Readings
    available: Sequence[Available]
    family: Mapping[str, Any]
    used: Used
    judged: Sequence[Used]
    total: Total
    ceilings: list[dict[str, Any]]
    complete: Mapping[str, Completeness]
    drawn: Mapping[Site, np.ndarray]
    turned: Mapping[int, np.ndarray]
    details: Details
    counterparts: Sequence[Counterparts]
    chosen: Mapping[str, Any]


def measure(asked: Linking, gathered: Gathered) -> Measured:
    """Measure what is available on one half of the pairs and what is used on the other; then nulls and references."""
    check_networks(asked.redrawn)
    bench, concepts = gathered.bench, gathered.concepts
    readings = gathered.readings()
    available = availability(bench, readings, concepts, asked.smallest_association)
    readings, available, family = narrowed(bench, readings, available, asked.most)
    used, judged = use(bench, readings.candidates, concepts)
    total = total_effect(bench, asked.redrawn)
    ceilings, complete = completeness(bench, readings.candidates)
    drawn = nulls.random_directions(bench, readings.candidates, asked.random)
    moving = np.flatnonzero(np.any([effects.answer == YES for effects in (used, *judged)], axis=0)).tolist()
    turned = dict(zip(moving, nulls.turned(bench, [readings.candidates[i] for i in moving], asked.random), strict=True))
    ceilings += [*ranges(bench, drawn), *baselines(bench, readings.candidates, concepts, gathered.read_at)]
    details, counterparts = _details(asked, gathered, readings, available, used, judged)
    return Measured(
        readings, available, family, used, judged, total, ceilings, complete, drawn, turned, details, counterparts,
        chosen_set(bench, readings, used, judged, asked.random),
    )  # fmt: skip


def _details(
    asked: Linking,
    gathered: Gathered,
    readings: Readings,
    available: Sequence[Available],
    used: Used,
    judged: Sequence[Used],
) -> tuple[Details, list[Counterparts]]:
    bench = gathered.bench
    numbers = _of_interest(available, judged, asked.details)
    chosen = [readings.candidates[number] for number in numbers]
    counterparts = stability.stability(bench, readings.candidates, chosen, gathered.others, gathered.companions)
    stable = {
        concept.name: stability.columns(bench, chosen, counterparts, concept, effects.estimate.share[numbers])
        for concept, effects in zip(gathered.concepts, judged, strict=True)
    }
    judges = specificity.judges(bench, gathered.followed, gathered.read_at) if numbers else []
    details = Details(
        numbers=tuple(numbers),
        judges=tuple(judges),
        on_probes=tuple(specificity.on_probes(bench, chosen, judges)),
        groups=tuple(specificity.worst_groups(bench, used.change[numbers])),
        kl=specificity.on_neutral_text(bench, chosen, asked.neutral),
        stable=stable,
        peers=tuple(
            nulls.peers(readings.candidates, readings.frequency, used.estimate.share, number, asked.random)
            for number in numbers
        ),
    )
    return details, counterparts


def _of_interest(available: Sequence[Available], judged: Sequence[Used], count: int) -> list[int]:
    """Return the candidates that are used or available, the largest effects first, at most `count`."""
    of_interest = np.any([u.answer == YES for u in judged] + [a.yes for a in available], axis=0)
    size = np.max([np.nan_to_num(np.abs(effects.estimate.share)) for effects in judged], axis=0)
    order = np.argsort(-size, kind="stable")
    return [int(number) for number in order if of_interest[number]][:count]
