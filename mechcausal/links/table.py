"""From measurements to rows: one for each candidate and concept, with the verdict; and the set chosen by one half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.address import Place, Site
from mechcausal.interventions.specs import Edit
from mechcausal.links.bench import Bench
from mechcausal.links.ceilings import Completeness
from mechcausal.links.measure import Available, Held, Used
from mechcausal.links.nulls import Peers, Total
from mechcausal.links.specificity import Judge
from mechcausal.links.stability import nothing
from mechcausal.links.verdict import verdict
from mechcausal.models.binding import bound
from mechcausal.results.shares import Shares
from mechcausal.results.table import tabulate

_LARGEST_SET = 8


@dataclass(frozen=True)
class Details:
    """What was measured of some candidates alone.

    Attributes:
        numbers: Which candidates.
        turned: What directions turned at random change that move as far as a candidate, [copy pair] for each that is
            used.
        judges: The probes that were followed.
        on_probes: For each of them the share of its total effect that each candidate moves.
        groups: The group each moves most, and how far.
        kl: What removing each does to neutral text.
        stable: What the table says of the counterparts of each in other dictionaries, by concept.
        peers: Others of its kind.
    """

    numbers: tuple[int, ...]
    turned: Mapping[int, np.ndarray]
    judges: tuple[Judge, ...]
    on_probes: tuple[Shares, ...]
    groups: tuple[tuple[str, float], ...]
    kl: np.ndarray
    stable: Mapping[str, list[dict[str, Any]]]
    peers: tuple[Peers, ...]

    def row(self, number: int, concept: str) -> dict[str, Any]:
        """Return the columns of one candidate; nothing is known of those that were left out."""
        if number not in self.numbers:
            return _NOTHING | nothing()
        i = self.numbers.index(number)
        told: dict[str, Any] = {}
        for judge, found in zip(self.judges, self.on_probes, strict=True):
            if judge.concept == concept:
                name = "on_probe" if judge.given else "on_readout"
                told |= {name: found.share[i], f"{name}_low": found.low[i], f"{name}_high": found.high[i]}
        others = {
            judge.concept: float(found.share[i])
            for judge, found in zip(self.judges, self.on_probes, strict=True)
            if judge.concept != concept and not judge.given and np.isfinite(found.share[i])
        }
        worst = max(others, key=lambda name: abs(others[name]), default="")
        told |= {"other_probe": worst, "on_other_probe": others.get(worst, np.nan)}
        told |= {"worst_group": self.groups[i][0], "worst_group_share": self.groups[i][1], "kl_neutral": self.kl[i]}
        peers = self.peers[i]
        told |= {"peers_low": peers.low, "peers_high": peers.high, "peers_percentile": peers.percentile}
        return _NOTHING | told | {"peers": peers.count} | self.stable[concept][i]


_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("on_probe", "on_probe_low", "on_probe_high"), np.nan),
    **dict.fromkeys(("on_readout", "on_readout_low", "on_readout_high"), np.nan),
    "other_probe": "", "on_other_probe": np.nan, "worst_group": "", "worst_group_share": np.nan, "kl_neutral": np.nan,
    "peers_low": np.nan, "peers_high": np.nan, "peers_percentile": np.nan, "peers": 0,
}  # fmt: skip


def frame_of(
    bench: Bench,
    held: Held,
    available: Sequence[Available],
    judged: Sequence[Used],
    total: Total,
    complete: Mapping[str, Completeness],
    drawn: Mapping[Site, np.ndarray],
    details: Details,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table, one row for each concept and candidate, and the metric of every example behind it.

    Pairs by which a concept is not judged have NaN there.
    """
    rows, examples = [], []
    estimated = bench.split[1]
    base = bench.unedited[0]
    for concept, used in zip(available, judged, strict=True):
        of_it = concept.concept.judged(estimated)
        at_random = {site: bench.shares(change, of_it).share for site, change in drawn.items()}
        seen = np.where(np.isin(estimated, of_it), 0.0, np.nan)
        for number, one in enumerate(held.candidates):
            place = Place(one.site, bench.where).row()
            row = {**place, "concept": concept.concept.name, "candidate": one.name, "kind": one.kind}
            row |= {"feature": one.site.feature, "frequency": held.frequency[number]}
            row |= _association(concept, number) | _effect(used, number)
            written = bound(bench.model, one.site.dictionary).written if one.site.dictionary else None
            nothing = np.array([np.nan])
            random = nothing if written is None else at_random.get(written, nothing)
            turned = bench.shares(details.turned[number], of_it).share if number in details.turned else nothing
            row |= {"random_low": np.min(random), "random_high": np.max(random)}
            row |= {"turned_low": np.min(turned), "turned_high": np.max(turned)}
            share = abs(used.estimate.share[number])
            like_random = bool(share <= np.abs(random).max() and share <= np.abs(turned).max())  # never where not asked
            there = complete.get(one.site.dictionary or "")
            incomplete = None if there is None else there.blocked
            found = verdict(
                str(concept.answer[number]), str(used.answer[number]), blocked=total.blocked or concept.concept.blocked or incomplete,
                like_random=like_random, fragile=bool(used.fragile[number]),
            )  # fmt: skip
            row |= details.row(number, concept.concept.name)
            rows.append(row | {"verdict": found.word, "why": found.why})
            examples.append((base + used.change[number])[estimated] + seen)
    values = np.stack(examples)
    clean, corrupt = bench.unedited if bench.base is bench.pairs.clean else bench.unedited[::-1]
    baselines = {"base": base[estimated], "clean": clean[estimated], "corrupt": corrupt[estimated]}
    return tabulate(rows, values, baselines, tuple(np.asarray(bench.clusters)[estimated])), values


