"""Is a feature there in another dictionary too, and does it do the same? Decoder directions matched one to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from mechcausal.errors import DataError
from mechcausal.features.links.bench import Bench
from mechcausal.features.links.candidates import Candidate
from mechcausal.interventions.specs import Edit
from mechcausal.models.dictionaries import Bound, bound


@dataclass(frozen=True)
class Match:
    """A feature's counterpart in another dictionary.

    Attributes:
        site: The counterpart.
        cosine: How alike their decoder directions are.
        share: The counterpart's share of the total effect.
        used: Whether the behavior moves with the counterpart beyond the smallest effect of interest.
    """

    site: str
    cosine: float
    share: float
    used: bool


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


def stability(
    bench: Bench, alive: Sequence[Candidate], survivors: Sequence[Candidate], others: Sequence[Bound]
) -> dict[Candidate, list[Match]]:
    """Find every survivor in the other dictionaries, among all that is alive, and measure what is found there.

    Args:
        bench: The model and the pairs.
        alive: The candidates that are matched, so that no two survivors get the same counterpart.
        survivors: Those whose counterparts are measured.
        others: Other dictionaries at the same places.
    """
    found: dict[Candidate, list[Match]] = {one: [] for one in survivors}
    for name in dict.fromkeys(one.site.dictionary for one in survivors if one.kind == "feature"):
        assert name is not None  # features belong to dictionaries
        own = bound(bench.model, name)
        theirs = [one for one in others if (one.site, one.site_out) == (own.site, own.site_out) and one.name != name]
        members = [one for one in alive if one.site.dictionary == name]
        wanted = [number for number, one in enumerate(members) if one in found]
        weight = own.W_dec.cpu().numpy()[[one.site.feature or 0 for one in members]]
        for other in theirs:
            partner, cosine = matched(weight, other.W_dec.cpu().numpy())
            for number, match in zip(wanted, _measured(bench, other, partner[wanted], cosine[wanted]), strict=True):
                found[members[number]].append(match)
    return found


def _measured(bench: Bench, other: Bound, partner: np.ndarray, cosine: np.ndarray) -> list[Match]:
    there = np.flatnonzero(partner >= 0)
    cells = [(Edit(other.feature(int(partner[i])), bench.do, bench.where),) for i in there]
    shares = bench.shares(bench.changes(cells), bench.split[1])
    used = shares.beyond(bench.fdr)
    out = [Match("", np.nan, np.nan, False)] * len(partner)
    for number, i in enumerate(there):
        site = str(other.feature(int(partner[i])))
        out[i] = Match(site, float(cosine[i]), float(shares.share[number]), bool(used[number]))
    return out


def columns(matches: Sequence[Match]) -> dict[str, Any]:
    """Return what a table says of the counterparts of one candidate."""
    if not matches:
        return {"matched_in": 0, "matched_cosine": np.nan, "matched_used": 0}
    return {
        "matched_in": len(matches),
        "matched_cosine": float(np.nanmin([one.cosine for one in matches])),
        "matched_used": sum(one.used for one in matches),
    }


def check_others(model: Any, others: Sequence[Bound | str]) -> list[Bound]:  # noqa: ANN401 - a TransformerBridge
    """Return the dictionaries that are meant; each is attached to this model."""
    out = []
    for one in others:
        if not isinstance(one, (str, Bound)):
            raise DataError(
                "stability is over other dictionaries", got=type(one).__name__, fix="attach them and pass them"
            )
        out.append(bound(model, one if isinstance(one, str) else one.name))
    return out
