"""Which positions of two prompts correspond: token by token outside named spans, span by span within.

    The flight attendant said that        The | flight attendant | said that
    The man said that                     The |       man        | said that
    position                               0           1             2    3

A span of several tokens counts as its last token (`"last"`), as the mean over its tokens (`"mean"`), or token by token,
counted from its end (`"each"`); tokens without a counterpart have no position and are never exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mechcausal.data.tokens import span_of
from mechcausal.errors import DataError

Spans = Literal["last", "mean", "each"]
Range = tuple[int, int]


class Aligned(NamedTuple):
    """The position of each token of both prompts of a pair; -1 for a token without one."""

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]


def align_pair(clean: Mapping[str, Range], corrupt: Mapping[str, Range], lengths: Range, mode: Spans) -> Aligned:
    """Return which tokens of a pair correspond.

    Args:
        clean: The tokens of each named span of the clean prompt, as (first, last + 1).
        corrupt: The same of its counterpart.
        lengths: How many tokens both have.
        mode: What a span of several tokens counts as.
    """
    order = sorted(dict.fromkeys((clean[name], corrupt[name]) for name in clean))
    if [other for _, other in order] != sorted(other for _, other in order):
        raise DataError(
            f"the spans {', '.join(map(repr, clean))} come in another order in the counterpart",
            fix="name spans that stand one after the other on both sides",
        )
    names = {(clean[name], corrupt[name]): name for name in reversed(list(clean))}
    first: list[int] = []
    second: list[int] = []
    count, before, last = 0, (0, 0), ""
    for pair in [*order, None]:
        starts = lengths if pair is None else (pair[0][0], pair[1][0])
        gaps = starts[0] - before[0], starts[1] - before[1]
        if min(gaps) < 0:
            raise DataError(
                f"the spans {last!r} and {names[pair]!r} overlap"
                if pair else f"the span {last!r} does not lie in its prompt",
                fix="name spans that stand one after the other on both sides",
            )  # fmt: skip
        if gaps[0] != gaps[1]:
            where = [f"before {names[pair]!r}"] if pair else []
            where = [*([f"after {last!r}"] if last else []), *where]
            raise DataError(
                f"outside the named spans the two prompts differ in length{', ' if where else ''}{' and '.join(where)}",
                got=f"{gaps[0]} and {gaps[1]} tokens", fix="name the words that differ as a span, or reword the pair",
            )  # fmt: skip
        first += range(count, count + gaps[0])
        second += range(count, count + gaps[0])
        count += gaps[0]
        if pair is None:
            return Aligned(tuple(first), tuple(second))
        sizes = tuple(end - begin for begin, end in pair)
        shared = min(sizes) if mode == "each" else 1
        for side, size in ((first, sizes[0]), (second, sizes[1])):
            if mode == "mean":
                side += [count] * size
            else:
                side += [-1] * (size - shared) + list(range(count, count + shared))
        count, before, last = count + shared, (pair[0][1], pair[1][1]), names[pair]
    raise AssertionError("the loop returns at its end")


def spans_of(texts: Sequence[str], offsets: Sequence[Any], places: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
    """Return the tokens that each named place covers in each text, [text 2]."""
    return {
        name: torch.tensor([with_space(offsets[row], texts[row], place) for row, place in enumerate(column)])
        for name, column in places.items()
    }


def with_space(offsets: Sequence[tuple[int, int]], text: str, place: str | int | Sequence[int]) -> Range:
    """Return the tokens of a place, and the one before where that is only the space that other words hold themselves."""
    begin, end = span_of(offsets, text, place)
    while begin and (space := text[slice(*offsets[begin - 1])]) and space.isspace():
        begin -= 1
    return begin, end


def matches_token_by_token(clean: Sequence[int], corrupt: Sequence[int]) -> bool:
    """Say whether token i of a prompt counts as token i of its counterpart, and each token for itself."""
    named = [number for number in clean if number >= 0]
    return tuple(clean) == tuple(corrupt) and len(named) == len(set(named))
