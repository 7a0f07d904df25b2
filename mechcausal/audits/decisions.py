"""Decisions, and whether they are right: of the answer against its foil, or of all words."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.audits.desk import Desk
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


def constant(prompts: PromptSet) -> np.ndarray:
    """Return 1 for each prompt whose answer is the most frequent one, else 0: what a guess without reading gets right."""
    answers = prompts.answer if prompts.answer is not None else prompts.answers
    assert answers is not None  # `undecidable` has said so
    ids = np.unique(answers.cpu().numpy().reshape(len(prompts), -1), axis=0, return_inverse=True)[1].reshape(-1)
    return (ids == np.bincount(ids).argmax()).astype(float)
