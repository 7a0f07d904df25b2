"""Stability of features: is each found in another dictionary, and used in the same way? Decoder rows match one to one.

The others are the companions in a dictionary's folder (other seeds, halves of the data) and those that the caller names.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from mechcausal.dictionaries.companions import Companion
from mechcausal.dictionaries.companions import found as companions_in
from mechcausal.dictionaries.loading import load
from mechcausal.interventions.specs import Edit
from mechcausal.links.bench import Bench
from mechcausal.links.candidates import Candidate
from mechcausal.links.concepts import Concept
from mechcausal.models.binding import Bound, bound, detach

ALIKE = 0.7  # the least cosine of two features that are called the same
KINDS = ("seed", "half", "other")


@dataclass(frozen=True, eq=False)
class Counterparts:
    """The counterparts of some candidates in one other dictionary.

    Attributes:
        dictionary: Its name.
        kind: What is other about it: the seed, the half of the data, or something that the caller knows.
        digest: The digest of its weights.
        of_dictionary: The dictionary whose features are looked for.
        cosine: How alike the decoder directions are, [candidate]; NaN where there is no counterpart.
        change: What the counterpart changes, [candidate pair].
    """

    dictionary: str
    kind: Literal["seed", "half", "other"]
    digest: str
    of_dictionary: str
    cosine: np.ndarray
    change: np.ndarray


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of every row of the first matrix with every row of the second; rows of zeros match nothing."""
    a, b = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (first, second))
    return a @ b.T


