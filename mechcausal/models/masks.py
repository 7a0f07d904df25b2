"""Attention masks that stay finite, so that padding in double precision computes numbers.

`transformers` hides a token by adding the smallest number of the model's type to its score, and most of its models take
the softmax in float32. There the smallest double is minus infinity. A padding token on the left may see no token at
all, so its whole row is minus infinity, its pattern is NaN, and the NaN reaches the real tokens as values of the next
layer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

_KIND = "eager"  # what every model is run with
_LEAST = torch.finfo(torch.float32).min


@contextmanager
def finite_masks() -> Generator[None]:
    """Let models of `transformers` hide tokens by numbers that float32 can hold; to be used around one run."""
    made = ALL_MASK_ATTENTION_FUNCTIONS[_KIND]
    ALL_MASK_ATTENTION_FUNCTIONS[_KIND] = partial(_finite, made)
    try:
        yield
    finally:
        ALL_MASK_ATTENTION_FUNCTIONS[_KIND] = made


def _finite(made: Callable[..., Tensor | None], *args: Any, **kwargs: Any) -> Tensor | None:  # noqa: ANN401
    mask = made(*args, **kwargs)
    return mask.clamp(min=_LEAST) if mask is not None and mask.dtype == torch.float64 else mask
