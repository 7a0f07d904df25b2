"""Reference effects for candidates: the whole activation, the error of the dictionary, and dense baselines.

Each row is a share of the total effect on the half that nothing was fitted to. For the eraser it is the share of the gap
between the two sides that disappears when the concept is erased from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Selection, Site, vector
from mechcausal.data.prompts import pad
from mechcausal.interventions.specs import Edit, Erase
from mechcausal.links.association import mean_difference
from mechcausal.links.bench import CHOOSE, ESTIMATE, Bench
from mechcausal.links.candidates import Candidate, Directions
from mechcausal.links.concepts import Concept
from mechcausal.links.nulls import for_now
from mechcausal.links.verdict import INCOMPLETE, Verdict
from mechcausal.models import bridge
from mechcausal.models.binding import bound
from mechcausal.probes.kinds import Linear, Settings, fit
from mechcausal.results.intervals import ratio_interval
from mechcausal.results.shares import Shares

ERROR_LIMIT = 0.2
WHOLE, FEATURES, ERROR = "whole activation", "all features", "error node"
MEANS, PROBE, DELETION = "mean difference", "dense probe", "tokens deleted"
ERASER, ERASER_ALL = "erased at the decision (LEACE)", "erased at every token (LEACE)"
_NAME = "link-baselines"


@dataclass(frozen=True)
class Completeness:
    """How much of what goes through a place the dictionary there carries.

    Attributes:
        name: The dictionary.
        error: The effect of the error node over that of the whole activation.
        low: The lower end of its interval.
        high: The upper end.
    """

    name: str
    error: float
    low: float
    high: float

    @property
    def blocked(self) -> Verdict | None:
        """Why no feature of this dictionary can be judged, where that is so."""
        if abs(self.error) <= ERROR_LIMIT or not np.isfinite(self.error):
            return None
        why = (
            f"{abs(self.error):.0%} of what goes through this place is in the error, not in the features; a dictionary "
            "trained on text like that of these pairs could say more"
        )
        return Verdict(INCOMPLETE, why)


def completeness(bench: Bench, candidates: Sequence[Candidate]) -> tuple[list[dict[str, Any]], dict[str, Completeness]]:
    """Measure whole activations, all features and error nodes; return rows of the table of ceilings as well."""
    rows: list[dict[str, Any]] = []
    complete: dict[str, Completeness] = {}
    names = dict.fromkeys(
        candidate.site.dictionary
        for candidate in candidates
        if candidate.kind == "feature" and candidate.site.dictionary
    )
    estimated = bench.split[1]
    clusters = np.asarray(bench.clusters)[estimated]
    for name in names:
        dictionary = bound(bench.model, name)
        sites = {WHOLE: dictionary.written, FEATURES: dictionary.features, ERROR: dictionary.error}
        cells = [(Edit(site, bench.do, bench.where),) for site in sites.values()]
        change = bench.changes(cells, "whole activations and errors")
        rows += _rows(list(sites), [str(site) for site in sites.values()], bench.shares(change, estimated))
        part = ratio_interval(change[2, estimated], change[0, estimated], tuple(clusters))
        complete[name] = Completeness(name, part.estimate, part.low, part.high)
    return rows, complete


def baselines(
    bench: Bench, candidates: Sequence[Candidate], concepts: Sequence[Concept], at: Selection
) -> list[dict[str, Any]]:
    """Measure dense directions, an eraser and the deletion of tokens, each fitted on the half to choose by."""
    rows: list[dict[str, Any]] = []
    for site in dense_sites(bench, candidates):
        for concept in concepts:
            estimated = concept.judged(bench.split[1])
            made = _directions(bench, site, concept, at)
            with for_now(bench, Directions(made, bridge.device_of(bench.model)), site, _NAME) as cells:
                directions = bench.shares(bench.changes(cells, "dense baselines"), estimated)
            measured = _rows([MEANS, PROBE], [f"{site}: {concept.name}"] * 2, directions)
            erased = np.stack([_erased(bench, site, concept, where) for where in (at, ALL)])
            rows += measured + _rows(
                [ERASER, ERASER_ALL], [f"{site}: {concept.name}"] * 2, bench.shares(erased, estimated)
            )
    deleted = _deleted(bench)
    if deleted is not None:
        rows += _rows([DELETION], ["the tokens that differ"], bench.shares(deleted[None], bench.split[1]))
    return rows


def _rows(names: Sequence[str], places: Sequence[str], shares: Shares) -> list[dict[str, Any]]:
    return [
        {"what": name, "where": place, "share": float(shares.share[i])}
        | {"share_low": float(shares.low[i]), "share_high": float(shares.high[i])}
        for i, (name, place) in enumerate(zip(names, places, strict=True))
    ]


def ranges(bench: Bench, drawn: Mapping[Site, np.ndarray]) -> list[dict[str, Any]]:
    """Return rows with the median and the full range of the shares of random directions at each place."""
    shares = {site: bench.shares(change, bench.split[1]).share for site, change in drawn.items()}
    return [
        {"what": f"random directions: median and full range of {len(shares)}", "where": str(site)}
        | {"share": float(np.median(shares)), "share_low": float(shares.min()), "share_high": float(shares.max())}
        for site, shares in shares.items()
    ]


def dense_sites(bench: Bench, candidates: Sequence[Candidate]) -> list[Site]:
    """Return where dense baselines are fitted: where dictionaries write, or the stream behind the last candidate."""
    names = dict.fromkeys(
        candidate.site.dictionary for candidate in candidates if candidate.site.dictionary is not None
    )
    if names:
        sites = [bound(bench.model, name).written for name in names]
        return [site for site in dict.fromkeys(sites) if not site.by_head]
    last = max(candidate.site.layer or 0 for candidate in candidates)
    return [Site("resid_post", last)]


def _directions(bench: Bench, site: Site, concept: Concept, at: Selection) -> dict[str, np.ndarray]:
    values, _ = bench.read([site], at, halves=[CHOOSE])[site]
    fitted = bench.both_sides(bench.split[CHOOSE])
    fitted = fitted[concept.labelled[fitted] & np.isfinite(values[fitted]).all(axis=1)]
    x, y = values[fitted], concept.labels[fitted]
    readout = fit("logistic", x, y, Settings(seed=bench.seed))
    assert isinstance(readout, Linear)  # that is what a logistic probe is
    return {MEANS: mean_difference(x, y == 1), PROBE: readout.weight[0].numpy()}


def _erased(bench: Bench, site: Site, concept: Concept, where: Selection) -> np.ndarray:
    """Return how much of the total effect is gone, [pair], when the concept is erased from both sides at these tokens."""
    numbers, rows = bench.tokens(site, where, CHOOSE)
    labelled = concept.labelled[rows]
    edit = Edit(site, leace(numbers[labelled], concept.labels[rows[labelled]]), where)
    base, source = (
        bench.values([(edit,)], "erased", halves=[ESTIMATE], swapped=swapped)[0] for swapped in (False, True)
    )
    return bench.total - (source - base)


def leace(x: np.ndarray, z: np.ndarray) -> Erase:
    """Return the least change of activations after which no linear probe reads a binary concept (Belrose et al. 2023).

    Args:
        x: The activations, [example feature].
        z: The concept, 0 or 1.
    """
    centre = x.mean(axis=0)
    centred = (x - centre).astype(np.float64)
    values, frame = np.linalg.eigh(centred.T @ centred / len(x))
    alive = values > values.max() * 1e-9
    whiten = (frame[:, alive] / np.sqrt(values[alive])) @ frame[:, alive].T
    color = (frame[:, alive] * np.sqrt(values[alive])) @ frame[:, alive].T
    u = whiten @ (centred.T @ (z - z.mean()) / len(x))
    u = u / max(np.linalg.norm(u), 1e-30)
    return Erase(left=(vector(color @ u),), right=(vector(whiten @ u),), bias=vector(centre))


def _deleted(bench: Bench) -> np.ndarray | None:
    """Return what deleting the tokens in which the sides of each pair differ changes, [pair].

    None where a pair has nothing in common, or where a metric compares token by token.
    """
    base, kept = bench.base, _shared(bench)
    if bench.metric.compares or not bool(kept.any(dim=1).all()):
        return None
    rows = [row[mask].tolist() for row, mask in zip(base.tokens, kept, strict=True)]
    tokens, mask = pad(rows, side=base.side)
    fewer = (kept.long().cumsum(1) - 1).gather(1, base.read_columns[:, None])[:, 0].clamp(min=0)
    read = None if base.read_at is None else fewer
    bare: dict[str, Any] = {"texts": (), "pieces": (), "positions": {}, "spans": {}, "aligned": ()}
    shorter = replace(base, tokens=tokens, mask=mask, read_at=read, **bare)
    return bench.values([()], "tokens deleted", halves=[ESTIMATE], base=shorter)[0] - bench.unedited[0]


def _shared(bench: Bench) -> Tensor:
    """Say which tokens of the base prompts their sources have at the same position, [pair column]."""
    base, source = bench.base, bench.source
    if bench.pairs.even:
        return base.mask & (base.tokens == source.padded(base.tokens.shape[1], base.side).tokens)
    there = [set(zip(*row, strict=True)) for row in zip(source.numbers.tolist(), source.tokens.tolist(), strict=True)]
    here = zip(base.numbers.tolist(), base.tokens.tolist(), there, strict=True)
    rows = [
        [number >= 0 and (number, token) in other for number, token in zip(numbers, tokens, strict=True)]
        for numbers, tokens, other in here
    ]
    return torch.tensor(rows, device=base.mask.device)
