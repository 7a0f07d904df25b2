"""Membership inference: can it be told from the model whether a text was in its training data?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import stats

from mechcausal.arguments import OpenShare, number
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Line, Lines
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_area, of_caught
from mechcausal.audits.privacy.attacks import ATTACKS, Attack, attack_scores
from mechcausal.audits.privacy.curves import auc, operating_point
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.prompting import OTHER, OtherModel, other_model
from mechcausal.audits.privacy.words import words_alone
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.data.splits import cluster_numbers
from mechcausal.probes.controls import shuffle_labels
from mechcausal.probes.held_out import area
from mechcausal.results.multiplicity import holm

SHIFTED = 0.55
"""The AUC of words alone above which members and nonmembers are two kinds of texts."""
FEWEST = 10
"""Clusters of members, and of nonmembers, that are needed."""
_SHUFFLES = 400
_POINTS = 60  # of a curve
_Rate = Annotated[float, number("a share above 0 and below 1", 1e-9, 1 - 1e-9)]


@dataclass(frozen=True, kw_only=True)
class Membership(AuditQuestion):
    """Tell members from nonmembers by a score of each text (Yeom et al. 2018, Carlini et al. 2022, Shi et al. 2024).

    The number is that of `attack`, chosen before the run; the other attacks stand in the table. Where a classifier of
    word counts, which sees no model, tells the two sets apart with an AUC above .55, they differ in more than membership:
    the result is marked invalid and no threshold is judged.

    Attributes:
        attack: The attack that is judged.
        attacks: Others that are tabulated.
        measure: `"auc"`, or `"tpr"` at the first of `fpr`.
        fpr: At which shares of accused nonmembers the share of caught members is given.
        share: The share of tokens that `min_k` and `min_k_plus` look at.
        reference: The other model of the attack `reference`.
    """

    word: ClassVar[str] = "membership"
    family: ClassVar[Family] = "privacy"
    contrast: ClassVar[str] = "texts that were in the training data against texts that were not"
    population: ClassVar[str] = "texts like the members and nonmembers given"
    held_fixed: ClassVar[str] = "the model and the attack: every text is scored in the same way"
    identified: ClassVar[Identified] = "attack-lower-bound"
    assumptions: ClassVar[tuple[str, ...]] = (
        "members and nonmembers were drawn alike, so that membership is all that differs between them",
    )
    limits: ClassVar[tuple[str, ...]] = ("it holds for these attacks; a stronger one may tell more",)
    takes: ClassVar[tuple[type[Any], ...]] = (Members,)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    attack: Attack = "loss"
    attacks: tuple[Attack, ...] = ("loss", "zlib", "min_k", "min_k_plus")
    measure: Literal["auc", "tpr"] = "auc"
    fpr: tuple[_Rate, ...] = (0.01, 0.001)
    share: OpenShare = 0.2
    reference: OtherModel = field(default=None, metadata=OTHER)

    @property
    def estimand(self) -> str:
        """What the number is."""
        if self.measure == "auc":
            return f"the chance that the attack {self.attack!r} scores a member above a nonmember"
        return f"the share of members that the attack {self.attack!r} catches while it accuses at most {self.fpr[0]:.2%} of nonmembers"

    @property
    def null(self) -> float | None:
        """What an attack that guesses scores; of a share that is caught there is no such number."""
        return 0.5 if self.measure == "auc" else None

    @property
    def scale(self) -> str:
        """The unit of the number."""
        return "AUC" if self.measure == "auc" else "share of members"

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the texts, and which attacks lack a model."""
        yield from super().problems(data)
        texts = data["data"]
        if "reference" in (self.attack, *self.attacks) and self.reference is None:
            yield 'the attack "reference" needs another model: reference = "..."'
        if not self.fpr:
            yield "fpr is empty: give a share of nonmembers, such as [0.01]"
        if not isinstance(texts, Members):
            return
        clusters = cluster_numbers(texts.clusters, len(texts))
        for name, side in (("members", texts.mask), ("nonmembers", ~texts.mask)):
            count = len(np.unique(clusters[side]))
            if count < FEWEST:
                yield f"there are {count} independent {name}, and {FEWEST} are needed"
        nonmembers = int((~texts.mask).sum())
        if self.measure == "tpr" and self.fpr and self.fpr[0] * nonmembers < 1:
            yield f"with {nonmembers} nonmembers a share of {self.fpr[0]:.2%} of them cannot be measured: bring {int(np.ceil(1 / self.fpr[0]))}"

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards of one prompt it takes: one for each attack, and of `reference` one in each model."""
        asked = {self.attack, *self.attacks}
        return len(desk.data) * (len(asked) + ("reference" in asked and "loss" not in asked))

    def answer(self, desk: Desk) -> Answer:
        """Return how well members are told from nonmembers."""
        texts: Members = desk.data
        members, clusters = texts.mask, cluster_numbers(texts.clusters, len(texts))
        asked = tuple(attack for attack in ATTACKS if attack in (self.attack, *self.attacks))
        other = None if self.reference is None else other_model(desk, self.reference)
        scores = attack_scores(desk, texts, asked, share=self.share, reference=other)
        areas = {name: auc(score, members, clusters.tolist(), desk.level) for name, score in scores.items()}
        chosen = scores[self.attack]
        points = [operating_point(chosen, members, rate, desk.level) for rate in self.fpr]
        estimate = areas[self.attack] if self.measure == "auc" else points[0].caught
        null = self._null(chosen, members, clusters, desk.seed)
        words = words_alone(texts.texts, members, clusters, seed=desk.seed, level=desk.level)
        shifted = words.value > SHIFTED
        p = (1 + int((null >= areas[self.attack].value - 1e-12).sum())) / (len(null) + 1)
        controls = (
            self._halves(chosen, members, clusters, desk),
            Control(
                "no-learning",
                f"with membership shuffled over clusters {len(null)} times, the AUC is {null.mean():.3f} (sd {null.std():.3f})",
                Estimate.exact(float(null.mean()), len(null)), p, guards=True, holds=p <= 0.05,
            ),
            Control(
                "trivial-input",
                f"a classifier of word counts, which sees no model, tells the two apart with an AUC of {words}",
                words, words.at_most(0.5), holds=not shifted,
            ),
        )  # fmt: skip
        invalid = f"members and nonmembers differ in their words (AUC {words.value:.2f} without any model), so they were not drawn alike"
        unmeasurable = [point for point in points if not point.measurable]
        nonmembers = int((~members).sum())
        limits = tuple(
            f"with {nonmembers} nonmembers a false positive rate of {point.fpr:.2%} cannot be measured; at none accused, "
            f"{point.caught.value:.1%} of members are caught"
            for point in unmeasurable
        )
        tpr = "; ".join(
            f"{point.caught.value:.1%} [{point.caught.low:.1%}, {point.caught.high:.1%}] caught at {point.fpr:.2%} accused"
            for point in points if point.measurable
        )  # fmt: skip
        says = (
            f"{'invalid: ' if shifted else ''}{self.attack} tells {int(members.sum())} members from {nonmembers} nonmembers "
            f"with an AUC of {areas[self.attack]}"
            + (f"; {tpr}" if tpr else "; no low false positive rate is measurable")
        )
        best = max((point.eps_lower for point in points), default=0.0)
        return Answer(
            estimate, says + f"; epsilon is at least {best:.2f}", controls,
            self._table(scores, areas, members, desk.level), (self._figure(scores, members),),
            tuple(
                {"text": text, "member": bool(member), **{name: float(score[row]) for name, score in scores.items()}}
                for row, (text, member) in enumerate(zip(texts.texts, members, strict=True))
            ),
            n_tests=len(areas), limits=limits, marks={"invalid": invalid} if shifted else {},
            cannot_fail=invalid if shifted else "", units=as_units(self._units(chosen, members)),
            unit_clusters=tuple(map(str, texts.clusters)),
        )  # fmt: skip

    def _units(self, score: np.ndarray, members: np.ndarray) -> np.ndarray:
        return of_area(score, members) if self.measure == "auc" else of_caught(score, members, self.fpr[0])

    def _null(self, score: np.ndarray, members: np.ndarray, clusters: np.ndarray, seed: int) -> np.ndarray:
        draw, labels = np.random.default_rng([seed, 11]), members.astype(int)
        return np.array([area(score, shuffle_labels(labels, clusters, draw) == 1) for _ in range(_SHUFFLES)])

    def _halves(self, score: np.ndarray, members: np.ndarray, clusters: np.ndarray, desk: Desk) -> Control:
        """Return the AUC between two halves of the nonmembers, which membership does not tell apart."""
        others = np.unique(clusters[~members])
        half = np.random.default_rng([desk.seed, 12]).permutation(others)[: len(others) // 2]
        estimate = auc(score[~members], np.isin(clusters[~members], half), clusters[~members].tolist(), desk.level)
        says = f"between two random halves of the nonmembers the AUC is {estimate}"
        return Control("random", says, estimate, holds=bool(estimate.low <= 0.5 <= estimate.high))

    def _table(
        self, scores: Mapping[Attack, np.ndarray], areas: Mapping[Attack, Estimate], members: np.ndarray, level: float
    ) -> pd.DataFrame:
        adjusted = dict(zip(areas, holm(np.array([_above_half(estimate) for estimate in areas.values()])), strict=True))
        lines: list[dict[str, Any]] = []
        for name, score in scores.items():
            estimate = areas[name]
            shared = {"attack": name, "judged": name == self.attack}
            lines.append(
                shared | {"measure": "AUC", "value": estimate.value, "low": estimate.low, "high": estimate.high,
                          "p_adjusted": float(adjusted[name]), "measurable": True}
            )  # fmt: skip
            for point in (operating_point(score, members, rate, level) for rate in self.fpr):
                caught = point.caught
                lines.append(
                    shared | {"measure": f"TPR at {point.fpr:.2%} FPR", "value": caught.value, "low": caught.low,
                              "high": caught.high, "measurable": point.measurable}
                )  # fmt: skip
                lines.append(
                    shared | {"measure": f"epsilon at least, at {point.fpr:.2%} FPR", "value": point.eps_lower,
                              "measurable": point.measurable}
                )  # fmt: skip
        return pd.DataFrame(lines)

    def _figure(self, scores: Mapping[Attack, np.ndarray], members: np.ndarray) -> Lines:
        nothing = float("nan"), float("nan")
        series = [Line("chance", ((0.0, 0.0, *nothing), (1.0, 1.0, *nothing)))]
        for name, score in scores.items():
            cutoffs = np.quantile(score, np.linspace(1, 0, _POINTS))
            fpr = [float((score[~members] >= cutoff).mean()) for cutoff in cutoffs]
            tpr = [float((score[members] >= cutoff).mean()) for cutoff in cutoffs]
            series.append(
                Line(name, ((0.0, 0.0, *nothing), *((x, y, *nothing) for x, y in zip(fpr, tpr, strict=True))))
            )
        return Lines(tuple(series), "Members caught against nonmembers accused", "nonmembers accused", "members caught")


def _above_half(estimate: Estimate) -> float:
    """Return the p-value of "no better than chance"."""
    p = estimate.at_most(0.5)
    return p if np.isfinite(p) else float(stats.norm.sf(0))
