"""Prompts that are changed by rule: a word exchanged, deleted or put in, or the words in another order.

    swapped(prompts, "city", seed=0)      # the token at a named position becomes that of another prompt
    deleted(prompts, "city")
    permuted(prompts, model, seed=0)      # the words before the position that is read, whole words at a time
    inserted(prompts, tokens, seed=0)     # one of these tokens, at a place drawn at random

Everything that is said of a prompt (answer, foil, label, cluster) stays; named positions move with their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mechcausal.data.contrast import Contrast
from mechcausal.data.padding import pad
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tokens import encode, tokenizer_of, wants_bos
from mechcausal.errors import DataError, did_you_mean


def plain_prompts(data: PromptSet | Contrast) -> PromptSet:
    """Return the prompts that are changed: of pairs the clean ones."""
    return data.clean if isinstance(data, Contrast) else data


def unchangeable(prompts: PromptSet) -> str | None:
    """Say why these prompts cannot be changed token by token; None where they can."""
    if prompts.aligned or prompts.forced is not None:
        return "share positions with counterparts of other lengths, so they cannot be changed token by token"
    return None


def swapped(prompts: PromptSet, position: str, *, seed: int = 0, model: Any = None) -> PromptSet:  # noqa: ANN401
    """Exchange the word at a named position for another one that stands there in these prompts, drawn at random."""
    at, rows = _position(prompts, position), prompts.real_tokens
    words = [_word_at(prompts, number, place, model) for number, place in enumerate(at)]
    word_tokens = [tuple(row[word[0] : word[-1] + 1]) for row, word in zip(rows, words, strict=True)]
    fillers = sorted(set(word_tokens))
    if len(fillers) < 2:
        raise DataError(f"the same word stands at {position!r} in every prompt", fix="name a position that varies")
    draw = np.random.default_rng([seed, 11])
    changed, longer = [], []
    for row, word, filler in zip(rows, words, word_tokens, strict=True):
        others = [other for other in fillers if other != filler]
        new = others[int(draw.integers(len(others)))]
        changed.append([*row[: word[0]], *new, *row[word[-1] + 1 :]])
        longer.append(len(new) - len(word))
    return _rebuilt(prompts, changed, lambda number, place: place + longer[number] * (place >= words[number][-1]))


def elsewhere(prompts: PromptSet, *, seed: int = 0) -> PromptSet:
    """Exchange one token of each prompt, at a place drawn at random, for one that stands there in another prompt."""
    rows, draw = prompts.real_tokens, np.random.default_rng([seed, 13])
    there: dict[int, set[int]] = {}
    for row in rows:
        for place, token in enumerate(row):
            there.setdefault(place, set()).add(token)
    changed = []
    for row, end in zip(rows, _reads(prompts), strict=True):
        places = [place for place in range(end) if len(there[place]) > 1]
        if not places:
            changed.append(row)
            continue
        place = places[int(draw.integers(len(places)))]
        others = sorted(there[place] - {row[place]})
        changed.append([*row[:place], others[int(draw.integers(len(others)))], *row[place + 1 :]])
    return _rebuilt(prompts, changed)


def deleted(prompts: PromptSet, position: str, *, model: Any = None) -> PromptSet:  # noqa: ANN401
    """Leave out the word at a named position."""
    at = _position(prompts, position)
    words = [_word_at(prompts, number, place, model) for number, place in enumerate(at)]
    rows = [[*row[: word[0]], *row[word[-1] + 1 :]] for row, word in zip(prompts.real_tokens, words, strict=True)]

    def moved(number: int, place: int) -> int:
        return place - len(words[number]) * (place > words[number][-1])

    return _rebuilt(prompts, rows, moved, without=(position,))


def inserted(prompts: PromptSet, tokens: Sequence[int], *, seed: int = 0, model: Any = None) -> PromptSet:  # noqa: ANN401
    """Put one of these tokens into each prompt, before a word before the position that is read, drawn at random."""
    draw, rows, where = np.random.default_rng([seed, 17]), [], []
    for number, (row, end) in enumerate(zip(prompts.real_tokens, _reads(prompts), strict=True)):
        begins = [word[0] for word in words_of(prompts, number, model) if word[0] <= end] or [end]
        place = begins[int(draw.integers(len(begins)))]
        rows.append([*row[:place], int(tokens[int(draw.integers(len(tokens)))]), *row[place:]])
        where.append(place)
    return _rebuilt(prompts, rows, lambda number, place: place + (place >= where[number]))


def permuted(prompts: PromptSet, model: Any, *, seed: int = 0) -> PromptSet:  # noqa: ANN401
    """Put the words before the position that is read into another order, drawn at random for each prompt."""
    draw, rows, maps = np.random.default_rng([seed, 19]), [], []
    for number, (row, end) in enumerate(zip(prompts.real_tokens, _reads(prompts), strict=True)):
        words = [word for word in words_of(prompts, number, model) if word[-1] < end]
        order, first = _other_order(draw, len(words)), (words[0][0] if words else 0)
        inner = [place for word in order for place in words[word]]
        old = [*range(first), *inner, *range(first + len(inner), len(row))]
        rows.append([row[place] for place in old])
        maps.append({place: new for new, place in enumerate(old)})
    return _rebuilt(prompts, rows, lambda number, place: maps[number][place])


def words_of(prompts: PromptSet, row: int, model: Any = None) -> list[list[int]]:  # noqa: ANN401
    """Return the words of a prompt, each as the positions of its tokens; special tokens at the start are no words.

    Without its text, or where the text is not what the tokenizer makes of it, each token is a word.
    """
    tokens = prompts.real_tokens_of(row)
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None or not prompts.texts:
        return [[place] for place in range(1, len(tokens))]
    text = prompts.texts[row]
    begin = getattr(tokenizer, "bos_token_id", None)
    bos = tokens[0] == begin if begin is not None else wants_bos(model)
    ids, spans = encode(tokenizer, text, bos=bos)
    if ids != tokens:
        return [[place] for place in range(1, len(tokens))]
    words: list[list[int]] = []
    space = False  # whether the token before is a space alone, which belongs to the word behind it
    for place, (start, stop) in enumerate(spans):
        if stop == start:  # added by the tokenizer
            continue
        begins = text[start].isspace() or (text[start - 1].isspace() and not space)
        if not words or start == 0 or begins:
            words.append([])
        words[-1].append(place)
        space = text[start:stop].isspace()
    return [word for word in words if word] or [[place] for place in range(len(tokens))]


def written(prompts: PromptSet, model: Any) -> list[str]:  # noqa: ANN401
    """Return the prompts as text, also where they are known by their tokens alone."""
    if prompts.texts:
        return list(prompts.texts)
    if getattr(model, "tokenizer", None) is None:
        return [str(row) for row in prompts.real_tokens]
    return [tokenizer_of(model).decode(row) for row in prompts.real_tokens]


def _word_at(prompts: PromptSet, row: int, place: int, model: Any) -> list[int]:  # noqa: ANN401
    return next((word for word in words_of(prompts, row, model) if place in word), [place])


def _other_order(draw: np.random.Generator, count: int) -> list[int]:
    order = list(range(count))
    while count > 1 and order == list(range(count)):
        order = draw.permutation(count).tolist()
    return order


def _position(prompts: PromptSet, name: str) -> list[int]:
    if name not in prompts.positions:
        raise DataError(
            f"these prompts have no position called {name!r}",
            fix=did_you_mean(name, sorted(prompts.positions) or ["positions="]),
        )
    return prompts.positions[name].tolist()


def _reads(prompts: PromptSet) -> list[int]:
    """Return the position that each prompt is read at; tokens before it may change."""
    return (prompts.lengths - 1 if prompts.read_at is None else prompts.read_at).tolist()


def _rebuilt(
    prompts: PromptSet,
    rows: list[list[int]],
    moved: Callable[[int, int], int] = lambda number, place: place,
    without: tuple[str, ...] = (),
) -> PromptSet:
    """Return the prompts with other tokens; `moved` says where each position of a prompt is now."""
    if (why := unchangeable(prompts)) is not None:
        raise DataError(f"these prompts {why}", fix="give prompts, or pairs of equal length")
    tokens, mask = pad(rows, side=prompts.side)

    def at(index: torch.Tensor) -> torch.Tensor:
        return torch.tensor([moved(number, place) for number, place in enumerate(index.tolist())])

    positions = {name: at(index) for name, index in prompts.positions.items() if name not in without}
    read_at = None if prompts.read_at is None else at(prompts.read_at)
    return replace(
        prompts, tokens=tokens, mask=mask, positions=positions, read_at=read_at, texts=(), pieces=(), spans={}
    )
