"""The third step of a link: from measurements to rows, one for each concept and candidate, with the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mechcausal.address import Place
from mechcausal.links.gather import Gathered
from mechcausal.links.measure import Available, Used
from mechcausal.links.measured import Details, Measured
from mechcausal.links.stability import nothing
from mechcausal.links.verdict import Verdict, verdict
from mechcausal.models.binding import bound
from mechcausal.results.table import tabulate

_NO_DETAILS: dict[str, Any] = {
    **dict.fromkeys(("on_probe", "on_probe_low", "on_probe_high"), np.nan),
    **dict.fromkeys(("on_readout", "on_readout_low", "on_readout_high"), np.nan),
    "other_probe": "", "on_other_probe": np.nan, "worst_group": "", "worst_group_share": np.nan, "kl_neutral": np.nan,
    "peers_low": np.nan, "peers_high": np.nan, "peers_percentile": np.nan, "peers": 0,
}  # fmt: skip


def judge(gathered: Gathered, measured: Measured) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table, and the metric of every example behind it; pairs that do not judge a concept have NaN there."""
    bench, readings = gathered.bench, measured.readings
    estimated = bench.split[1]
    base = bench.unedited[0]
    rows, examples = [], []
    for available, used in zip(measured.available, measured.judged, strict=True):
        concept = available.concept
        of_concept = concept.judged(estimated)
        at_random = {site: bench.shares(change, of_concept).share for site, change in measured.drawn.items()}
        counted = np.where(np.isin(estimated, of_concept), 0.0, np.nan)
        for number, candidate in enumerate(readings.candidates):
            site = candidate.site
            written = bound(bench.model, site.dictionary).written if site.dictionary else None
            random = at_random[written] if written in at_random else np.array([np.nan])
            turned = np.array([np.nan])
            if number in measured.turned:
                turned = bench.shares(measured.turned[number], of_concept).share
            row = Place(site, bench.where).row()
            row |= {"concept": concept.name, "candidate": candidate.name, "kind": candidate.kind}
            row |= {"feature": site.feature, "frequency": readings.frequency[number]}
            row |= _association(available, number) | _effect(used, number)
            row |= {"random_low": np.min(random), "random_high": np.max(random)}
            row |= {"turned_low": np.min(turned), "turned_high": np.max(turned)}
            row |= _details(measured.details, number, concept.name)
            word = _verdict(measured, available, used, number, random, turned)
            rows.append(row | {"verdict": word.word, "why": word.why})
            examples.append((base + used.change[number])[estimated] + counted)
    values = np.stack(examples)
    clean, corrupt = bench.unedited if bench.direction == "noise" else bench.unedited[::-1]
    baselines = {"base": base[estimated], "clean": clean[estimated], "corrupt": corrupt[estimated]}
    return tabulate(rows, values, baselines, tuple(np.asarray(bench.clusters)[estimated])), values


def _verdict(
    measured: Measured, available: Available, used: Used, number: int, random: np.ndarray, turned: np.ndarray
) -> Verdict:
    share = abs(used.estimate.share[number])
    # NaN, where there are no random directions, is never exceeded.
    like_random = bool(share <= np.abs(random).max() and share <= np.abs(turned).max())
    dictionary = measured.complete.get(measured.readings.candidates[number].site.dictionary or "")
    incomplete = None if dictionary is None else dictionary.blocked
    return verdict(
        str(available.answer[number]), str(used.answer[number]),
        blocked=measured.total.blocked or available.concept.blocked or incomplete,
        like_random=like_random, fragile=bool(used.fragile[number]),
    )  # fmt: skip


def _association(available: Available, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    places = (("auc", available.decision, available.q_decision), ("auc_pooled", available.pooled, available.q_pooled))
    for name, association, q in places:
        row |= {name: association.auc[number], f"{name}_low": association.low[number]}
        row |= {f"{name}_high": association.high[number], f"{name}_p": association.p[number], f"{name}_q": q[number]}
    return row | {"available": str(available.answer[number])}


def _effect(used: Used, number: int) -> dict[str, Any]:
    estimate = used.estimate
    row = {"share": estimate.share[number], "share_low": estimate.low[number], "share_high": estimate.high[number]}
    row |= {"share_p": estimate.p[number], "share_q": estimate.q[number], "share_other_half": used.other.share[number]}
    return row | {"used": str(used.answer[number])}


def _details(details: Details, number: int, concept: str) -> dict[str, Any]:
    """Return the columns of one candidate; they are empty for candidates whose details were not measured."""
    if number not in details.numbers:
        return _NO_DETAILS | nothing()
    i = details.numbers.index(number)
    row: dict[str, Any] = {}
    others: dict[str, float] = {}
    for judge_, shares in zip(details.judges, details.on_probes, strict=True):
        if judge_.concept == concept:
            name = "on_probe" if judge_.given else "on_readout"
            row |= {name: shares.share[i], f"{name}_low": shares.low[i], f"{name}_high": shares.high[i]}
        elif not judge_.given and np.isfinite(shares.share[i]):
            others[judge_.concept] = float(shares.share[i])
    largest = max(others, key=lambda name: abs(others[name]), default="")
    peers = details.peers[i]
    row |= {"other_probe": largest, "on_other_probe": others.get(largest, np.nan)}
    row |= {"worst_group": details.groups[i][0], "worst_group_share": details.groups[i][1], "kl_neutral": details.kl[i]}
    row |= {
        "peers_low": peers.low,
        "peers_high": peers.high,
        "peers_percentile": peers.percentile,
        "peers": peers.count,
    }
    return _NO_DETAILS | row | details.stable[concept][i]
