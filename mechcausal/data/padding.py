"""Rows of token ids as one rectangle, and where each prompt is read."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor

from mechcausal.arguments import described
from mechcausal.errors import DataError

Side = Literal["left", "right"]
WIDEST = 1_000_000
"""Beyond the context of any model: a larger width is a mistake, and would fill the memory."""


def pad(rows: Sequence[Sequence[int]], *, width: int | None = None, side: Side = "right") -> tuple[Tensor, Tensor]:
    """Return (tokens, mask) of rows of unequal length.

    The filler is the row's own last (or first) token: it is masked, and it is in every vocabulary.
    """
    if not _are_rows(rows):
        raise DataError(
            "these are no rows of token ids", got=described(rows), expected="a list of lists of whole numbers"
        )
    if not rows or any(len(row) == 0 for row in rows):
        raise DataError("there is a prompt without tokens", fix="give every prompt at least one token")
    check_side(side)
    longest = max(len(row) for row in rows)
    width = longest if width is None else width
    if not isinstance(width, Integral) or isinstance(width, bool) or not longest <= width <= WIDEST:
        raise DataError(
            "prompts cannot be padded to this width",
            got=described(width),
            expected=f"a whole number, {longest} to {WIDEST:,}",
        )
    tokens, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        begin = width - len(row) if side == "left" else 0
        tokens[i] = row[0] if side == "left" else row[-1]
        tokens[i, begin : begin + len(row)] = torch.as_tensor(row)
        mask[i, begin : begin + len(row)] = True
    return tokens, mask


def _are_rows(rows: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    """Say whether these are rows of whole numbers, each as its first and last entry are."""
    return isinstance(rows, Sequence) and all(
        isinstance(row, Sequence)
        and not isinstance(row, str)
        and all(isinstance(row[i], Integral) for i in (0, -1) if row)
        for row in rows
    )


def check_padding(mask: Tensor, side: str) -> None:
    """Refuse a prompt without tokens, or with padding between its tokens, and a side that there is not.

    Args:
        mask: True at real tokens, [batch pos].
        side: The padded side.
    """
    check_side(side)
    begins = mask.clone()
    begins[:, 1:] &= ~mask[:, :-1]
    runs = begins.sum(1)  # of real tokens without padding between them
    if not bool((runs == 1).all()):
        row = int((runs != 1).nonzero()[0])
        if not int(runs[row]):
            raise DataError(f"prompt {row} has no tokens", fix="give every prompt at least one token")
        raise DataError(
            f"the mask of prompt {row} has a hole: padding between its tokens",
            got="".join("T" if real else "F" for real in mask[row].tolist()[:40]), expected="padding on one side only",
            fix="leave the tokens out and pad again: mechcausal.data.pad(rows)",
        )  # fmt: skip


def check_side(side: str) -> None:
    """Refuse to pad anywhere else than on the left or on the right."""
    if not isinstance(side, str) or side not in ("left", "right"):
        raise DataError("prompts are padded on one of two sides", got=described(side), expected="left or right")


def read_position(tokenizer: Any, rows: list[list[int]]) -> Tensor | None:  # noqa: ANN401
    """Return where masked-language prompts are read, at their mask; None where prompts are read at the end."""
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is None or not all(mask in row for row in rows):
        return None
    return torch.tensor([row.index(mask) for row in rows])


def laid_out(rows: Sequence[Sequence[int]], number: Tensor) -> Tensor:
    """Return the entry of each row for each token, where `number` says which token of its prompt stands in a column."""
    longest = max(map(len, rows))
    table = torch.tensor([[*row, *[-1] * (longest - len(row))] for row in rows])
    return table.gather(1, number.clamp(0, longest - 1))
