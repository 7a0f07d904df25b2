"""The examples behind a number: prompts or pairs as text, each with its own numbers, those with the largest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mechcausal.audits.perturbed import written
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet

MOST = 200
"""How many examples a finding has."""


def of_pairs(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    by: np.ndarray,
    most: int = MOST,
) -> tuple[dict[str, Any], ...]:
    """Return a row for each pair.

    Args:
        model: The model whose tokenizer writes them.
        pairs: The pairs.
        columns: Numbers or words of each pair, by name.
        by: The number whose largest size comes first.
        most: How many pairs.
    """
    return _rows(model, "pair", {"clean": pairs.clean, "corrupt": pairs.corrupt}, columns, largest(by, most))


def of_prompts(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompts: PromptSet,
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    by: np.ndarray,
    most: int = MOST,
    rows: Sequence[int] | np.ndarray | None = None,
) -> tuple[dict[str, Any], ...]:
    """Return a row for each prompt.

    Args:
        model: The model whose tokenizer writes them.
        prompts: The prompts.
        columns: Numbers or words of each prompt, by name.
        by: The number whose largest size comes first.
        most: How many prompts.
        rows: Their numbers in the data, where they are a part of these.
    """
    return _rows(model, "prompt", {"text": prompts}, columns, largest(by, most), rows)


def largest(by: np.ndarray, most: int) -> list[int]:
    """Return the rows with the largest sizes, those that are not finite last."""
    sizes = np.nan_to_num(np.abs(np.asarray(by, dtype=float)), nan=-1.0)
    return np.argsort(-sizes, kind="stable")[:most].tolist()


def _rows(
    model: Any,  # noqa: ANN401
    number: str,
    sides: Mapping[str, PromptSet],
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    shown: list[int],
    numbers: Sequence[int] | np.ndarray | None = None,
) -> tuple[dict[str, Any], ...]:
    """Return a row for each of these examples: its number, its texts by side, and its values."""
    texts = [written(side.take(shown), model) for side in sides.values()]
    return tuple(
        {number: row if numbers is None else int(numbers[row]), **dict(zip(sides, said, strict=True))}
        | {name: value.item() if hasattr(value := column[row], "item") else value for name, column in columns.items()}
        for row, *said in zip(shown, *texts, strict=True)
    )
