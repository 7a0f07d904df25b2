"""Two small questions for tests of what works on any question: how often the answer is right, overall and in the worst group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mechcausal.audits.finding import Answer
from mechcausal.audits.question import AuditQuestion
from mechcausal.data.prompts import PromptSet


@dataclass(frozen=True, kw_only=True)
class SmallAccuracy(AuditQuestion):
    """How often the answer has larger odds than its foil."""

    word: ClassVar[str] = "small_accuracy"
    estimand: ClassVar[str] = "the share of prompts whose answer is preferred to its foil"
    scale: ClassVar[str] = "share of prompts"
    better: ClassVar[str] = "high"
    takes: ClassVar[tuple[type, ...]] = (PromptSet,)

    def answer(self, desk):
        right = (desk.outcomes(desk.data) > 0).astype(float)
        clusters = desk.data.clusters
        estimate = desk.mean(right, clusters)
        return Answer(estimate, f"right in {estimate}", units=tuple(right), unit_clusters=clusters)


@dataclass(frozen=True, kw_only=True)
class SmallWorstGroup(AuditQuestion):
    """The same in the group where it is lowest, as a linearized mean over all prompts."""

    word: ClassVar[str] = "small_worst_group"
    estimand: ClassVar[str] = "the lowest share over groups"
    scale: ClassVar[str] = "share of prompts"
    better: ClassVar[str] = "high"
    takes: ClassVar[tuple[type, ...]] = (PromptSet,)

    def answer(self, desk):
        right = (desk.outcomes(desk.data) > 0).astype(float)
        groups = np.array(desk.data.groups)
        shares = {group: right[groups == group].mean() for group in np.unique(groups)}
        worst = min(shares, key=shares.get)
        member = (groups == worst).astype(float)
        units = shares[worst] + member / member.mean() * (right - shares[worst])
        estimate = desk.mean(units, desk.data.clusters)
        return Answer(estimate, f"{worst}: {estimate}", units=tuple(units), unit_clusters=desk.data.clusters)


@dataclass(frozen=True, kw_only=True)
class SmallMethod(AuditQuestion):
    """A question that edits the model itself, so that it cannot be asked under edits."""

    word: ClassVar[str] = "small_method"
    estimand: ClassVar[str] = "nothing"
    under_edits: ClassVar[bool] = False

    def answer(self, desk):
        raise NotImplementedError
