"""Is a feature there in another dictionary too, and does it do the same? Decoder directions matched one to one.

The others are the companions in a dictionary's folder (other seeds, halves of the data) and those that the caller names.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from mechcausal.dictionaries.companions import Companion, found
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


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of every row of one with every row of the other; rows of zeros match nothing."""
    sizes = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other)]
    a, b = (rows / np.maximum(size, 1e-12) for rows, size in zip((one, other), sizes, strict=True))
    return a @ b.T


def matched(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match rows one to one so that the sum of cosines is largest (Hungarian); return partners and cosines.

    A row without a partner, where the other has fewer, has -1 and NaN.
    """
    alike = cosines(one, other)
    rows, columns = linear_sum_assignment(-alike)
    partner, cosine = np.full(len(one), -1), np.full(len(one), np.nan)
    partner[rows], cosine[rows] = columns, alike[rows, columns]
    return partner, cosine


def companions_of(model: Any, candidates: Sequence[Candidate]) -> dict[str, list[Companion]]:  # noqa: ANN401
    """Return the companions that lie in the folders of these candidates' dictionaries."""
    names = dict.fromkeys(one.site.dictionary for one in candidates if one.kind == "feature" and one.site.dictionary)
    folders = {name: bound(model, name).folder for name in names}
    return {name: found(folder) for name, folder in folders.items() if folder is not None}


def stability(
    bench: Bench,
    alive: Sequence[Candidate],
    survivors: Sequence[Candidate],
    others: Sequence[Bound],
    companions: Mapping[str, Sequence[Companion]],
) -> list[Counterparts]:
    """Find every survivor in the other dictionaries, among all that is alive, and measure what is found there.

    Args:
        bench: The model and the pairs.
        alive: The candidates that are matched, so that no two survivors get the same counterpart.
        survivors: Those whose counterparts are measured.
        others: Other dictionaries at the same places.
        companions: Those that came with each dictionary.
    """
    out: list[Counterparts] = []
    for name in dict.fromkeys(one.site.dictionary for one in survivors if one.kind == "feature"):
        assert name is not None  # features belong to dictionaries
        own = bound(bench.model, name)
        theirs = [one for one in others if (one.site, one.site_out) == (own.site, own.site_out) and one.name != name]
        out += [_counterparts(bench, alive, survivors, own, other, "other") for other in theirs]
        known = {own.digest, *(one.digest for one in theirs)}
        for one in companions.get(name, ()):
            with _for_now(bench, own, one) as other:
                if other is not None and other.digest not in known:
                    out.append(_counterparts(bench, alive, survivors, own, other, one.kind))
    return out


@contextmanager
def _for_now(bench: Bench, own: Bound, one: Companion) -> Generator[Bound | None]:
    """Attach a companion and take it away again; there is none where its training has not come to its end."""
    if not one.finished:
        yield None
        return
    other = load(bench.model, one.path, name=f"{own.name}-{one.name}")
    try:
        yield other
    finally:
        detach(bench.model, other.name)


def _counterparts(
    bench: Bench,
    alive: Sequence[Candidate],
    survivors: Sequence[Candidate],
    own: Bound,
    other: Bound,
    kind: Literal["seed", "half", "other"],
) -> Counterparts:
    members = [one for one in alive if one.site.dictionary == own.name]
    weight = own.W_dec.cpu().numpy()[[one.site.feature or 0 for one in members]]
    partner, alike = matched(weight, other.W_dec.cpu().numpy())
    place = {one: i for i, one in enumerate(members) if partner[i] >= 0}
    there = [i for i, one in enumerate(survivors) if one in place]
    cells = [(Edit(other.feature(int(partner[place[survivors[i]]])), bench.do, bench.where),) for i in there]
    cosine, change = np.full(len(survivors), np.nan), np.full((len(survivors), len(bench.pairs)), np.nan)
    cosine[there] = [alike[place[survivors[i]]] for i in there]
    change[there] = bench.changes(cells, "other dictionaries")
    return Counterparts(other.name, kind, other.digest, own.name, cosine, change)


def columns(
    bench: Bench, survivors: Sequence[Candidate], found: Sequence[Counterparts], concept: Concept, share: np.ndarray
) -> list[dict[str, Any]]:
    """Return what a table says of the counterparts of each survivor.

    A feature is there again where its counterpart is alike, and moves the behavior as it does beyond the smallest effect.

    Args:
        bench: The model and the pairs.
        survivors: The candidates.
        found: Their counterparts.
        concept: What they are judged for.
        share: The share of each survivor.
    """
    again = {}
    for one in found:
        theirs = bench.shares(one.change, concept.judged(bench.split[1]))
        same = np.nan_to_num(theirs.share) * np.nan_to_num(share) > 0
        again[one] = theirs.beyond(bench.fdr) & same & (np.nan_to_num(one.cosine) >= ALIKE)
    rows: list[dict[str, Any]] = []
    for i, candidate in enumerate(survivors):
        mine = [one for one in found if candidate.kind == "feature" and one.of_dictionary == candidate.site.dictionary]
        row = _NONE | {"matched_in": len(mine), "matched_used": sum(bool(again[one][i]) for one in mine)}
        for kind in KINDS:
            alike = [one for one in mine if one.kind == kind]
            row |= {f"{kind}_in": len(alike), f"{kind}_used": sum(bool(again[one][i]) for one in alike)}
        cosines_known = [one.cosine[i] for one in mine if np.isfinite(one.cosine[i])]
        rows.append(row | ({"matched_cosine": float(min(cosines_known))} if cosines_known else {}))
    return rows


_NONE: dict[str, Any] = {
    "matched_in": 0, "matched_cosine": np.nan, "matched_used": 0,
    **{f"{kind}_{word}": 0 for kind in KINDS for word in ("in", "used")},
}  # fmt: skip


def nothing() -> dict[str, Any]:
    """Return what a table says of a candidate whose counterparts were not sought."""
    return dict(_NONE)


def summary_of(
    found: Sequence[Counterparts], candidates: Sequence[Candidate], companions: Mapping[str, Sequence[Companion]]
) -> dict[str, Any]:
    """Return which dictionaries were compared, as JSON data."""
    return {
        "features": any(one.kind == "feature" for one in candidates),
        "alike": ALIKE,
        **{kind: [one.dictionary for one in found if one.kind == kind] for kind in KINDS},
        "unfinished": [f"{name}-{one.name}" for name, some in companions.items() for one in some if not one.finished],
    }


def check_others(model: Any, others: Sequence[Bound | str]) -> list[Bound]:  # noqa: ANN401 - a TransformerBridge
    """Return the dictionaries that are meant; each is attached to this model."""
    out = []
    for one in others:
        out.append(bound(model, one if isinstance(one, str) else one.name))
    return out