def _association(found: Available, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, one, q in (("auc", found.decision, found.q_decision), ("auc_pooled", found.pooled, found.q_pooled)):
        row |= {name: one.auc[number], f"{name}_low": one.low[number], f"{name}_high": one.high[number]}
        row |= {f"{name}_p": one.p[number], f"{name}_q": q[number]}
    return row | {"available": str(found.answer[number])}


def _effect(used: Used, number: int) -> dict[str, Any]:
    one = used.estimate
    row = {"share": one.share[number], "share_low": one.low[number], "share_high": one.high[number]}
    row |= {"share_p": one.p[number], "share_q": one.q[number], "share_other_half": used.other.share[number]}
    return row | {"used": str(used.answer[number])}


def chosen_set(bench: Bench, held: Held, used: Used, judged: Sequence[Used], random: int) -> dict[str, Any]:
    """Choose candidates by one half, and estimate on the other what they do together, over all pairs.

    Chosen are those whose effect on the half to choose by is beyond the smallest one of interest for any concept, the
    largest first; none that lies within another (a head of a chosen activation). What random sets of the same size do
    stands beside it.
    """
    beyond = np.any([one.other.beyond(bench.fdr) for one in judged], axis=0)
    size = np.max([np.nan_to_num(np.abs(one.other.share)) for one in judged], axis=0)
    order = [int(i) for i in np.argsort(-size, kind="stable") if beyond[i]]
    chosen: list[int] = []
    for number in order:
        inside = {held.candidates[i].site for i in chosen}
        if held.candidates[number].site.whole not in inside and len(chosen) < _LARGEST_SET:
            chosen.append(number)
    if not chosen:
        return {"members": []}
    draw = np.random.default_rng([bench.seed, 4])
    rest = [number for number in range(len(held.candidates)) if number not in chosen]
    sets = [draw.permutation(rest)[: len(chosen)].tolist() for _ in range(random)] if len(rest) >= len(chosen) else []
    cells = [_together(bench, held, members) for members in (chosen, *sets)]
    found = bench.shares(bench.changes(cells), bench.split[1])
    random_shares = found.share[1:]
    return {
        "members": [held.candidates[number].name for number in chosen],
        "share": float(found.share[0]), "share_low": float(found.low[0]), "share_high": float(found.high[0]),
        "sum_of_singles": float(used.estimate.share[chosen].sum()),
        "share_where_chosen": float(used.other.share[chosen].sum()),
        "random_sets": len(sets),
        "random_low": float(random_shares.min()) if sets else np.nan,
        "random_high": float(random_shares.max()) if sets else np.nan,
    }  # fmt: skip


def _together(bench: Bench, held: Held, numbers: Sequence[int]) -> tuple[Edit, ...]:
    return tuple(held.candidates[number].edit(bench.do, bench.where) for number in numbers)
