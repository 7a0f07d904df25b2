"""Which mediators are meant: sites, patterns of sites, parts, several parts jointly, or the variables of a hypothesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mechcausal.address import Selection, Site, expand
from mechcausal.causal.hypothesis import Hypothesis, Part
from mechcausal.data.places import Place, Positions, places
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import SiteError
from mechcausal.interventions.specs import Vector
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
    parts: tuple[Part, ...]
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


def mediators_of(spec: Any, positions: Positions, able: Abilities, prompts: PromptSet) -> list[Mediator]:  # noqa: ANN401
    """Read what a caller may give as mediators.

    A pattern such as `"z"` or `"L1.z.H*@end"` stands for one mediator per site, a list for one per entry, a list
    within the list for parts that mediate together, a mapping gives them names, and the variables of a hypothesis are
    mediators at their own places.
    """
    if isinstance(spec, Hypothesis):
        return [Mediator(variable, _joined(parts)) for variable, parts in spec.alignment.items()]
    if isinstance(spec, Mapping) and "site" not in spec:
        return [Mediator(str(name), joint(own, able)) for name, own in spec.items()]
    items = list(spec) if isinstance(spec, (list, tuple)) else [spec]
    if not items:
        raise SiteError("the list of mediators is empty", fix="name at least one, for example 'z'")
    found: list[Mediator] = []
    for item in items:
        if isinstance(item, (list, tuple)):
            parts = joint(item, able)
            found.append(Mediator(" + ".join(map(str, parts)), parts))
        else:
            found += _single(item, positions, able, prompts)
    return list(dict.fromkeys(found))


def joint(spec: Any, able: Abilities) -> tuple[Part, ...]:  # noqa: ANN401 - one part or several
    """Return the parts that one mediator is made of; all positions at once where none is named."""
    items = list(spec) if isinstance(spec, (list, tuple)) else [spec]
    parts = []
    for item in items:
        if isinstance(item, str):
            text, at, selection = item.partition("@")
            parts += [Part(site, Selection.parse(selection if at else None)) for site in expand(text, able.shape)]
        else:
            parts.append(Part.parse(item))
    if not parts:
        raise SiteError("a mediator has no part", fix="name at least one site")
    return _joined(parts)


def _single(item: Any, positions: Positions, able: Abilities, prompts: PromptSet) -> list[Mediator]:  # noqa: ANN401
    if isinstance(item, (str, Site)):
        text, at, selection = (item, "", "") if isinstance(item, Site) else item.partition("@")
        chosen = selection if at else positions
        return [
            Mediator(str(Part(place.site, place.at)), (Part(place.site, place.at),), place)
            for place in places(expand(text, able.shape), chosen, prompts)
        ]
    part = Part.parse(item)
    place = None if part.basis else Place(part.site, part.at, str(part.at).removeprefix("@"))
    return [Mediator(str(part), (part,), place)]


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Join subspaces of one activation, which one after the other would undo each other where they are oblique."""
    together: dict[tuple[Site, Selection], tuple[Vector, ...] | None] = {}
    for part in dict.fromkeys(parts):
        key = part.site, part.at
        before = together.get(key, ())
        together[key] = None if before is None or not part.basis else (*before, *part.basis)
    return tuple(Part(site, at, basis or ()) for (site, at), basis in together.items())
