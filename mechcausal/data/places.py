"""The cells of a sweep: sites crossed with positions, and what each is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mechcausal.address import HEAD_COMPONENTS, Place, Selection, Site
from mechcausal.address import SiteSpec as SiteSpec
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import SiteError

Positions = str | int | slice | Selection | Sequence[str | int | Selection] | None


def places(sites: Sequence[Site], positions: Positions, prompts: PromptSet) -> list[Place]:
    """Cross sites with positions.

    `"each"` is every position of the longest prompt; None is "each" for streams and sublayer outputs and `"all"` (all
    positions at once) for heads, patterns, neurons and features.
    """
    out = []
    for site in sites:
        chosen = positions
        if chosen is None:
            chosen = "all" if site.component in HEAD_COMPONENTS or site.unit is not None else "each"
        out += [Place(site, at, label=label) for at, label in _selections(chosen, prompts)]
    once: set[tuple[Site, Selection]] = set()
    for place in out:
        if (place.site, place.at) in once:
            raise SiteError(f"{place.site}{place.at} is asked for twice", fix="name each site and each position once")
        once.add((place.site, place.at))
    return out


def _selections(positions: Positions, prompts: PromptSet) -> list[tuple[Selection, str]]:
    if isinstance(positions, str) and positions == "each":
        return [(Selection.parse(i), position_label(i, prompts)) for i in range(int(prompts.lengths.max()))]
    if isinstance(positions, Sequence) and not isinstance(positions, str):
        if not positions:
            raise SiteError("the list of positions is empty", fix="name at least one, or leave it out")
        return [pair for item in positions for pair in _selections(item, prompts)]
    selection = Selection.parse(positions)
    if not bool(prompts.select(selection).any()):
        raise SiteError(
            f"no prompt has the position {selection}", expected=f"at most {int(prompts.lengths.max())} tokens"
        )
    return [(selection, str(selection).removeprefix("@"))]


def position_label(index: int, prompts: PromptSet) -> str:
    """Return the index, with the name that all prompts give this position where there is one."""
    same_length = bool((prompts.lengths == prompts.lengths[0]).all())
    names = [name for name, column in prompts.positions.items() if bool((column == index).all())]
    return f"{index} {names[0]}" if names and same_length else str(index)


def plain(spec: Any) -> Any:  # noqa: ANN401 - any way of naming sites or positions
    """Return what was asked for as JSON data, for the provenance."""
    if isinstance(spec, (list, tuple)):
        return [plain(item) for item in spec]
    if isinstance(spec, slice):
        return str(Selection.parse(spec))
    return spec if spec is None or isinstance(spec, (int, str)) else str(spec)
