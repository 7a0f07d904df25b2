"""The tokens that the values of an outcome are answered with."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.tokens import single_token, tokenizer_of
from mechcausal.errors import DataError


def answer_tokens(model: Any, hypothesis: Hypothesis) -> Tensor:  # noqa: ANN401 - a TransformerBridge
    """Return the token of each value of the outcome; values that are token ids need no tokenizer."""
    values = hypothesis.scm.values.get(hypothesis.outcome)
    if values is None:
        raise DataError(
            f"the values of the outcome {hypothesis.outcome!r} have no words",
            fix="pass values={...} to the SCM: words, or token ids",
        )
    ids = [int(value) if isinstance(value, Integral) else single_token(tokenizer_of(model), value) for value in values]
    outside = [number for number in ids if not 0 <= number < model.cfg.d_vocab]
    if outside:
        raise DataError(
            f"{outside[0]} is no token of this model, so {hypothesis.outcome!r} cannot be answered with it",
            expected=f"0 to {model.cfg.d_vocab - 1}",
        )
    return torch.tensor(ids)
