"""Networks that have learned nothing: the weights of a model redrawn, each tensor with the mean and the spread it had."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch

from mechcausal.models import bridge
from mechcausal.models.abilities import abilities, hand_on


@torch.no_grad()
def redraw(model: Any, seed: int) -> None:  # noqa: ANN401 - a TransformerBridge
    """Replace all weights, in place, by normal draws with the mean and the spread of their tensor."""
    generator = torch.Generator().manual_seed(seed)
    for weight in bridge.underlying(model).parameters():
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        spread = weight.float().std(unbiased=False).to(weight)
        weight.copy_(weight.float().mean().to(weight) + spread * noise)


@contextmanager
def redrawing(model: Any) -> Generator[Callable[[int], None]]:  # noqa: ANN401 - a TransformerBridge
    """Give a function that redraws the weights in place from a seed; afterwards the weights are what they were, bit for bit.

    Every draw starts from the original weights, so it is a function of the seed alone. What the model can do is what it could
    with its own weights.
    """
    able = abilities(model)
    weights = list(bridge.underlying(model).parameters())
    with torch.no_grad():
        kept = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def restore() -> None:
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)

    def draw(seed: int) -> None:
        restore()
        redraw(model, seed)
        hand_on(model, able)

    try:
        yield draw
    finally:
        restore()
