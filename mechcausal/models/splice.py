"""Edits and readings of features in one forward: the activation changes by what the edit of its features decodes to.

    f = encode(x)          f' = f after the edits          x' = x + (decode(f') - decode(f)) + (e' - e)

where `e = x - decode(f)` is the error, a place of its own that can be read and edited like the features. In this form an
edit that changes no feature changes the activation by exactly zero, whatever the dictionary reconstructs badly.

When gradients are wanted, `f'` and `e'` are points of the graph in their own right: the reconstruction flows through the
one, the rest through the other, and the gradient that passes below both is that of the unspliced model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from mechcausal.models.attached import Bound

Step = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class Latents:
    """One dictionary at its place in one forward.

    Attributes:
        bound: The dictionary.
        grad: Whether gradients by the features and the error are wanted.
        edits: What is done to the features, in turn.
        error_edits: What is done to the error, in turn.
        features: The features after the edits, once they were met.
        error: The error after the edits, likewise.
    """

    bound: Bound
    grad: bool
    edits: list[Step] = field(default_factory=list)
    error_edits: list[Step] = field(default_factory=list)
    wants_error: bool = False
    features: Tensor | None = None
    error: Tensor | None = None
    _encoded: Tensor | None = None

    def meet(self, x: Tensor) -> None:
        """Encode the activation that the dictionary reads, and edit the features."""
        encoded = new = self.bound.encode(x)
        for edit in self.edits:
            new = edit(new)
        self._encoded, self.features = encoded, _node(new) if self.grad else new

    def change(self, y: Tensor) -> Tensor | None:
        """Return what is added to the activation that the dictionary reconstructs; None where nothing is."""
        assert self._encoded is not None  # it has met its activation
        assert self.features is not None
        moves, strays = bool(self.edits) or self.grad, bool(self.error_edits) or self.wants_error
        if not moves and not strays:
            return None
        old = self.bound.like(self.bound.decode(self._encoded), y)
        total = None
        if moves:
            total = self.bound.like(self.bound.decode(self.features), y) - old
        if strays:
            error = new = y - old
            for edit in self.error_edits:
                new = edit(new)
            self.error = _node(new) if self.grad else new
            total = self.error - error if total is None else total + (self.error - error)
        return total


@dataclass(eq=False)
class Splice:
    """The dictionaries that meet one activation at once; each sees it as it comes, and their changes add up."""

    latents: dict[str, Latents] = field(default_factory=dict)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the activation with the edits of all features and errors made."""
        out = x
        for latents in self.latents.values():
            latents.meet(x)
            # A transcoder writes later, where its output is.
            change = latents.change(x) if latents.bound.site_out is None else None
            out = out if change is None else out + change
        return out


@dataclass(eq=False)
class Arrival:
    """The place where a transcoder's edits arrive."""

    latents: Latents

    def __call__(self, y: Tensor) -> Tensor:
        """Return what the transcoder reconstructs, with the edits of its features and its error made."""
        change = self.latents.change(y)
        return y if change is None else y + change


def _node(value: Tensor) -> Tensor:
    """Return the same numbers as a point of the graph that gradients can be taken by."""
    return value.clone() if value.requires_grad else value.detach().requires_grad_(True)
