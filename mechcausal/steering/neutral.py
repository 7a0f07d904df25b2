"""Neutral text, and what an edit or a request costs on it: KL divergence and loss of the next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.arguments import Model
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric, metric
from mechcausal.models import bridge
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.hooked import forward

SENTENCES = (
    "The river was low after a dry summer, and the boats lay on the sand.",
    "Water boils at a lower temperature on a high mountain.",
    "To bake bread, mix flour, water, salt and yeast, and let the dough rest.",
    "The train to the coast leaves every hour from platform four.",
    "A triangle with three equal sides has three equal angles.",
    "In spring the market sells onions, carrots and young potatoes.",
    "The old library keeps maps of the harbor in wide wooden drawers.",
    "Copper conducts electricity better than iron does.",
    "The committee moved its meeting from Monday to Thursday afternoon.",
    "A good roof keeps out the rain for about forty years.",
    "Most birds that live near the lake fly south in October.",
    "The second chapter explains how the engine is cooled.",
    "Glass is made of sand that is melted at a very high temperature.",
    "The bridge was closed for repairs, so the bus took another road.",
    "Add the numbers in the first column and write the sum below.",
    "Clouds form when warm air rises and the water in it cools.",
)
"""Sentences about nothing in particular, for models of English."""


def _kl_of_all(logits: Tensor, batch: PromptSet, reference: Tensor) -> Tensor:
    old, new = (x.float().log_softmax(-1) for x in (reference, logits))
    return ((old.exp() * (old - new)).sum(-1) * batch.mask).sum(1) / batch.mask.sum(1)


KL_OF_ALL = Metric("kl of all tokens", _kl_of_all, compares=True, reads="all")


def neutral_prompts(model: Any, given: PromptSet | None) -> tuple[PromptSet | None, str]:  # noqa: ANN401
    """Return the neutral prompts, and why there are none: a tokenizer of few words does not know the sentences."""
    if given is not None:
        return given, ""
    try:
        return PromptSet.from_text(model, SENTENCES), ""
    except DataError as error:
        return None, str(error)


def cost_of(
    model: Model, neutral: PromptSet, cells: Sequence[tuple[Edit, ...]], batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the KL divergence and the rise of the loss under each edit, [cell prompt] each, in nats a token."""
    measured = [
        evaluate(
            model, Plan(neutral, list(cells), each, reference=neutral), batch_size=batch_size, progress="neutral text",
            unedited=True,
        )
        for each in (KL_OF_ALL, metric("loss"))
    ]  # fmt: skip
    return measured[0].values, measured[1].values - measured[1].unedited["base"]


@torch.no_grad()
def cost_of_asking(model: Any, neutral: PromptSet, ask: str) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Return the KL divergence and the rise of the loss when a request stands before each neutral text, [prompt].

    The first word of a text may be another token after a request, so it is not counted; texts that differ beyond it are NaN.
    """
    divergence, rise = np.full((2, len(neutral)), np.nan)
    if not neutral.texts:
        return divergence, rise
    asked = PromptSet.from_text(model, [f"{ask}{text}" for text in neutral.texts])
    for row, (before, after) in enumerate(zip(neutral.real_tokens, asked.real_tokens, strict=True)):
        shared = 0
        while shared < min(len(before), len(after)) - 1 and before[-1 - shared] == after[-1 - shared]:
            shared += 1
        if shared < 2:
            continue
        old, new = (_tail(model, tokens, shared) for tokens in (before, after))
        divergence[row] = float((old.exp() * (old - new)).sum(-1).mean())
        following = torch.tensor(before[-shared:][1:])
        losses = [-part[:-1].gather(1, following[:, None])[:, 0].mean() for part in (old, new)]
        rise[row] = float(losses[1] - losses[0])
    return divergence, rise


def _tail(model: Any, tokens: Sequence[int], count: int) -> Tensor:  # noqa: ANN401
    row = torch.tensor([tokens])
    batch = PromptSet(row, torch.ones_like(row, dtype=torch.bool)).to(bridge.device_of(model))
    return forward(model, batch).logits[0, -count:].float().log_softmax(-1).cpu()
