"""What a mitigation costs on neutral text: how far the next-token distributions move, and how much worse they predict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mechcausal.audits.desk import Desk
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError
from mechcausal.interventions.specs import Edit
from mechcausal.models import bridge
from mechcausal.models.hooked import forward

_AT_A_TIME = 16  # prompts whose logits, at every token, are held for two models


@torch.no_grad()
def cost_on_neutral(before: Desk, after: Desk, neutral: PromptSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the KL divergence from the unedited model and the rise of the loss, [prompt] each, in nats a token.

    Where prompts are rewritten, the tokens that both texts end with are compared; a prompt without any is NaN.

    Args:
        before: The desk of the model as it is.
        after: The desk under a mitigation.
        neutral: Neutral prompts.
    """
    if after.runner is not None:
        raise UnsupportedError("what a path costs on neutral text is not measured")
    rewritten = neutral if after.rewrite is None else after.rewrite(neutral)
    edits = tuple(_everywhere(edit, rewritten) for edit in after.edits)
    rows = []
    for low in range(0, len(neutral), _AT_A_TIME):
        part = slice(low, low + _AT_A_TIME)
        old = _log_probabilities(before, neutral.take(part), ())
        new = _log_probabilities(after, rewritten.take(part), edits)
        rows += [_compared(*each) for each in zip(old, new, strict=True)]
    divergence, rise = np.array(rows, dtype=float).T
    return divergence, rise


def _everywhere(edit: Edit, prompts: PromptSet) -> Edit:
    """Return an edit that is made at all positions where neutral text has not those that it names."""
    has_position = edit.at.name is None or edit.at.name in prompts.positions
    return edit if has_position else replace(edit, at=type(edit.at)())


def _log_probabilities(desk: Desk, prompts: PromptSet, edits: tuple[Edit, ...]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the tokens of each prompt, and the log-probabilities that follow each of them, [token vocabulary]."""
    batch = prompts.to(bridge.device_of(desk.model))
    logits = forward(desk.model, batch, edits).logits.float().log_softmax(-1).cpu()
    for number in range(len(prompts)):
        yield prompts.real_tokens_of(number), logits[number][prompts.mask[number].cpu()]


def _compared(old: tuple[list[int], Tensor], new: tuple[list[int], Tensor]) -> tuple[float, float]:
    """Return the divergence over the tokens that both texts end with, and the rise of their loss."""
    (before, first), (after, second) = old, new
    shared = 0
    while shared < min(len(before), len(after)) and before[-1 - shared] == after[-1 - shared]:
        shared += 1
    if not shared:
        return float("nan"), float("nan")
    first, second = first[-shared:], second[-shared:]
    divergence = float((first.exp() * (first - second)).sum(-1).mean())
    if shared < 2:
        return divergence, float("nan")
    following = torch.tensor(before[-shared:][1:])[:, None]
    losses = [-float(part[:-1].gather(1, following).mean()) for part in (first, second)]
    return divergence, losses[1] - losses[0]
