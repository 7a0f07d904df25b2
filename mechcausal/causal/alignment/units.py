"""What a mask is over, and how a share of each is moved between runs.

    place       a whole site, a head, a neuron, a feature of a dictionary, or what the dictionary leaves out
    direction   a principal direction of a whole site or of a head

A share of zero moves exactly nothing. Features are moved as the difference that they decode to, so what their dictionary
does not reconstruct stays as it is, unless the error is among the places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, vector
from mechcausal.causal.alignment.search import Harvest, Moved
from mechcausal.errors import DataError, SiteError

Over = Literal["places", "directions"]
_HOTTEST, _COLDEST = 1.0, 0.05


def searched(places: list[Place], over: Over, components: int | None) -> list[Place]:
    """Return places that can be searched as asked; others are refused."""
    if over not in get_args(Over):
        raise DataError("a mask is over places or directions", got=repr(over), expected=" or ".join(get_args(Over)))
    if over == "places":
        if components is not None:
            raise DataError("places have no components", got=components, fix='ask for over="directions"')
        return places
    if components is not None and components < 1:
        raise DataError("at least one direction of a place is searched", got=f"components = {components}")
    for part in places:
        site = part.site
        if site.unit is not None or site.component == "pattern":
            raise SiteError(f"{site} has no directions to search", fix="name a stream, a sublayer's output or a head")
        if site.by_head and site.head is None:
            raise SiteError(f"{site} is all heads at once", fix=f"name its heads, as {site}.H*")
    return places


def principal(places: Sequence[Place], values: Harvest, components: int | None) -> list[Place]:
    """Return the principal directions of each place over what was harvested, largest variance first, one part each."""
    directions = []
    for part in places:
        columns = values.span(part).T[:components].cpu().double()
        directions += [replace(part, basis=(vector(row),)) for row in columns]
    if not directions:
        raise DataError("none of these places varies over the prompts", fix="name places that depend on the prompt")
    return directions


class Soft:
    """A share for every unit, and the moves that exchange each by its share."""

    def __init__(self, units: Sequence[Place], values: Harvest) -> None:
        self.units, self.values = units, values
        self.raw = torch.zeros(len(units), device=values.device, requires_grad=True)
        # The numbers of one activation are one move, and so are its directions.
        self.groups: dict[Place, list[int]] = {}
        for number, unit in enumerate(units):
            self.groups.setdefault(holder(unit), []).append(number)
        self.columns = {
            part: torch.tensor([units[number].basis[0] for number in numbers], device=values.device).T
            for part, numbers in self.groups.items()
            if units[numbers[0]].basis
        }

    def shares(self, progress: float) -> Tensor:
        """Return the share of every unit; they become 0 or 1 as the temperature falls."""
        return torch.sigmoid(self.raw / (_HOTTEST * (_COLDEST / _HOTTEST) ** progress))

    def moves(self, shares: Tensor) -> list[Moved]:
        """Return each part with how much of it is moved."""
        out = []
        for part, numbers in self.groups.items():
            part_shares = shares[numbers]
            unit = self.units[numbers[0]]
            if unit.site.unit is not None:
                where = torch.tensor([self.units[number].site.unit for number in numbers], device=part_shares.device)
                part_shares = part_shares.new_zeros(self.values.width(part)).scatter(0, where, part_shares)
            out.append(Moved(part, self.columns.get(part), part_shares))
        return out


def holder(unit: Place) -> Place:
    """Return the part that is moved: the whole activation for one of its numbers or directions."""
    if unit.basis:
        return replace(unit, basis=())
    return unit if unit.site.unit is None else replace(unit, site=unit.site.whole)


def merged(units: Sequence[Place], values: Harvest) -> list[Place]:
    """Return the same units with the numbers, and the directions, of one activation as one subspace of it."""
    out: list[Place] = []
    groups: dict[Place, list[Place]] = {}
    for unit in units:
        if unit.basis or unit.site.unit is not None:
            groups.setdefault(holder(unit), []).append(unit)
        else:
            out.append(unit)
    for part, members in groups.items():
        width = values.width(part)
        if len(members) == width:  # all there is
            out.append(part)
            continue
        rows = [unit.basis[0] if unit.basis else _axis(int(unit.site.unit or 0), width) for unit in members]
        out.append(replace(part, basis=tuple(rows)))
    return out


def _axis(number: int, width: int) -> tuple[float, ...]:
    row = np.zeros(width)
    row[number] = 1
    return vector(row)
