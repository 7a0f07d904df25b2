"""Which mediators are meant: sites, patterns of sites, parts, several parts jointly, or the variables of a hypothesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mechcausal.address import Place, Selection, Site, Vector, expand
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.places import Positions, places
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import SiteError, of_each
from mechcausal.models.abilities import Abilities


@dataclass(frozen=True)
class Mediator:
    """Parts of the network that carry an effect together.

    Attributes:
        name: What it is called: its parts as they are written, or the variable that lives there.
        parts: The parts.
        place: Where it is, if it is a single cell of a sweep.
    """

    name: str
    parts: tuple[Place, ...]
    place: Place | None = None

    def row(self) -> dict[str, Any]:
        """Return the columns that say where this is."""
        if self.place is not None:
            return {**self.place.row(), "mediator": self.name}

        def shared(values: Sequence[Any], several: Any) -> Any:  # noqa: ANN401 - any column
            return values[0] if len(set(values)) == 1 else several

        sites = [part.site for part in self.parts]
        return {
            "site": " + ".join(dict.fromkeys(map(str, sites))),
            "component": shared([site.component for site in sites], "several"),
            "layer": shared([site.layer for site in sites], None),
            "head": shared([site.head for site in sites], None),
            "neuron": shared([site.neuron for site in sites], None),
            "at": shared([str(part.at) for part in self.parts], "several"),
            "position": None,
            "label": self.name,
            "mediator": self.name,
        }  # fmt: skip


def mediators_of(spec: Any, at: Positions, able: Abilities, prompts: PromptSet) -> list[Mediator]:  # noqa: ANN401
    """Read what a caller may give as mediators.

    A pattern such as `"z"` or `"L1.z.H*@end"` stands for one mediator per site, a list for one per entry, a list
    within the list for parts that mediate together, a mapping gives them names, and the variables of a hypothesis are
    mediators at their own places.
    """
    if isinstance(spec, Hypothesis):
        return [Mediator(variable, _joined(parts)) for variable, parts in spec.alignment.items()]
    named = isinstance(spec, Mapping) and "site" not in spec
    items = list(spec) if named or isinstance(spec, (list, tuple)) else [spec]
    if not items:
        raise SiteError("the list of mediators is empty", fix="name at least one, for example 'z'")
    if named:
        return of_each(lambda named: Mediator(str(named[0]), joint(named[1], able, at)), spec.items())

    def of_item(item: Any) -> list[Mediator]:  # noqa: ANN401 - a site, a pattern, a part, or several parts
        if not isinstance(item, (list, tuple)):
            return _single(item, at, able, prompts)
        parts = joint(item, able, at)
        return [Mediator(" + ".join(map(str, parts)), parts)]

    return list(dict.fromkeys(mediator for made in of_each(of_item, items) for mediator in made))


def joint(spec: Any, able: Abilities, at: Positions = None) -> tuple[Place, ...]:  # noqa: ANN401
    """Return the parts that one mediator is made of; where a site names no position, it is all of them unless said."""
    items = list(spec) if isinstance(spec, (list, tuple)) else [spec]

    def of_item(item: Any) -> list[Place]:  # noqa: ANN401 - a site, a pattern or a part
        if not isinstance(item, (str, Site)):
            return [Place.parse(item)]
        text, written = _split(item)
        chosen = _one_selection(at if written is None else written)
        return [Place(site, chosen) for site in expand(text, able.shape)]

    parts = [part for made in of_each(of_item, items) for part in made]
    if not parts:
        raise SiteError("a mediator has no part", fix="name at least one site")
    return _joined(parts)


def _single(item: Any, at: Positions, able: Abilities, prompts: PromptSet) -> list[Mediator]:  # noqa: ANN401
    if isinstance(item, (str, Site)):
        text, written = _split(item)
        return [
            Mediator(str(Place(place.site, place.at)), (Place(place.site, place.at),), place)
            for place in places(expand(text, able.shape), at if written is None else written, prompts)
        ]
    part = Place.parse(item)
    place = None if part.basis else Place(part.site, part.at)
    return [Mediator(str(part), (part,), place)]


def _split(item: str | Site) -> tuple[str | Site, str | None]:
    """Return the sites that are meant, and the selection where one is written with them."""
    if isinstance(item, Site):
        return item, None
    text, at, selection = item.partition("@")
    return text, selection if at else None


def _one_selection(at: Positions) -> Selection:
    if at == "each" or (isinstance(at, Sequence) and not isinstance(at, str)):
        raise SiteError(
            "parts that mediate together are taken at one selection of positions",
            got=repr(at),
            fix="write it with each part, as 'L1.z.H0@end'",
        )
    return Selection.parse(at)


def _joined(parts: Sequence[Place]) -> tuple[Place, ...]:
    """Join subspaces of one activation, which one after the other would undo each other where they are oblique."""
    together: dict[tuple[Site, Selection], tuple[Vector, ...] | None] = {}
    for part in dict.fromkeys(parts):
        key = part.site, part.at
        before = together.get(key, ())
        together[key] = None if before is None or not part.basis else (*before, *part.basis)
    return tuple(Place(site, at, basis or ()) for (site, at), basis in together.items())
