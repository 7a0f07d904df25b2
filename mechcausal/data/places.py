"""The cells of a sweep: sites crossed with positions, and what each is called."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from mechcausal.address import HEAD_COMPONENTS, Place, Selection, Site
from mechcausal.arguments import Kind
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import SiteError


def _names_sites(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    return isinstance(value, (str, Site)) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, (str, Site)) for item in value)
    )


def _names_cells(value: Any) -> bool:  # noqa: ANN401
    return _names_sites(value) or (isinstance(value, (list, tuple)) and all(_names_sites(item) for item in value))


def _is_position(value: Any) -> bool:  # noqa: ANN401
    if value is None or isinstance(value, bool):
        return value is None
    return (isinstance(value, (str, slice, Selection)) or _is_index(value)) and bool(Selection.parse(value))


def _is_index(value: Any) -> bool:  # noqa: ANN401 - an int of Python's, numpy's or torch's
    try:
        return not isinstance(value, bool) and operator.index(value) in range(-(2**31), 2**31)
    except TypeError:
        return False


def _is_positions(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, (list, tuple)):
        return all(item is not None and _is_positions(item) for item in value)
    return (isinstance(value, str) and value == "each") or _is_position(value)


SiteSpec = Annotated[
    str | Site | list[str] | list[Site] | tuple[str | Site, ...],
    Kind("a site such as 'z' or 'L1.z.H2', or a list of these", _names_sites),
]
CellSpec = Annotated[
    str | Site | list[Any] | tuple[Any, ...],
    Kind(
        "a site such as 'z' or 'L1.z.H2', or a list of these, in which a tuple of sites is one cell edited together",
        _names_cells,
    ),
]
At = Annotated[
    str | int | slice | Selection | None, Kind("a position such as -1, '@subject', '@3:7' or '@all'", _is_position)
]
Positions = Annotated[
    str | int | slice | Selection | Sequence[str | int | Selection] | None,
    Kind("'each', 'all', a position such as -1 or '@subject', or a list of these", _is_positions),
]


def places(sites: Sequence[Site], positions: Positions, prompts: PromptSet) -> list[Place]:
    """Cross sites with positions.

    `"each"` is every position of the longest prompt; None is "each" for streams and sublayer outputs and `"all"` (all
    positions at once) for heads, patterns, neurons and features.
    """
    out = []
    chosen: dict[bool, list[tuple[Selection, str]]] = {}  # by whether a site is taken at all positions at once
    for site in sites:
        together = positions is None and (site.component in HEAD_COMPONENTS or site.unit is not None)
        if together not in chosen:
            chosen[together] = _selections(("all" if together else "each") if positions is None else positions, prompts)
        out += [Place(site, at, label=label) for at, label in chosen[together]]
    once: set[tuple[Site, Selection]] = set()
    for place in out:
        if (place.site, place.at) in once:
            raise SiteError(f"{place.site}{place.at} is asked for twice", fix="name each site and each position once")
        once.add((place.site, place.at))
    return out


def _selections(positions: Positions, prompts: PromptSet) -> list[tuple[Selection, str]]:
    if isinstance(positions, str) and positions == "each":
        return [(Selection.parse(i), position_label(i, prompts)) for i in range(int(prompts.n_positions.max()))]
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
    """Return the index, with the name that all prompts give this position, or the token that all of them have there."""
    same_length = bool((prompts.n_positions == prompts.n_positions[0]).all())
    names = [name for name, column in prompts.positions.items() if bool((_position(prompts, column) == index).all())]
    words = {row[index].strip() if index < len(row) else "" for row in prompts.pieces}
    if same_length and not names and not prompts.aligned and len(words) == 1:
        names = [*words]
    return f"{index} {names[0]}".strip() if names and same_length else str(index)


def _position(prompts: PromptSet, tokens: Tensor) -> Tensor:
    """Return the position that a token of each prompt counts as."""
    if not prompts.aligned:
        return tokens
    return torch.tensor([row[int(token)] for row, token in zip(prompts.aligned, tokens, strict=True)])


def plain(spec: Any) -> Any:  # noqa: ANN401 - any way of naming sites or positions
    """Return what was asked for as JSON data, for the provenance."""
    if isinstance(spec, (list, tuple)):
        return [plain(item) for item in spec]
    if isinstance(spec, slice):
        return str(Selection.parse(spec))
    return spec if spec is None or isinstance(spec, (int, str)) else str(spec)


def as_text(spec: Any) -> Any:  # noqa: ANN401 - any way of naming sites or positions
    """Return sites and positions as the words that a specification holds; anything else as it is."""
    if isinstance(spec, (list, tuple)):
        return tuple(as_text(item) for item in spec)
    if isinstance(spec, (Site, Selection)):
        return str(spec)
    if isinstance(spec, slice):
        return str(Selection.parse(spec))
    return operator.index(spec) if _is_index(spec) else spec
