"""Prompts with each of their answers written behind them, so that every token of an answer can be scored.

One prompt becomes one row for each member of its answer and of its foil: the prompt, and the member without its last token.
Selections name positions of the prompt alone, but `@all` is everything that is computed, the tokens of an answer too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mechcausal.data.prompts import PromptSet, pad
from mechcausal.data.targets import filled, listed
from mechcausal.errors import DataError


@dataclass(frozen=True, eq=False)
class Forced:
    """Rows for the answers of prompts.

    Attributes:
        prompts: The rows; `answers` of each is the one member that it is for.
        owner: Which prompt each row is of, [row].
        answers: The rows of each prompt's answer, [prompt member]; -1 where it has fewer members.
        foils: The same of its foil; no members where there is none.
    """

    prompts: PromptSet
    owner: Tensor
    answers: Tensor
    foils: Tensor

    @property
    def single(self) -> bool:
        """Whether every answer and every foil has one member."""
        return self.answers.shape[1] == 1 and self.foils.shape[1] <= 1


def several_tokens(prompts: PromptSet) -> bool:
    """Say whether an answer or a foil of these prompts is several tokens."""
    return any(table is not None and table.shape[2] > 1 for table in (prompts.answers, prompts.foils))


def forced(prompts: PromptSet, like: PromptSet | None = None) -> Forced:
    """Return the rows of prompts.

    Args:
        prompts: The prompts.
        like: The prompts whose answers are written behind them; their own where None.
    """
    if prompts.read_at is not None:
        raise DataError(
            "answers of several tokens need prompts that are read at their end", fix="use a causal language model"
        )
    asked = prompts if like is None else like
    answers = [] if asked.answers is None else listed(asked.answers)
    foils = [] if asked.foils is None else listed(asked.foils)
    owner: list[int] = []
    members: list[list[int]] = []
    numbers: tuple[list[list[int]], list[list[int]]] = ([], [])
    for row in range(len(asked)):
        for column, kept in zip((answers, foils), numbers, strict=True):
            texts_of_row = column[row] if column else []
            kept.append(list(range(len(members), len(members) + len(texts_of_row))))
            members += texts_of_row
            owner += [row] * len(texts_of_row)
    device = prompts.tokens.device
    taken, texts = prompts.take(owner), prompts.real_tokens
    rows = [[*texts[row], *member[:-1]] for row, member in zip(owner, members, strict=True)]
    tokens, mask = pad(rows, side=prompts.side)
    extra = [len(member) - 1 for member in members]
    aligned = tuple(
        (*positions, *range(max(positions) + 1, max(positions) + 1 + more))
        for positions, more in zip(taken.aligned, extra, strict=False)
    )
    made = replace(
        taken, tokens=tokens.to(device), mask=mask.to(device), answer=None, foil=None, foils=None, texts=(), given={},
        answers=filled([[member] for member in members]).to(device), aligned=aligned,
        forced=torch.tensor(extra, device=device),
    )  # fmt: skip
    index, other = (_padded(kept).to(device) for kept in numbers)
    return Forced(made, torch.tensor(owner, device=device), index, other)


def _padded(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[-1] * (longest - len(row))] for row in rows]).reshape(len(rows), longest)
