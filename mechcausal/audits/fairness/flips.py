"""Counterfactual flips: how many decisions change when only the protected attribute is changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mechcausal.arguments import Number
from mechcausal.audits.desk import NO_NETWORKS, Desk
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.redrawn import MOST_PAIRS, forwards_of_redraws, sizes, some_of, two_scales_of
from mechcausal.data.contrast import Contrast

_SHOWN = 400  # points of the scatter


@dataclass(frozen=True, kw_only=True)
class Flips(AuditQuestion):
    """Count the pairs whose decision changes when the attribute is swapped (Kusner et al. 2017).

    The decision is the answer (of a classifier the label) where the log-odds are above `cutoff`. A mean effect of nothing does not
    exclude many flips in both directions, so the mean shift and the mean absolute shift stand in the table.

    Attributes:
        cutoff: The log-odds above which the answer is taken.
    """

    word: ClassVar[str] = "flips"
    family: ClassVar[Family] = "fairness"
    estimand: ClassVar[str] = "the share of pairs whose decision changes when only the declared factor is changed"
    contrast: ClassVar[str] = "each prompt against its counterpart"
    held_fixed: ClassVar[str] = "every other word of the prompt"
    population: ClassVar[str] = "pairs like those in the data"
    identified: ClassVar[Identified] = "paired-counterfactual"
    scale: ClassVar[str] = "share of pairs"
    assumptions: ClassVar[tuple[str, ...]] = ("the factor acts through the swapped words alone",)
    limits: ClassVar[tuple[str, ...]] = ("it speaks of texts like these, and of no others",)
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    reads_outcome: ClassVar[bool] = True
    cutoff: Number = 0.0

    def answer(self, desk: Desk) -> Answer:
        """Return the share of flips."""
        pairs: Contrast = desk.data
        clean, corrupt = desk.both(pairs)
        flips = self._flips(clean, corrupt)
        clusters = pairs.clean.clusters
        estimate = desk.rate(flips, clusters)
        shift = desk.mean(clean - corrupt, clusters)
        size = desk.mean(np.abs(clean - corrupt), clusters)
        controls = (
            Control.inapplicable("random", "nothing inside the model is touched, so there is no other site to touch"),
            self._redrawn(desk, pairs, clean, corrupt),
            Control.inapplicable("trivial-input", "without the swapped words the two prompts of a pair are the same"),
        )
        import pandas as pd

        table = pd.DataFrame(
            {"measure": name, "value": each.value, "low": each.low, "high": each.high}
            for name, each in (
                ("mean shift of the log-odds", shift),
                ("mean absolute shift", size),
                ("flips", estimate),
            )
        )
        says = f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}] of decisions flip; the log-odds move by {shift}"
        return Answer(
            estimate,
            says,
            controls,
            table,
            (self._figure(clean, corrupt, pairs),),
            self._examples(pairs, clean, corrupt, flips),
            units=tuple(flips),
            unit_clusters=clusters,
        )

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run."""
        return desk.runs(desk.data.clean, desk.data.corrupt) + forwards_of_redraws(desk, desk.data)

    def _redrawn(self, desk: Desk, pairs: Contrast, clean: np.ndarray, corrupt: np.ndarray) -> Control:
        """Compare with redrawn networks how far the log-odds move: in most of them nothing flips, and in some a lot does."""
        rows = some_of(desk, len(pairs), MOST_PAIRS)
        some = pairs.take(rows.tolist())

        def moved(other: Desk) -> list[float]:
            high, low = other.both(some)
            return [*sizes(low, high), float(self._flips(high, low).mean())]

        if desk.networks < 2:
            return Control.inapplicable("no-learning", NO_NETWORKS)
        drawn = desk.in_redraws(("flips", some.hash, self.cutoff), moved)
        control = two_scales_of(drawn[:, :2], "effect", sizes(corrupt[rows], clean[rows]))
        rate = desk.beyond(drawn[:, 2], float(self._flips(clean, corrupt).mean()))
        return replace(control, says=f"{control.says}; the share of flips, {rate.says}")

    def _flips(self, clean: np.ndarray, corrupt: np.ndarray) -> np.ndarray:
        return ((clean > self.cutoff) != (corrupt > self.cutoff)).astype(float)

    def _figure(self, clean: np.ndarray, corrupt: np.ndarray, pairs: Contrast) -> Points:
        groups = pairs.clean.groups or ("",) * len(pairs)
        points = tuple(
            Point(f"pair {number}", float(corrupt[number]), float(clean[number]), group=str(groups[number]))
            for number in range(min(len(pairs), _SHOWN))
        )
        return Points(points, "Log-odds of each pair", "corrupt", "clean", diagonal=True)

    def _examples(
        self, pairs: Contrast, clean: np.ndarray, corrupt: np.ndarray, flips: np.ndarray
    ) -> tuple[dict[str, Any], ...]:
        texts = pairs.clean.texts or ("",) * len(pairs), pairs.corrupt.texts or ("",) * len(pairs)
        return tuple(
            {
                "pair": number, "clean": texts[0][number], "corrupt": texts[1][number],
                "clean_log_odds": float(clean[number]), "corrupt_log_odds": float(corrupt[number]),
                "flips": bool(flips[number]),
            }
            for number in range(len(pairs))
        )  # fmt: skip
