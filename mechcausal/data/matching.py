"""The two sides of pairs whose prompts differ in length, matched by their named spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mechcausal.data.prompts import PromptSet
from mechcausal.data.spans import Spans, align_pair, spans_of
from mechcausal.data.tokens import characters_of, encode_all, tokenizer_of, wants_bos
from mechcausal.errors import DataError, did_you_mean, shortened


def counterparts(clean: PromptSet, corrupt: Sequence[str], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the named positions of clean prompts stand in their counterparts: as said, or where the same text is."""
    if unknown := [name for name in said if name not in clean.positions]:
        fix = did_you_mean(unknown[0], sorted(clean.positions))
        raise DataError(f"the clean prompts have no position called {unknown[0]!r}", fix=fix)
    places: dict[str, Any] = dict(said)
    for name in (name for name in clean.positions if name not in said):
        places[name] = []
        for row, place in enumerate(clean.given[f"position.{name}"]):
            begin, end = characters_of(clean.texts[row], place)
            words = clean.texts[row][begin:end]
            times = corrupt[row].count(words)
            if not times or (times > 1 and not isinstance(place, str)):
                raise DataError(
                    f"pair {row} has different lengths, and {name!r} ({words!r}) stands in its counterpart {times} times",
                    got=repr(shortened(corrupt[row])), fix=f"say where, with corrupt_positions={{{name!r}: [...]}}",
                )  # fmt: skip
            places[name].append(words)
    return places


def aligned(
    model: Any,  # noqa: ANN401 - anything with a tokenizer
    clean: PromptSet,
    corrupt: PromptSet,
    mode: Spans,
    bos: bool | None,
) -> tuple[PromptSet, PromptSet]:
    """Return both sides with positions that correspond, or as they are where token i stands against token i anyway."""
    tokenizer, lead = tokenizer_of(model), wants_bos(model) if bos is None else bos
    ranges = []
    for side in (clean, corrupt):
        offsets = [spans for _, spans in encode_all(tokenizer, side.texts, bos=lead)]
        places = {name: side.given[f"position.{name}"] for name in clean.positions}
        ranges.append(spans_of(side.texts, offsets, places))
    pairs, lengths = [], list(zip(clean.lengths.tolist(), corrupt.lengths.tolist(), strict=True))
    for row in range(len(clean)):
        here, there = ({name: tuple(ends[row].tolist()) for name, ends in side.items()} for side in ranges)
        try:
            pairs.append(align_pair(here, there, lengths[row], mode))
        except DataError as error:
            raise DataError(
                f"pair {row}: {error.what}", got=error.got, expected=error.expected, fix=error.fix
            ) from None
    same = all(torch.equal(ranges[0][name], ranges[1][name]) for name in clean.positions)
    if same and mode == "last" and torch.equal(clean.lengths, corrupt.lengths):
        return clean, replace(corrupt, positions=clean.positions)
    kept = [{} if mode == "last" else ends for ends in ranges]
    first = replace(clean, aligned=tuple(pair.clean for pair in pairs), spans=kept[0])
    return first, replace(corrupt, aligned=tuple(pair.corrupt for pair in pairs), spans=kept[1])
