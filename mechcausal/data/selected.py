"""The positions that selections name in one batch of prompts, each found once."""

from __future__ import annotations

import torch
from torch import Tensor

from mechcausal.address import Selection
from mechcausal.data.prompts import PromptSet


class Selected:
    """What selections name in one batch."""

    def __init__(self, batch: PromptSet) -> None:
        self.batch = batch
        self._numbers: dict[tuple[Selection, ...], int] = {}
        self._found: list[Tensor] = []
        self._masks: Tensor | None = None

    def number(self, *selections: Selection) -> int:
        """Return the number under which `masks` has the places that any of these select."""
        if selections not in self._numbers:
            self._numbers[selections] = len(self._found)
            masks = [self.batch.select(at) for at in selections]
            self._found.append(masks[0] if len(masks) == 1 else torch.stack(masks).any(0))
            self._masks = None
        return self._numbers[selections]

    def of(self, *selections: Selection) -> Tensor:
        """Return the places that any of these select, [batch pos]."""
        return self._found[self.number(*selections)]

    @property
    def masks(self) -> Tensor:
        """All places that have a number, [number batch pos]."""
        if self._masks is None:
            self._masks = torch.stack(self._found)
        return self._masks
