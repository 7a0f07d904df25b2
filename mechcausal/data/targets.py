"""Answers and foils as tokens: one token, several tokens, or a set of texts that are equally right."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Annotated, Any

import torch
from torch import Tensor

from mechcausal.arguments import Kind
from mechcausal.data.tokens import single_token
from mechcausal.errors import DataError

_FILL = -1  # behind the tokens of a text that is shorter than others


def _is_text(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (list, tuple, Set)) and len(value) > 0 and all(map(_is_text, value))


def _are_words(value: Any) -> bool:  # noqa: ANN401
    several = isinstance(value, (list, tuple)) and all(_is_text(item) or _are_texts(item) for item in value)
    return _is_text(value) or several or (isinstance(value, Set) and _are_texts(value))


Words = Annotated[
    str | int | Sequence[Any] | Set[Any],
    Kind("a text for all, a set of texts for all, or a list with a text or a list of texts for each", _are_words),
]


def for_each(value: Any, count: int, what: str) -> Sequence[Any]:  # noqa: ANN401 - one for all, or one each
    """Return one value for each prompt, of one for all or a list with one for each."""
    if isinstance(value, (str, int)):
        return [value] * count
    if len(value) != count:
        raise DataError(f"{what} must have one entry per prompt", got=len(value), expected=count)
    return value


def each_of(words: Words, count: int, what: str) -> list[Any]:
    """Return the answer of each prompt: a text, or a tuple of texts that are equally right."""
    if _is_text(words):
        return [words] * count
    if isinstance(words, Set):
        return [tuple(sorted(words))] * count
    listed: Any = words
    if len(listed) != count:
        raise DataError(f"{what} must have one entry per prompt", got=len(listed), expected=count)
    return [word if _is_text(word) else tuple(word) for word in listed]


def targets(tokenizer: Any, count: int, **words: Words | None) -> dict[str, Any]:  # noqa: ANN401 - any tokenizer
    """Return the fields of a `PromptSet` for `answer` and `foil`.

    They are `answer` and `foil` where each is one token, else `answers` and `foils` for both.
    """
    listed = {what: each_of(given, count, what) for what, given in words.items() if given is not None}
    ids: dict[Any, tuple[int, ...]] = {}
    columns: dict[str, list[list[tuple[int, ...]]]] = {}
    for what, column in listed.items():
        columns[what] = []
        for row in column:
            members = (row,) if _is_text(row) else row
            for text in members:
                if text not in ids:
                    ids[text] = tokens_of(tokenizer, text)
            columns[what].append([ids[text] for text in members])
            if len(set(columns[what][-1])) < len(members):
                raise DataError(f"a set of {what}s names a text twice", got=members)
    simple = all(len(row) == 1 and len(row[0]) == 1 for column in columns.values() for row in column)
    if simple:
        return {what: torch.tensor([row[0][0] for row in column]) for what, column in columns.items()}
    return {f"{what}s": filled(column) for what, column in columns.items()}


def tokens_of(tokenizer: Any, answer: str | int) -> tuple[int, ...]:  # noqa: ANN401
    """Return the tokens of an answer; refuse one that is empty or unknown to the tokenizer."""
    if isinstance(answer, int):
        return (answer,)
    ids = [int(token) for token in tokenizer(answer, add_special_tokens=False)["input_ids"]]
    if len(ids) == 1:
        return (single_token(tokenizer, answer),)
    unknown = getattr(tokenizer, "unk_token_id", None)
    if not ids or (unknown is not None and unknown in ids):
        raise DataError(
            f"the answer {answer!r} is unknown to the tokenizer", got=tokenizer.convert_ids_to_tokens(ids) or "no token",
            fix="use words of its vocabulary",
        )  # fmt: skip
    return tuple(ids)


def filled(rows: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Return token sequences as one tensor, [row member token]; -1 where a row has fewer members or a member fewer tokens."""
    members, tokens = max(map(len, rows)), max(len(member) for row in rows for member in row)
    table = torch.full((len(rows), members, tokens), _FILL)
    for number, row in enumerate(rows):
        for place, member in enumerate(row):
            table[number, place, : len(member)] = torch.as_tensor(member)
    return table


def listed(table: Tensor) -> list[list[list[int]]]:
    """Return the token sequences of such a tensor."""
    rows = [[[token for token in member if token != _FILL] for member in row] for row in table.tolist()]
    return [[member for member in row if member] for row in rows]
