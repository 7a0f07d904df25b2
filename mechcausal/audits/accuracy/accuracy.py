"""Accuracy: how many decisions are right, of all prompts and of each group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mechcausal.arguments import Count, Texts
from mechcausal.audits.decisions import OfDecisions, constant, correct, guess_of, unnamed, what_is_written
from mechcausal.audits.desk import Desk
from mechcausal.audits.finding import Answer, Control
from mechcausal.audits.grouped import bars_of, by_group, groups_of, wrong_groups
from mechcausal.audits.perturbed import plain_prompts
from mechcausal.audits.preferred import asked_of, shown
from mechcausal.audits.question import Better, Family
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet


@dataclass(frozen=True, kw_only=True)
class Accuracy(OfDecisions):
    """Count the prompts whose decision is their answer; of a classifier, their label.

    1 is always right. The same is given for each group, with intervals that are clustered; a group is a combination of
    values of the columns in `by`. Of pairs the clean prompts are asked; a reward model is right where it gives the clean text,
    which was chosen, the larger reward, and half right where both have the same.

    Attributes:
        by: The columns that make the groups; all prompts together where there are none.
        against: Whether a decision is the likeliest of all words (of a classifier the likeliest label), that between answer
            and foil, or (`"written"`) which of the two stands first in what the model writes.
        tokens: How many tokens are written at most, where decisions are written.
        least: The smallest group that is accepted.
    """

    word: ClassVar[str] = "accuracy"
    family: ClassVar[Family] = "accuracy"
    estimand: ClassVar[str] = "the share of prompts (of a reward model, of pairs) whose decision is the right one"
    contrast: ClassVar[str] = "what the model decides against the answer that is declared right"
    scale: ClassVar[str] = "share of prompts"
    limits: ClassVar[tuple[str, ...]] = ("it speaks of prompts like these, and of no others",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    better: ClassVar[Better] = "high"
    by: Texts = ()
    least: Count = 10

    def answer(self, desk: Desk) -> Answer:
        """Return the accuracy."""
        asked = asked_of(desk, desk.data)
        prompts, right = plain_prompts(asked), correct(desk, asked, self.against, self.tokens)
        estimate = desk.rate(right, prompts.clusters)
        groups = groups_of(prompts, self.by) if self.by else np.full(len(prompts), "all")
        table = by_group(desk, right, groups, prompts.clusters)
        spread = f"; by group from {table['accuracy'].min():.1%} to {table['accuracy'].max():.1%}" if self.by else ""
        says = f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}] of decisions are right{spread}"
        rows = _order(right)
        said = what_is_written(desk, prompts, self.against, self.tokens, rows)
        examples = tuple(
            {**beginning, "group": str(groups[row]), "right": bool(right[row] > 0.5), **more}
            for row, beginning, more in zip(rows, shown(desk, asked, rows), said, strict=True)
        )
        return Answer(
            estimate, says, self._controls(desk, asked, estimate.value), table, (bars_of(table),) if self.by else (), examples,
            marks=unnamed(desk, prompts, self.against, self.tokens), units=tuple(right), unit_clusters=prompts.clusters,
        )  # fmt: skip

    def wrong_prompts(self, prompts: PromptSet) -> Iterator[str]:
        """Say what is wrong with the groups."""
        if self.by:
            yield from wrong_groups(prompts, self.by, self.least)

    def _controls(self, desk: Desk, asked: PromptSet | Contrast, value: float) -> tuple[Control, ...]:
        redraws = desk.against_redraws(
            ("accuracy", asked.hash, self.against, self.tokens),
            lambda other: float(correct(other, asked, self.against, self.tokens).mean()),
            value,
        )
        guess = desk.rate(constant(desk, asked), plain_prompts(asked).clusters)
        return (
            Control.inapplicable("random", "nothing inside the model is touched, so there is no other site to touch"),
            replace(redraws, guards=False),
            Control("trivial-input", f"{guess_of(asked)} is right in {guess.value:.1%}", guess),
        )


def _order(right: np.ndarray) -> list[int]:
    """Return the prompts to show: those that are wrong first."""
    return np.argsort(right, kind="stable")[:200].tolist()
