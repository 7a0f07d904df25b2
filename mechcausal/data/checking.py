"""What the columns of a set of prompts must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.arguments import described
from mechcausal.data.padding import check_padding
from mechcausal.data.targets import listed
from mechcausal.errors import DataError, shortened

if TYPE_CHECKING:
    from mechcausal.data.prompts import PromptSet

_NDIM = {"tokens": 2, "mask": 2, "answer": 1, "foil": 1, "answers": 3, "foils": 3, "read_at": 1, "forced": 1}
_LISTS = ("texts", "labels", "groups", "environments", "clusters", "aligned", "pieces")
_NAMED = ("positions", "variables", "spans", "given")
_WORDS = ("groups", "environments", "clusters")
_FIX = "PromptSet(*mechcausal.data.pad([[1, 2], [1, 2, 3]])) makes tokens and mask of lists"


def check_columns(prompts: PromptSet) -> None:
    """Refuse columns that do not fit together: kinds, lengths, and positions outside their prompt."""
    _check_kinds(prompts)
    if len(prompts.tokens) == 0:
        raise DataError("the set of prompts is empty", fix="give at least one prompt")
    if prompts.tokens.shape != prompts.mask.shape:
        raise DataError(
            "tokens and mask differ in shape", got=tuple(prompts.mask.shape), expected=tuple(prompts.tokens.shape)
        )
    for name in ("tokens", "answer", "foil", "read_at"):
        column = getattr(prompts, name)
        if column is not None and (column.is_floating_point() or column.dtype == torch.bool):
            raise DataError(
                f"{name} must be whole numbers", got=str(column.dtype).removeprefix("torch."), expected="torch.long"
            )
    if prompts.mask.dtype != torch.bool:
        raise DataError("the mask must be True or False", got=prompts.mask.dtype, expected="torch.bool")
    _check_words(prompts)
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


def _check_kinds(prompts: PromptSet) -> None:
    """Refuse what is no column at all."""
    for name, ndim in _NDIM.items():
        column = getattr(prompts, name)
        if column is None and name not in ("tokens", "mask"):
            continue
        if not isinstance(column, Tensor) or column.ndim != ndim or column.is_meta:
            got = f"shape {tuple(column.shape)} on {column.device}" if isinstance(column, Tensor) else described(column)
            raise DataError(
                f"the column {name!r} of prompts is no tensor of {ndim} dimension{'s' if ndim > 1 else ''}",
                got=got, fix=_FIX if name in ("tokens", "mask") else None,
            )  # fmt: skip
    for name in _LISTS:
        column = getattr(prompts, name)
        if not isinstance(column, Sequence) or isinstance(column, str):
            raise DataError(
                f"the column {name!r} of prompts is no list", got=described(column), expected="one entry per prompt"
            )
    for name in _NAMED:
        columns = getattr(prompts, name)
        if not isinstance(columns, Mapping):
            raise DataError(
                f"the columns {name!r} of prompts have no names", got=described(columns), expected="a mapping"
            )
        for word, column in columns.items():
            if not isinstance(column, (tuple, list) if name == "given" else Tensor):
                raise DataError(
                    f"the column {shortened(repr(word))} of {name} is of another kind", got=described(column),
                    expected="a tuple" if name == "given" else "a tensor",
                )  # fmt: skip


def _check_words(prompts: PromptSet) -> None:
    """Refuse labels that are NaN, of whatever library, and groups and clusters that are missing or are no words."""
    missing = [row for row, label in enumerate(prompts.labels) if type(label) is not str and _is_nan(label)]
    if missing:
        raise DataError(
            f"the label of prompt {missing[0]} is NaN ({len(missing)} such prompts)",
            fix="give None where a label is not known, or leave these prompts out",
        )
    for name in _WORDS:
        column = getattr(prompts, name)
        wrong = [row for row, value in enumerate(column) if type(value) is not str and _is_no_word(value)]
        if wrong:
            what = name.removesuffix("s")
            raise DataError(
                f"the {what} of prompt {wrong[0]} is missing or no text ({len(wrong)} such prompts)",
                got=described(column[wrong[0]]), fix=f"give each prompt a {what}, or none of them",
            )  # fmt: skip


def _is_no_word(value: Any) -> bool:  # noqa: ANN401 - an entry of a column of words
    return not isinstance(value, (str, Real, np.bool_)) or value != value


def _is_nan(value: Any) -> bool:  # noqa: ANN401 - a label of any kind
    if value is None:
        return False
    try:
        unlike = value != value
        return bool(unlike.any() if hasattr(unlike, "any") else unlike)
    except TypeError:  # the missing value of pandas will not say whether it is itself
        return True


def check_answers(prompts: PromptSet) -> None:
    """Refuse prompts whose answer is their foil: their difference is 0 whatever the model does."""
    if prompts.answers is not None and prompts.foils is not None:
        rows = zip(listed(prompts.answers), listed(prompts.foils), strict=True)
        equal = [row for row, sides in enumerate(rows) if {*map(tuple, sides[0])} & {*map(tuple, sides[1])}]
    elif prompts.answer is not None and prompts.foil is not None:
        equal = (prompts.answer.cpu() == prompts.foil.cpu()).nonzero().flatten().tolist()
    else:
        return
    if equal:
        got = "a text that is in both" if prompts.answer is None else f"token {int(prompts.answer[equal[0]])} for both"
        raise DataError(
            f"the answer of prompt {equal[0]} is its foil ({len(equal)} such prompts), so there is nothing to compare",
            got=got, fix="give another foil, or leave the prompt out",
        )  # fmt: skip


def rows_of(rows: Any, count: int) -> Tensor:  # noqa: ANN401 - whatever a caller passes
    """Return which of so many prompts are taken, as whole numbers; refuse those that there are not.

    Args:
        rows: Whole numbers in any order (from the end if negative), a slice, or a mask.
        count: How many prompts there are.
    """
    try:
        index = torch.arange(count)[rows] if isinstance(rows, slice) else torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError):
        index = None
    if index is not None and index.dtype == torch.bool:
        if index.shape != (count,):
            raise DataError(
                "a mask of prompts must have one entry per prompt", got=len(index) if index.ndim else 1, expected=count
            )
        index = index.nonzero().flatten()
    if index is None or index.ndim != 1 or (len(index) and (index.is_floating_point() or index.is_complex())):
        raise DataError(
            "prompts are taken by their numbers",
            got=described(rows),
            expected="a list of whole numbers, a slice or a mask",
        )
    if len(index) == 0:
        raise DataError("the selection of prompts is empty", fix="take at least one row")
    outside = index[(index < -count) | (index >= count)]
    if len(outside):
        raise DataError(f"there is no prompt {int(outside[0])}", expected=f"0 to {count - 1}")
    return index.long() % count
