"""How much of a secret a model gives away: its exact exposure among all candidates.

Exposure (Carlini et al. 2019, "The Secret Sharer") is log2(number of candidates) - log2(rank of the secret by the
model's own probability). A secret that was never seen has a uniform rank: its exposure is close to an exponential
variable with mean 1 / ln 2 = 1.44 bits. Here the rank is exact: every candidate is scored, each prefix once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mechcausal.data.prompts import PromptSet, pad
from mechcausal.data.tokens import encode_all, single_token, tokenizer_of, wants_bos
from mechcausal.interventions.specs import Edit
from mechcausal.models import bridge
from mechcausal.models.hooked import forward


def candidate_logprobs(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompt: str,
    symbols: Sequence[str],
    length: int,
    edits: Sequence[Edit] = (),
) -> np.ndarray:
    """Return the log-probability of every string of `length` symbols after the prompt, in lexicographic order."""
    tokenizer = tokenizer_of(model)
    ids = [single_token(tokenizer, symbol) for symbol in symbols]
    prefixes = [encode_all(tokenizer, [prompt], bos=wants_bos(model))[0][0]]
    total = torch.zeros(1, dtype=torch.float64)
    for _ in range(length):
        step = _next_logprobs(model, prefixes, edits)[:, ids]
        total = (total[:, None] + step).reshape(-1)
        prefixes = [[*prefix, token] for prefix in prefixes for token in ids]
    return total.numpy()


def exposure(logprobs: np.ndarray, secret: str, symbols: Sequence[str]) -> float:
    """Return the exposure of a secret, in bits; ties count half."""
    index = 0
    for symbol in secret:
        index = index * len(symbols) + list(symbols).index(symbol)
    above = int((logprobs > logprobs[index]).sum())
    tied = int((logprobs == logprobs[index]).sum()) - 1
    return float(np.log2(len(logprobs)) - np.log2(1 + above + tied / 2))


def _next_logprobs(model: Any, prefixes: Sequence[Sequence[int]], edits: Sequence[Edit]) -> torch.Tensor:  # noqa: ANN401
    parts = []
    for begin in range(0, len(prefixes), 500):
        batch = PromptSet(*pad(prefixes[begin : begin + 500])).to(bridge.device_of(model))
        logits = forward(model, batch, edits).logits[:, -1]
        parts.append(logits.double().log_softmax(-1).cpu())
    return torch.cat(parts)
