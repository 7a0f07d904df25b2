"""What a search for directions descends on: orthonormal columns, a soft boundary in them, and a temperature."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mechcausal.address import Vector, vector

_HOTTEST, _COLDEST = 0.25, 0.1  # how soft the boundary is: at first a quarter of the width, at last a tenth of a place
_SLOW = 0.1  # the rate of the boundary beside that of the directions
_COOLED = 0.7  # the share of the steps after which the temperature is 1
_TINY = 1e-12


class Cooling:
    """The temperature of the answers, which falls to 1.

    A network that is sure of its answers gives steep losses, in whose valleys a search ends early. So it begins as hot
    as makes the first loss that of a guess.
    """

    def __init__(self, steps: int, answers: int) -> None:
        self.steps, self.guess = steps, math.log(max(answers, 2))
        self.hottest = 1.0

    def temperature(self, logits: Tensor, expected: Tensor, step: int) -> float:
        """Return the temperature of a step."""
        if step == 0:
            self.hottest = max(1.0, F.cross_entropy(logits.detach().float(), expected).item() / self.guess)
        return self.hottest ** max(0.0, 1 - step / (_COOLED * self.steps))


class Rotation:
    """An orthonormal basis under descent; in the boundless form of all of the span, with a soft boundary in it."""

    def __init__(self, span: Tensor, k: int | None, seed: int, start: Tensor | None = None) -> None:
        width = span.shape[1]
        if start is None:
            start = torch.randn(width, width if k is None else k, generator=torch.Generator().manual_seed(seed))
        self.span = span.float()
        self.raw = start.to(span.device).requires_grad_(True)
        self.boundary = torch.tensor(0.5, device=span.device, requires_grad=True) if k is None else None

    def parameters(self, rate: float) -> list[tuple[Tensor, float]]:
        """Return what is searched for, each with its rate: the boundary must not close before directions are found."""
        searched = [(self.raw, rate)]
        return searched if self.boundary is None else [*searched, (self.boundary, _SLOW * rate)]

    @property
    def penalty(self) -> Tensor | float:
        """The share of the space that lies within the boundary."""
        return 0.0 if self.boundary is None else self.boundary.clamp(min=0.0)

    def columns(self, progress: float) -> Tensor:
        """Return the columns inside which values are moved; soft ones are shorter than 1."""
        basis = self.span @ torch.linalg.qr(self.raw)[0]
        if self.boundary is None:
            return basis
        width = len(self.raw)
        hottest = max(_HOTTEST * width, _COLDEST)
        temperature = hottest * (_COLDEST / hottest) ** progress
        place = torch.arange(width, device=basis.device) + 0.5
        inside = torch.sigmoid((self.boundary * width - place) / temperature)
        # A change is made by `columns @ columns.T`, so the root makes each coordinate move by its share.
        return basis * inside.clamp(min=_TINY).sqrt()

    def basis(self) -> tuple[tuple[float, ...], ...]:
        """Return the directions that were found, as rows."""
        columns = self.span @ torch.linalg.qr(self.raw.detach())[0]
        return rows_of(columns.T)

    def settled(self) -> Rotation:
        """Return the directions within the boundary, to go on with."""
        assert self.boundary is not None
        width = len(self.raw)
        count = min(max(1, round(float(self.boundary.detach()) * width)), width)
        return Rotation(self.span, count, 0, start=torch.linalg.qr(self.raw.detach())[0][:, :count])


def rows_of(matrix: np.ndarray | Tensor) -> tuple[Vector, ...]:
    """Return the rows of a matrix as a part keeps them."""
    return tuple(vector(row) for row in matrix)
