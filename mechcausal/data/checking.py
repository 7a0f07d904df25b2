"""What the columns of a set of prompts must be."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mechcausal.data.padding import check_padding
from mechcausal.errors import DataError

if TYPE_CHECKING:
    from mechcausal.data.prompts import PromptSet


def check_columns(prompts: PromptSet) -> None:
    """Refuse columns that do not fit together: kinds, lengths, and positions outside their prompt."""
    if len(prompts.tokens) == 0:
        raise DataError("the set of prompts is empty", fix="give at least one prompt")
    if prompts.tokens.shape != prompts.mask.shape:
        raise DataError(
            "tokens and mask differ in shape", got=tuple(prompts.mask.shape), expected=tuple(prompts.tokens.shape)
        )
    for name, column in (
        ("tokens", prompts.tokens),
        ("answer", prompts.answer),
        ("foil", prompts.foil),
        ("read_at", prompts.read_at),
    ):
        if column is not None and (column.is_floating_point() or column.dtype == torch.bool):
            raise DataError(
                f"{name} must be whole numbers", got=str(column.dtype).removeprefix("torch."), expected="torch.long"
            )
    if prompts.mask.dtype != torch.bool:
        raise DataError("the mask must be True or False", got=prompts.mask.dtype, expected="torch.bool")
    missing = [row for row, label in enumerate(prompts.labels) if isinstance(label, float) and label != label]
    if missing:
        raise DataError(
            f"the label of prompt {missing[0]} is NaN ({len(missing)} such prompts)",
            fix="give None where a label is not known, or leave these prompts out",
        )
    check_padding(prompts.mask, prompts.side)
    for part in fields(prompts):
        value = getattr(prompts, part.name)
        columns = value if isinstance(value, dict) else {"": value}
        for name, column in columns.items():
            if part.name == "side" or column is None or (isinstance(column, tuple) and not column):
                continue
            size = 0 if isinstance(column, Tensor) and not column.ndim else len(column)
            if size != len(prompts):
                what = f"{part.name} {name!r}" if name else part.name
                raise DataError(f"{what} must have one entry per prompt", got=size, expected=len(prompts))
    if prompts.read_at is not None and bool(((prompts.read_at < 0) | (prompts.read_at >= prompts.lengths)).any()):
        raise DataError("the read position lies outside its prompt", fix="count real tokens from 0")
    for name, index in prompts.positions.items():
        if bool(((index < 0) | (index >= prompts.lengths)).any()):
            raise DataError(f"the named position {name!r} lies outside its prompt", fix="count real tokens from 0")
