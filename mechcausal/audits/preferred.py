"""What a reward model decides: which text of a pair it prefers, by the larger reward.

Of the pairs the clean text is the one that was chosen, the corrupt one was rejected. A decision is right where the chosen text
has the larger reward, and half right where both have the same. Bradley and Terry (1952) take sigmoid(reward of the chosen less
that of the rejected) for the chance that the chosen one is chosen; only the difference counts, so nothing depends on which
text of a pair comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mechcausal.audits.desk import Desk
from mechcausal.audits.perturbed import plain_prompts, written
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.models.classifier import head_of

_ROUNDING = 1e-6  # of the larger reward of a pair: by no more, two rewards differ by their batches alone


def is_reward_model(model: Any) -> bool:  # noqa: ANN401 - a TransformerBridge
    """Say whether a model has a head of a single number."""
    head = head_of(model)
    return head is not None and len(head.labels) == 1


def asked_of(desk: Desk, data: PromptSet | Contrast) -> PromptSet | Contrast:
    """Return what is decided about: of a reward model the pairs, of any other model the prompts, of pairs the clean ones."""
    return data if isinstance(data, Contrast) and is_reward_model(desk.model) else plain_prompts(data)


def rewards_apart(desk: Desk, pairs: Contrast) -> np.ndarray:
    """Return by how much the reward of each chosen text is larger than that of the rejected one; 0 where by rounding alone."""
    chosen, rejected = desk.both(pairs)
    apart = chosen - rejected
    return np.where(np.abs(apart) <= _ROUNDING * np.maximum(np.abs(chosen), np.abs(rejected)), 0.0, apart)


def preferred(desk: Desk, pairs: Contrast) -> np.ndarray:
    """Return 1 for each pair whose chosen text has the larger reward, 1/2 where both have the same, else 0."""
    return (1 + np.sign(rewards_apart(desk, pairs))) / 2


def by_length(pairs: Contrast) -> np.ndarray:
    """Return what a guess by length alone gets right: the longer text, or the shorter one if that is right more often."""
    longer = (1 + np.sign((pairs.clean.lengths - pairs.corrupt.lengths).cpu().numpy())) / 2
    return longer if longer.mean() >= 0.5 else 1 - longer


def shown(desk: Desk, data: PromptSet | Contrast, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return some prompts, or pairs, as the beginning of examples: their number and their text.

    Args:
        desk: The desk.
        data: What `asked_of` gives.
        rows: Which.
    """
    if isinstance(data, PromptSet):
        texts = written(data.take(list(rows)), desk.model)
        return [{"prompt": row, "text": text} for row, text in zip(rows, texts, strict=True)]
    apart = rewards_apart(desk, data)
    sides = [written(side.take(list(rows)), desk.model) for side in (data.clean, data.corrupt)]
    return [
        {"pair": row, "chosen": chosen, "rejected": rejected, "larger_by": float(apart[row])}
        for row, chosen, rejected in zip(rows, *sides, strict=True)
    ]
