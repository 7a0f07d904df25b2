"""Decisions that move when prompts are changed: how many, how far their log-odds go, and beside redrawn networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mechcausal.arguments import Count, Number
from mechcausal.audits import perturbed
from mechcausal.audits.decisions import TOKENS, Against, decisions, forwards_of, undecidable
from mechcausal.audits.desk import Desk
from mechcausal.audits.finding import Control
from mechcausal.audits.outcome import unread
from mechcausal.audits.question import AuditQuestion
from mechcausal.data.prompts import PromptSet


@dataclass(frozen=True, kw_only=True)
class OfMoves(AuditQuestion):
    """A question about decisions that move when prompts are changed.

    Attributes:
        against: Whether a decision is that between answer and foil, the likeliest of all words (of a classifier the likeliest
            label), or (`"written"`) which of answer and foil stands first in what the model writes, or neither.
        cutoff: The log-odds above which the answer is taken, for decisions against the foil.
        tokens: How many tokens are written at most, where decisions are written.
    """

    against: Against = "foil"
    cutoff: Number = 0.0
    tokens: Count = TOKENS

    def moves(self, desk: Desk, before: PromptSet, after: PromptSet) -> np.ndarray:
        """Return 1 for each prompt whose decision is another after it was changed, else 0."""
        first, second = (decisions(desk, side, self.against, self.cutoff, self.tokens) for side in (before, after))
        return (first != second).astype(float)

    def shift(self, desk: Desk, before: PromptSet, after: PromptSet) -> np.ndarray:
        """Return by how much the log-odds of each prompt rise; NaN where there are none."""
        if undecidable(desk, before, "foil") is not None:
            return np.full(len(before), np.nan)
        return desk.outcomes(after) - desk.outcomes(before)

    def beyond_redraws(self, desk: Desk, before: PromptSet, after: PromptSet, share: float) -> Control:
        """Return the control "networks with redrawn weights are moved as much"."""
        return moved_beyond_redraws(
            desk, (self.against, self.cutoff, self.tokens), before, after,
            lambda other: float(self.moves(other, before, after).mean()), share,
        )  # fmt: skip

    def moved_anywhere(self, desk: Desk, before: PromptSet) -> Control:
        """Exchange one word of each prompt, wherever it stands: what a change of any word does."""
        after = perturbed.elsewhere(before, seed=desk.seed)
        share = desk.rate(self.moves(desk, before, after), before.clusters)
        says = f"one word exchanged at a place drawn at random moves {share.value:.1%} of the decisions"
        return Control("random", says, share)

    def forwards_of_sides(self, desk: Desk, *sides: PromptSet) -> float:
        """Return how many forwards the decisions about prompts and their log-odds take."""
        return sum(forwards_with_odds(desk, side, self.against, self.tokens) for side in sides)


def forwards_with_odds(desk: Desk, prompts: PromptSet, against: Against, tokens: int = TOKENS) -> float:
    """Return how many forwards the decisions about prompts and their log-odds take, which decisions by these have already."""
    apart = against != "foil" and undecidable(desk, prompts, "foil") is None
    return forwards_of(desk, prompts, against, tokens) + (desk.runs(prompts) if apart else 0)


def moved_beyond_redraws(
    desk: Desk,
    key: tuple[Any, ...],
    before: PromptSet,
    after: PromptSet,
    flips: Callable[[Desk], float],
    observed: float,
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
        observed: That of the model itself.
    """
    name = ("flips", before.hash, after.hash, *key)
    if desk.networks < 2 or next(unread(desk.outcome, before), None) is not None:
        return desk.against_redraws(name, flips, observed)

    def distance(other: Desk) -> float:
        return float(np.abs(other.outcomes(after) - other.outcomes(before)).mean())

    drawn = desk.in_redraws(("moved", *name), lambda other: [flips(other), distance(other)])
    first = desk.beyond(drawn[:, 0], observed)
    p, says = min(1.0, 2 * first.p), first.says
    if p > 1 - desk.level:
        moved = distance(desk)
        second = desk.beyond(drawn[:, 1], moved)
        p = min(p, 2 * second.p)
        assert second.estimate is not None  # as of the first
        says += f"; the log-odds move by {moved:.3g}, there by {second.estimate.value:.3g}"
    return replace(first, p=p, says=says, holds=p <= 1 - desk.level)
