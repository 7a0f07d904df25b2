"""Decisions, and whether they are right: of the answer against its foil, or of all words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.audits.desk import Desk
from mechcausal.audits.finding import Control
from mechcausal.audits.outcome import unread
from mechcausal.audits.perturbed import plain_prompts
from mechcausal.audits.question import AuditQuestion
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import Metric, at_read_position

Against = Literal["foil", "all"]
"""Whether a decision is that between the answer and its foil, or the likeliest of all words."""


def _likeliest(logits: Tensor, batch: PromptSet) -> Tensor:
    return at_read_position(logits, batch).argmax(-1).to(torch.float64)


def _log_odds(logits: Tensor, batch: PromptSet) -> Tensor:
    """Return the log-odds of the likeliest word against all others together."""
    values = at_read_position(logits, batch).double()
    first, where = values.max(-1)
    rest = values.scatter(1, where[:, None], float("-inf")).logsumexp(-1)
    return first - rest


LIKELIEST = Metric("likeliest word", _likeliest, reads="position", differentiable=False)
CONFIDENCE = Metric("log-odds of the likeliest word", _log_odds, reads="position", differentiable=False)


def decisions(desk: Desk, prompts: PromptSet, against: Against, cutoff: float = 0.0) -> np.ndarray:
    """Return a number for the decision about each prompt: 1 and 0 for answer and foil, or the likeliest token."""
    if against == "foil":
        return (desk.outcomes(prompts) > cutoff).astype(float)
    return desk.outcomes(prompts, LIKELIEST)


def correct(desk: Desk, prompts: PromptSet, against: Against) -> np.ndarray:
    """Return 1 for each prompt whose decision is its answer, else 0."""
    if against == "foil":
        return (desk.outcomes(prompts) > 0).astype(float)
    return np.asarray(desk.outcomes(prompts, "accuracy"), dtype=float)


def confidence(desk: Desk, prompts: PromptSet, against: Against) -> np.ndarray:
    """Return the log-odds that the model gives to its own decision about each prompt."""
    if against == "foil":
        return np.abs(desk.outcomes(prompts))
    return desk.outcomes(prompts, CONFIDENCE)


def moved_beyond_redraws(
    desk: Desk, key: tuple[Any, ...], before: PromptSet, after: PromptSet, flips: Callable[[Desk], float], own: float
) -> Control:
    """Return the control "networks with redrawn weights are moved as much", on two scales with one error between them.

    The decision of a network that has learned nothing hangs by a thread, so it may flip as often as a learned one that
    is moved far. So the model is beyond these networks if more of its decisions flip, or if its log-odds move further.

    Args:
        desk: The desk.
        key: What the share of flips is, so that questions share it.
        before: The prompts.
        after: The same, changed.
        flips: The share of decisions that flip, at a desk.
        own: That of the model itself.
    """
    first = desk.against_redraws(("flips", before.hash, after.hash, *key), flips, own)
    if first.estimate is None or next(unread(desk.outcome, before), None) is not None:
        return first
    p, says = min(1.0, 2 * first.p), first.says
    if p > 1 - desk.level:

        def distance(other: Desk) -> float:
            return float(np.abs(other.outcomes(after) - other.outcomes(before)).mean())

        moved = distance(desk)
        second = desk.against_redraws(("distance", before.hash, after.hash), distance, moved)
        p = min(p, 2 * second.p)
        assert second.estimate is not None  # as of the first
        says += f"; the log-odds move by {moved:.3g}, there by {second.estimate.value:.3g}"
    return replace(first, p=p, says=says, holds=p <= 1 - desk.level)


def undecidable(data: PromptSet | Contrast, against: Against, *, needs_answer: bool = False) -> str | None:
    """Say why there is no decision about these prompts; None where there is."""
    prompts = data.clean if isinstance(data, Contrast) else data
    answer, foil = (getattr(prompts, name) is not None or getattr(prompts, f"{name}s") is not None
                    for name in ("answer", "foil"))  # fmt: skip
    if against == "foil" and not (answer and foil):
        return "have no answer and foil, so there is no decision between them"
    if against == "all" and needs_answer and not answer:
        return "have no answer, so no decision is right or wrong"
    return None


@dataclass(frozen=True, kw_only=True)
class OfDecisions(AuditQuestion):
    """A question about decisions that are right or wrong; of pairs the clean prompts are asked.

    Attributes:
        against: Whether a decision is the likeliest of all words, or that between answer and foil.
    """

    against: Against = "all"

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the prompts."""
        yield from super().problems(data)
        if not isinstance(data["data"], self.takes):
            return
        prompts = plain_prompts(data["data"])
        if (why := undecidable(prompts, self.against, needs_answer=True)) is not None:
            yield f"the prompts in {self._name_of('data')} {why}"
        yield from self.wrong_prompts(prompts)

    def wrong_prompts(self, prompts: PromptSet) -> Iterator[str]:
        """Say what else is wrong with the prompts."""
        raise NotImplementedError


def constant(prompts: PromptSet) -> np.ndarray:
    """Return 1 for each prompt whose answer is the most frequent one, else 0: what a guess without reading gets right."""
    answers = prompts.answer if prompts.answer is not None else prompts.answers
    assert answers is not None  # `undecidable` has said so
    ids = np.unique(answers.cpu().numpy().reshape(len(prompts), -1), axis=0, return_inverse=True)[1].reshape(-1)
    return (ids == np.bincount(ids).argmax()).astype(float)
