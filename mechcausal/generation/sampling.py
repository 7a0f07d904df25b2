"""The next token: the most likely one, or one that is drawn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def draws(seed: int, row: int, sample: int, count: int) -> np.ndarray:
    """Return the random numbers of one text, one a token: the same whatever else is in its batch."""
    return np.random.default_rng([seed, row, sample]).random(count)


def next_tokens(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None, drawn: np.ndarray
) -> Tensor:
    """Return the next token of each text, [batch].

    Args:
        logits: The logits, [batch vocab].
        temperature: What the logits are divided by; at 0 the most likely token is taken.
        top_k: How many of the most likely tokens can be drawn.
        top_p: The smallest set of the most likely tokens with at least this probability can be drawn.
        drawn: A random number between 0 and 1 for each text.
    """
    if temperature == 0:
        return logits.argmax(-1)
    ranked, order = (logits.double() / temperature).sort(dim=-1, descending=True, stable=True)
    chance = ranked.softmax(-1)
    if top_k is not None:
        chance[:, top_k:] = 0
    if top_p is not None:  # a token stays while those before it have less than that
        beyond = chance.cumsum(-1) - chance >= top_p
        beyond[:, 0] = False
        chance = chance.masked_fill(beyond, 0.0)
    reached = chance.cumsum(-1)
    wanted = torch.as_tensor(drawn, device=reached.device)[:, None] * reached[:, -1:]
    return order.gather(1, (reached <= wanted).sum(-1, keepdim=True).clamp(max=order.shape[1] - 1))[:, 0]
