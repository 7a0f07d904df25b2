"""The worst group: how often decisions are right where they are least often right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mechcausal.arguments import Count, Texts
from mechcausal.audits.decisions import OfDecisions, constant, correct, guess_of, unnamed, what_is_written
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import MOST
from mechcausal.audits.finding import Answer, Control
from mechcausal.audits.grouped import bars_of, by_group, groups_of, wrong_groups
from mechcausal.audits.linear import as_units, of_part
from mechcausal.audits.perturbed import plain_prompts
from mechcausal.audits.preferred import asked_of, shown
from mechcausal.audits.question import Better, Family
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet

_SHUFFLES = 199


@dataclass(frozen=True, kw_only=True)
class WorstGroup(OfDecisions):
    """Measure the accuracy of the group that the model serves worst (Sagawa et al. 2020).

    Groups are the combinations of values of the columns in `by`. The interval and the p-value count that the worst of
    several groups was looked for. 1 is always right in every group.

    Attributes:
        by: The columns that make the groups, such as `("label", "group")`.
        against: Whether a decision is the likeliest of all words (of a classifier the likeliest label), that between answer
            and foil, or (`"written"`) which of the two stands first in what the model writes.
        tokens: How many tokens are written at most, where decisions are written.
        least: The smallest group that is accepted.
    """

    word: ClassVar[str] = "worst_group"
    family: ClassVar[Family] = "robustness"
    estimand: ClassVar[str] = "the share of right decisions in the group in which it is smallest"
    contrast: ClassVar[str] = "the worst group against all others"
    population: ClassVar[str] = "prompts like those in the data, of the groups named"
    held_fixed: ClassVar[str] = "nothing: groups may differ in whatever goes with them"
    scale: ClassVar[str] = "share of prompts"
    limits: ClassVar[tuple[str, ...]] = ("groups that were not declared may be served worse",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    better: ClassVar[Better] = "high"
    by: Texts = ("group",)
    least: Count = 10

    def answer(self, desk: Desk) -> Answer:
        """Return the accuracy of the worst group."""
        asked = asked_of(desk, desk.data)
        prompts = plain_prompts(asked)
        right, groups = correct(desk, asked, self.against, self.tokens), groups_of(prompts, self.by)
        ids = np.asarray(prompts.clusters) if prompts.clusters else np.arange(len(prompts))
        names = sorted(set(groups.tolist()))
        shares = [desk.rate(right[groups == name], ids[groups == name]) for name in names]
        estimate = Estimate.smallest(shares)
        worst = names[int(np.argmin([share.value for share in shares]))]
        table = by_group(desk, right, groups, prompts.clusters)
        rest = desk.rate(right[groups != worst], ids[groups != worst])
        says = (
            f"in the group {worst!r} {estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}] of decisions are "
            f"right, in all others {rest.value:.1%}"
        )
        inside = np.flatnonzero(groups == worst)
        rows = inside[np.argsort(right[inside], kind="stable")][:MOST].tolist()  # those decided wrongly first
        said = what_is_written(desk, prompts, self.against, self.tokens, rows)
        return Answer(
            estimate, says, self._controls(desk, asked, right, groups, estimate.value), table, (bars_of(table),),
            tuple(
                {**beginning, "group": worst, "right": bool(right[row] > 0.5), **more}
                for row, beginning, more in zip(rows, shown(desk, asked, rows), said, strict=True)
            ),
            n_tests=len(names), marks=unnamed(desk, prompts, self.against, self.tokens), units=as_units(of_part(right, groups == worst)), unit_clusters=prompts.clusters,
        )  # fmt: skip

    def wrong_prompts(self, prompts: PromptSet) -> Iterator[str]:
        """Say what is wrong with the groups."""
        if not self.by:
            yield "it names no columns that make groups: by = [...]"
        else:
            yield from wrong_groups(prompts, self.by, self.least)

    def _controls(
        self, desk: Desk, asked: PromptSet | Contrast, right: np.ndarray, groups: np.ndarray, worst: float
    ) -> tuple[Control, ...]:
        redraws = desk.against_redraws(
            ("worst group", asked.hash, self.by, self.against, self.tokens),
            lambda other: lowest(correct(other, asked, self.against, self.tokens), groups),
            worst,
        )
        draw = np.random.default_rng([desk.seed, 29])
        random = np.array([lowest(right, draw.permutation(groups)) for _ in range(_SHUFFLES)])
        p = float((1 + (random <= worst).sum()) / (1 + len(random)))
        low, high = np.quantile(random, [0.025, 0.975])
        drawn = Estimate(float(random.mean()), float(low), float(high), len(random), len(random))
        guess = lowest(constant(desk, asked), groups)
        says = f"among groups of these sizes drawn at random the worst has {random.mean():.1%} on average"
        return (
            Control("random", says, drawn, p, holds=p <= 0.05),
            replace(redraws, guards=False),
            Control(
                "trivial-input", f"{guess_of(asked)} is right in {guess:.1%} of the group in which it is least often",
                Estimate.exact(guess, len(asked)),
            ),
        )  # fmt: skip


def lowest(right: np.ndarray, groups: np.ndarray) -> float:
    """Return the share of right decisions in the group in which it is smallest."""
    return min(float(right[groups == name].mean()) for name in np.unique(groups))
