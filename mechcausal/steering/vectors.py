"""Where a steering vector comes from: the two sides of pairs, a probe, a feature of a dictionary, or the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.arguments import Kind, Model
from mechcausal.data.contrast import Contrast
from mechcausal.errors import ArgumentError, DataError, MechcausalError, SiteError
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import bound
from mechcausal.patching.reading import read
from mechcausal.probes.probing import probe


def _names_vector(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, str):
        return value in ("mean", "probe") or _is_feature(value)
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(isinstance(part, (int, float)) and not isinstance(part, bool) and part == part for part in value)


def _is_feature(value: str) -> bool:
    try:
        return Site.parse(value).feature is not None
    except MechcausalError:
        return False


VectorSpec = Annotated[
    str | Sequence[float],
    Kind("'mean', 'probe', a feature such as 'L2.resid_post.sae:NAME.F17', or a list of numbers", _names_vector),
]


def as_vector(value: Any) -> Any:  # noqa: ANN401 - any way to give a vector
    """Return a vector as plain numbers; a word as it is."""
    return value.tolist() if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1 else value


@dataclass(frozen=True, eq=False)
class Direction:
    """A vector whose dose is 1.

    Attributes:
        vector: The vector, [feature].
        unit: The length of the mean difference between the sides, which is the length of dose 1 unless a vector is given.
        origin: Where it comes from, in words.
    """

    vector: Tensor
    unit: float
    origin: str


def steered_site(model: Model, site: str | Site) -> Site:
    """Return the site as one vector a position, which can be written."""
    able, place = abilities(model), Site.parse(site)
    able.require([place])
    if place.unit is not None or (place.by_head and place.head is None) or place.component == "pattern":
        raise SiteError(
            f"{place} is not one vector at each position", fix="steer a stream such as L2.resid_post, or a head"
        )
    return place


def direction_of(
    model: Model, pairs: Contrast, site: Site, spec: str | Sequence[float], at: Selection, batch_size: int, seed: int
) -> Direction:
    """Return the vector from the corrupt side of pairs towards the clean one, or another one of that length.

    Args:
        model: The bridge.
        pairs: The pairs that it is estimated on.
        site: Where it is to be added.
        spec: `"mean"`, `"probe"`, a feature, or the numbers themselves.
        at: The position that is read on both sides.
        batch_size: How many prompts at a time.
        seed: The seed of the probe.
    """
    sides = [_read(model, side, site, at, batch_size) for side in (pairs.clean, pairs.corrupt)]
    difference = sides[0].mean(0) - sides[1].mean(0)
    unit = float(difference.norm())
    if not isinstance(spec, str):
        vector = torch.tensor([float(part) for part in spec])
        if vector.shape != difference.shape:
            raise ArgumentError("the steering vector has the wrong length", got=len(vector), expected=len(difference))
        if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise ArgumentError("the steering vector is zero or not finite", fix="give finite numbers")
        return Direction(vector, unit, "given")
    if unit == 0:
        raise DataError(
            f"the two sides do not differ at {site}{at}, so they give no direction",
            fix="read another position with read_at=, or choose a later layer",
        )
    if spec == "mean":
        return Direction(difference, unit, "mean difference")
    if spec == "probe":
        vector = _probe_direction(model, pairs, site, at, seed)
        vector = vector if float(vector @ difference) >= 0 else -vector
        return Direction(vector / vector.norm() * unit, unit, "probe")
    feature = Site.parse(spec)
    row = bound(model, str(feature.dictionary)).W_dec[feature.feature or 0].float().cpu()
    if row.shape != difference.shape:
        raise SiteError(f"{feature} writes another activation than {site}", got=len(row), expected=len(difference))
    return Direction(row / row.norm() * unit, unit, str(feature))


def _read(model: Model, prompts: Any, site: Site, at: Selection, batch_size: int) -> Tensor:  # noqa: ANN401
    value = read(model, prompts, site, at=at, batch_size=batch_size)[site].double()
    return (value if value.ndim == 2 else value.nanmean(1)).float()


def _probe_direction(model: Model, pairs: Contrast, site: Site, at: Selection, seed: int) -> Tensor:
    pool, n = pairs.pooled, len(pairs)
    names = pairs.clean.clusters or tuple(map(str, range(n)))
    labels = ["clean"] * n + ["corrupt"] * n
    fitted = probe(
        model, replace(pool, clusters=(*names, *names)), labels, site, at=at, kind="logistic", control=False, mdl=False,
        seed=seed,
    )  # fmt: skip
    return fitted.direction.detach().float().flatten()


def random_vectors(direction: Direction, count: int, seed: int) -> list[Tensor]:
    """Return random vectors of the same length, drawn evenly over directions."""
    draw = torch.Generator().manual_seed(seed)
    length = direction.vector.norm()
    drawn = [torch.randn(len(direction.vector), generator=draw) for _ in range(count)]
    return [vector / vector.norm() * length for vector in drawn]