def matched(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match rows one to one so that the sum of cosines is largest (Hungarian); return partners and cosines.

    A row of the first matrix without a partner, because the second has fewer, has -1 and NaN.
    """
    alike = cosines(first, second)
    rows, columns = linear_sum_assignment(-alike)
    partner, cosine = np.full(len(first), -1), np.full(len(first), np.nan)
    partner[rows], cosine[rows] = columns, alike[rows, columns]
    return partner, cosine


def companions_of(model: Any, candidates: Sequence[Candidate]) -> dict[str, list[Companion]]:  # noqa: ANN401
    """Return the companions that lie in the folders of these candidates' dictionaries."""
    names = dict.fromkeys(
        candidate.site.dictionary
        for candidate in candidates
        if candidate.kind == "feature" and candidate.site.dictionary
    )
    folders = {name: bound(model, name).folder for name in names}
    return {name: companions_in(folder) for name, folder in folders.items() if folder is not None}


def stability(
    bench: Bench,
    alive: Sequence[Candidate],
    survivors: Sequence[Candidate],
    others: Sequence[Bound],
    companions: Mapping[str, Sequence[Companion]],
) -> list[Counterparts]:
    """Find the counterpart of every survivor in the other dictionaries, and measure its effect.

    Args:
        bench: The model and the pairs.
        alive: The candidates that are matched, so that no two survivors get the same counterpart.
        survivors: Those whose counterparts are measured.
        others: Other dictionaries at the same places.
        companions: Those that came with each dictionary.
    """
    out: list[Counterparts] = []
    for name in dict.fromkeys(candidate.site.dictionary for candidate in survivors if candidate.kind == "feature"):
        assert name is not None  # features belong to dictionaries
        dictionary = bound(bench.model, name)
        place = dictionary.site, dictionary.site_out
        theirs = [other for other in others if (other.site, other.site_out) == place and other.name != name]
        out += [_counterparts(bench, alive, survivors, dictionary, other, "other") for other in theirs]
        digests = {dictionary.digest, *(other.digest for other in theirs)}
        for companion in companions.get(name, ()):
            with _for_now(bench, dictionary, companion) as other:
                if other is not None and other.digest not in digests:
                    out.append(_counterparts(bench, alive, survivors, dictionary, other, companion.kind))
    return out


@contextmanager
def _for_now(bench: Bench, dictionary: Bound, companion: Companion) -> Generator[Bound | None]:
    """Attach a companion and detach it again; None where its training is not finished."""
    if not companion.finished:
        yield None
        return
    other = load(bench.model, companion.path, name=f"{dictionary.name}-{companion.name}")
    try:
        yield other
    finally:
        detach(bench.model, other.name)


def _counterparts(
    bench: Bench,
    alive: Sequence[Candidate],
    survivors: Sequence[Candidate],
    dictionary: Bound,
    other: Bound,
    kind: Literal["seed", "half", "other"],
) -> Counterparts:
    members = [member for member in alive if member.site.dictionary == dictionary.name]
    weight = dictionary.W_dec.cpu().numpy()[[member.site.feature or 0 for member in members]]
    partner, alike = matched(weight, other.W_dec.cpu().numpy())
    place = {member: i for i, member in enumerate(members) if partner[i] >= 0}
    there = [i for i, member in enumerate(survivors) if member in place]
    cells = [(Edit(other.feature(int(partner[place[survivors[i]]])), bench.do, bench.where),) for i in there]
    cosine, change = np.full(len(survivors), np.nan), np.full((len(survivors), len(bench.pairs)), np.nan)
    cosine[there] = [alike[place[survivors[i]]] for i in there]
    change[there] = bench.changes(cells, "other dictionaries")
    return Counterparts(other.name, kind, other.digest, dictionary.name, cosine, change)


def columns(
    bench: Bench,
    survivors: Sequence[Candidate],
    counterparts: Sequence[Counterparts],
    concept: Concept,
    share: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the columns on the counterparts of each survivor.

    A feature is replicated where its counterpart is alike, and moves the behavior in the same direction by more than the
    smallest effect of interest.

    Args:
        bench: The model and the pairs.
        survivors: The candidates.
        counterparts: Their counterparts in other dictionaries.
        concept: What they are judged for.
        share: The share of each survivor.
    """
    replicated = {}
    for other in counterparts:
        theirs = bench.shares(other.change, concept.judged(bench.split[1]))
        same = np.nan_to_num(theirs.share) * np.nan_to_num(share) > 0
        replicated[other] = theirs.beyond(bench.fdr) & same & (np.nan_to_num(other.cosine) >= ALIKE)
    rows: list[dict[str, Any]] = []
    for i, candidate in enumerate(survivors):
        mine = [
            other
            for other in counterparts
            if candidate.kind == "feature" and other.of_dictionary == candidate.site.dictionary
        ]
        row = _NONE | {"matched_in": len(mine), "matched_used": sum(bool(replicated[other][i]) for other in mine)}
        for kind in KINDS:
            alike = [other for other in mine if other.kind == kind]
            row |= {f"{kind}_in": len(alike), f"{kind}_used": sum(bool(replicated[other][i]) for other in alike)}
        cosines_known = [other.cosine[i] for other in mine if np.isfinite(other.cosine[i])]
        rows.append(row | ({"matched_cosine": float(min(cosines_known))} if cosines_known else {}))
    return rows


_NONE: dict[str, Any] = {
    "matched_in": 0, "matched_cosine": np.nan, "matched_used": 0,
    **{f"{kind}_{word}": 0 for kind in KINDS for word in ("in", "used")},
}  # fmt: skip


def nothing() -> dict[str, Any]:
    """Return the columns of a candidate whose counterparts were not looked for."""
    return dict(_NONE)


def summary_of(
    counterparts: Sequence[Counterparts], candidates: Sequence[Candidate], companions: Mapping[str, Sequence[Companion]]
) -> dict[str, Any]:
    """Return which dictionaries were compared, as JSON data."""
    return {
        "features": any(other.kind == "feature" for other in candidates),
        "alike": ALIKE,
        **{kind: [other.dictionary for other in counterparts if other.kind == kind] for kind in KINDS},
        "unfinished": [
            f"{name}-{other.name}" for name, some in companions.items() for other in some if not other.finished
        ],
    }


def check_others(model: Any, others: Sequence[Bound | str]) -> list[Bound]:  # noqa: ANN401 - a TransformerBridge
    """Return the dictionaries that are meant; each is attached to this model."""
    out = []
    for other in others:
        out.append(bound(model, other if isinstance(other, str) else other.name))
    return out
