"""Whether there is enough to learn a dictionary from: different activations, of different prompts.

A dictionary of as many features as there are different activations can give each its own and has learned nothing general.
What is there several times counts once, however often it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.activations import Activations
from mechcausal.errors import DataError

_FIX = "give more prompts, or a smaller width"


def require_enough(data: Any, width: int) -> None:  # noqa: ANN401 - what a dictionary is trained on
    """Refuse fewer different tokens than features, and one prompt alone.

    Args:
        data: Prompts, whose tokens are counted before any of them is run; or activations. Anything else is counted
            when it was made activations of.
        width: How many features there are to be.
    """
    if isinstance(data, (PromptSet, Contrast)):
        data = [data]
    if isinstance(data, (list, tuple)):
        sets = [
            side for part in data for side in ([part.clean, part.corrupt] if isinstance(part, Contrast) else [part])
        ]
        _require_of_prompts(sets, width)
    elif isinstance(data, Activations):
        _require_of_activations(data, width)


def _require_of_prompts(sets: Sequence[PromptSet], width: int) -> None:
    different = {tuple(prompts.real_tokens_of(row)) for prompts in sets for row in range(len(prompts))}
    tokens = sum(map(len, different))
    total = sum(int(prompts.mask.sum()) for prompts in sets)
    _require(tokens, total, width)
    if len(different) < 2:
        count = sum(map(len, sets))
        raise DataError(
            "a dictionary cannot be learned from one prompt", got=f"{count} times the same" if count > 1 else "1 prompt",
            expected="many different ones", fix="give more prompts",
        )  # fmt: skip


def _require_of_activations(activations: Activations, width: int) -> None:
    needed, different = max(2, width), set()
    for number in range(len(activations.shards)):
        for rows in activations.shard(number).split(max(1024, needed)):
            # Coarse enough that the rounding of two runs of one prompt makes no difference.
            coarse = rows.to(torch.bfloat16).contiguous().view(torch.int16).numpy()
            different.update(map(bytes, coarse))
            if len(different) >= needed:
                return
    _require(len(different), len(activations), width)


def _require(different: int, total: int, width: int) -> None:
    if different < max(2, width):
        raise DataError(
            "a dictionary cannot be learned from fewer tokens than it has features",
            got=f"{different} {'' if different == total else 'different '}tokens for {width} features",
            expected="many tokens for each feature", fix=_FIX,
        )  # fmt: skip
