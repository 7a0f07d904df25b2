"""Prompts rewritten: tokens taken out or replaced, or a request put before them; named positions move along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mechcausal.audits.journal import digest
from mechcausal.data.padding import pad
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tokens import encode, single_token, tokenizer_of
from mechcausal.errors import DataError


@dataclass(frozen=True)
class Without:
    """Take tokens out of every prompt, or put another token in their place.

    Attributes:
        model: The model whose tokenizer reads words.
        at: Named positions, or other selections, whose tokens are taken out.
        words: Words that are taken out wherever they stand.
        fill: The token that is put in their place; they are left out where None.
    """

    model: Any
    at: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    fill: str | None = None

    @property
    def key(self) -> str:
        """What it is, so that outcomes are remembered by it."""
        return digest("without", self.at, self.words, self.fill)

    def __call__(self, prompts: PromptSet) -> PromptSet:
        """Return the prompts without these tokens; a position whose token is gone is that of the token before it."""
        gone = torch.zeros_like(prompts.mask)
        for selection in self.at:
            gone |= prompts.select(selection)
        patterns = self._patterns()
        rows = [torch.tensor(row) for row in prompts.real_tokens]
        marks = [gone[number][prompts.mask[number]].cpu() for number in range(len(prompts))]
        for row, mark in zip(rows, marks, strict=True):
            _mark(row, mark, patterns)
        if self.fill is not None:
            filler = single_token(tokenizer_of(self.model), self.fill)
            filled = [torch.where(mark, filler, row).tolist() for row, mark in zip(rows, marks, strict=True)]
            tokens, mask = pad(filled, side=prompts.side)
            return replace(prompts, tokens=tokens, mask=mask, texts=(), pieces=(), given={})
        empty = [number for number, mark in enumerate(marks) if bool(mark.all())]
        if empty:
            raise DataError(f"nothing is left of prompt {empty[0]}", fix="take fewer words out, or give fill=")
        tokens, mask = pad([row[~mark].tolist() for row, mark in zip(rows, marks, strict=True)], side=prompts.side)
        left = [(~mark).long().cumsum(0) for mark in marks]
        return replace(
            prompts, tokens=tokens, mask=mask, texts=(), pieces=(), given={}, aligned=(),
            read_at=None if prompts.read_at is None else _moved(prompts.read_at, left),
            positions={name: _moved(index, left) for name, index in prompts.positions.items()},
            spans={name: _moved_spans(bounds, left) for name, bounds in prompts.spans.items()},
        )  # fmt: skip

    def _patterns(self) -> list[list[int]]:
        """Return the tokens of each word, as it stands at the beginning of a text and behind a space."""
        if not self.words:
            return []
        tokenizer = tokenizer_of(self.model)
        unknown = getattr(tokenizer, "unk_token_id", None)
        patterns = []
        for word in self.words:
            forms = [encode(tokenizer, form, bos=False)[0] for form in (word, f" {word}")]
            readable = [form for form in forms if form and unknown not in form]
            if not readable:
                raise DataError(f"the tokenizer does not know the word {word!r}", fix="use words of its vocabulary")
            patterns += [form for form in readable if form not in patterns]
        return patterns


def _mark(row: Tensor, mark: Tensor, patterns: Sequence[Sequence[int]]) -> None:
    """Mark the tokens of each occurrence of a pattern."""
    for pattern in patterns:
        size = len(pattern)
        if size > len(row):
            continue
        hits = (row.unfold(0, size, 1) == torch.tensor(pattern)).all(1).nonzero().flatten()
        for start in hits.tolist():
            mark[start : start + size] = True


def _moved(index: Tensor, left: Sequence[Tensor]) -> Tensor:
    """Return where positions stand once tokens are gone; `left` counts for each token those that are left up to it."""
    moved = [max(int(count[int(place)]) - 1, 0) for place, count in zip(index, left, strict=True)]
    return torch.tensor(moved)


def _moved_spans(bounds: Tensor, left: Sequence[Tensor]) -> Tensor:
    moved = []
    for (first, last), count in zip(bounds.tolist(), left, strict=True):
        end = max(int(count[last - 1]), 1)
        begin = int(count[first - 1]) if first else 0
        moved.append([min(begin, end - 1), end])
    return torch.tensor(moved)


@dataclass(frozen=True)
class Behind:
    """Put a request before every prompt.

    Attributes:
        model: The model whose tokenizer reads it.
        text: The request, with the space or the line break that ends it.
    """

    model: Any
    text: str

    @property
    def key(self) -> str:
        """What it is, so that outcomes are remembered by it."""
        return digest("behind", self.text)

    def __call__(self, prompts: PromptSet) -> PromptSet:
        """Return the prompts with the request before them; positions are counted from the end."""
        if prompts.forced is not None:
            raise DataError("a request cannot be put before prompts that hold their answers")
        begin = getattr(tokenizer_of(self.model), "bos_token_id", None)
        bos = begin is not None and prompts.real_tokens_of(0)[:1] == [begin]
        if prompts.texts:
            texts = [f"{self.text}{text}" for text in prompts.texts]
            asked = PromptSet.from_text(self.model, texts, side=prompts.side, bos=bos)
        else:
            asked = PromptSet(*pad(self._before_tokens(prompts, bos), side=prompts.side), side=prompts.side)
        longer = (asked.lengths - prompts.lengths.cpu()).long()
        return replace(
            prompts, tokens=asked.tokens, mask=asked.mask, texts=asked.texts, pieces=asked.pieces, given={}, aligned=(),
            read_at=None if prompts.read_at is None else prompts.read_at.cpu() + longer,
            positions={name: index.cpu() + longer for name, index in prompts.positions.items()},
            spans={name: bounds.cpu() + longer[:, None] for name, bounds in prompts.spans.items()},
        )  # fmt: skip

    def _before_tokens(self, prompts: PromptSet, bos: bool) -> list[list[int]]:
        """Return the tokens of prompts that were changed token by token: read as text where that gives the same tokens."""
        first = int(bos)
        (request,) = PromptSet.from_text(self.model, [self.text], bos=False).real_tokens
        rows = [[*row[:first], *request, *row[first:]] for row in prompts.real_tokens]
        for number, row in enumerate(prompts.real_tokens):
            text = tokenizer_of(self.model).decode(row[first:])
            try:
                alone, behind = PromptSet.from_text(self.model, [text, f"{self.text}{text}"], bos=bos).real_tokens
            except DataError:  # no text that the tokenizer knows
                continue
            if alone == row:
                rows[number] = behind
        return rows
