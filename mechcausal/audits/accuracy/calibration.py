"""Calibration: whether the model is right as often as it is sure, against what chance alone does to the number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from mechcausal.arguments import Count
from mechcausal.audits.decisions import OfDecisions, confidence, correct, forwards_with_confidence
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control
from mechcausal.audits.linear import as_units
from mechcausal.audits.logistic import fit
from mechcausal.audits.perturbed import plain_prompts
from mechcausal.audits.preferred import asked_of, shown
from mechcausal.audits.question import Family
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import cluster_numbers
from mechcausal.models.classifier import head_of

FEWEST = 50


@dataclass(frozen=True)
class Null:
    """The calibration error of a model that is calibrated and has these very confidences."""

    mean: float
    quantile: float
    draws: np.ndarray

    def p(self, value: float) -> float:
        """Return the chance of an error as large as this."""
        return float((1 + (self.draws >= value).sum()) / (1 + len(self.draws)))


@dataclass(frozen=True, kw_only=True)
class Calibration(OfDecisions):
    """Compare how sure the model is with how often it is right.

    The expected calibration error (ECE) is the mean distance of confidence and accuracy over bins of equal width. It is
    never zero: in a finite sample a calibrated model has an error too, which is simulated from the model's own
    confidences. The estimate is what the ECE exceeds the mean of that by: 0 is calibrated. The slope says in which way:
    1 is calibrated, below 1 too sure, above 1 not sure enough, below 0 the surer the more often wrong.

    A reward model is asked about pairs of a chosen (clean) and a rejected (corrupt) text: its log-odds are the difference of the
    rewards (Bradley and Terry 1952), and the slope is that of a logistic regression of the choice on it.

    Attributes:
        bins: The number of bins.
        against: Whether a decision is the likeliest of all words (of a classifier the likeliest label), or that between
            answer and foil.
        tokens: Not used: what is written has no confidence, so `against="written"` is refused.
        draws: How many samples of a calibrated model are simulated.
    """

    word: ClassVar[str] = "calibration"
    family: ClassVar[Family] = "accuracy"
    estimand: ClassVar[str] = (
        "the expected calibration error of the decisions, less that of a calibrated model with the same confidences"
    )
    contrast: ClassVar[str] = "how sure the model is against how often it is right"
    scale: ClassVar[str] = "probability"
    assumptions: ClassVar[tuple[str, ...]] = (
        *OfDecisions.assumptions,
        "given the confidence, the prompts are independent (for the simulated error alone)",
    )
    limits: ClassVar[tuple[str, ...]] = ("what a calibrated model exceeds is small, not known to be nothing",)
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    bins: Count = 15
    draws: Count = 999

    def answer(self, desk: Desk) -> Answer:
        """Return the error beyond that of a calibrated model, and the slope."""
        asked = asked_of(desk, desk.data)
        prompts = plain_prompts(asked)
        right, log_odds = correct(desk, asked, self.against), confidence(desk, asked, self.against)
        sure = special.expit(log_odds)
        ece, null = expected_error(sure, right, self.bins), simulated(sure, self.bins, self.draws, desk.seed)
        moved = signed(sure, right, self.bins)
        estimate = _excess(ece - null.mean, moved, prompts.clusters, desk.level)
        slope = calibration_slope(log_odds, right, prompts.clusters, desk.level)
        gap = desk.mean(sure - right, prompts.clusters)
        rows = [
            ("ECE", ece, estimate.low + null.mean, estimate.high + null.mean),
            ("ECE of a calibrated model, mean", null.mean, np.nan, np.nan),
            ("ECE of a calibrated model, 95 % quantile", null.quantile, np.nan, np.nan),
            ("slope", slope.value, slope.low, slope.high),
            ("confidence less accuracy", gap.value, gap.low, gap.high),
        ]
        table = pd.DataFrame(rows, columns=["measure", "value", "low", "high"])
        intercepts = preference(desk, prompts, desk.level) if self.against == "foil" and asked is prompts else None
        if intercepts is not None:
            each = {"measure": "intercept", "value": intercepts.value, "low": intercepts.low, "high": intercepts.high}
            table = pd.concat([table, pd.DataFrame([each])], ignore_index=True)
        leans = "too sure" if slope.high < 1 else "not sure enough" if slope.low > 1 else "as sure as it should be"
        sure_of = f"; the slope is {slope}, {leans}" if np.isfinite(slope.value) else "; no slope can be estimated"
        says = (
            f"the calibration error is {ece:.3f}, where a calibrated model has {null.mean:.3f} "
            f"(at most {null.quantile:.3f} in 95 %){sure_of}"
        )
        order = np.argsort(-np.abs(sure - right), kind="stable")[:200].tolist()
        return Answer(
            estimate, says, self._controls(desk, ece, null, right), table, (self._figure(sure, right),),
            tuple(
                {**beginning, "confidence": float(sure[row]), "right": bool(right[row] > 0.5)}
                for row, beginning in zip(order, shown(desk, asked, order), strict=True)
            ),
            units=as_units(moved - null.mean), unit_clusters=prompts.clusters,
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run; nothing is redrawn."""
        return forwards_with_confidence(desk, asked_of(desk, desk.data), self.against)

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Say why there is nothing to compare: no decisions that are right or wrong, or no confidence in them."""
        if self.against == "written":
            yield "what is written has no confidence to compare with: ask it of against = 'all' or 'foil'"
        else:
            yield from super().unreadable(desk)

    def wrong_prompts(self, prompts: PromptSet) -> Iterator[str]:
        """Say what is wrong with the number of prompts."""
        if len(prompts) < FEWEST:
            yield f"{self._name_of('data')} has {len(prompts)} prompts; calibration needs at least {FEWEST}"

    def _controls(self, desk: Desk, ece: float, null: Null, right: np.ndarray) -> tuple[Control, ...]:
        drawn = Estimate(null.mean, 0.0, null.quantile, len(right), len(right))
        says = f"a calibrated model with these confidences has an error of {null.mean:.3f}, at most {null.quantile:.3f} in 95 %"
        rate = float(right.mean())
        constant = Estimate.exact(0.0, len(right))
        return (
            Control("random", says, drawn, null.p(ece), guards=True, holds=null.p(ece) <= 0.05),
            Control.inapplicable("no-learning", "a network that has learned nothing may be calibrated at chance"),
            Control("trivial-input", f"always being {rate:.1%} sure would be calibrated, and say nothing", constant),
        )

    def _figure(self, sure: np.ndarray, right: np.ndarray) -> Points:
        points = []
        for here in _members(sure, self.bins):
            share = Estimate.share(int(right[here].sum()), int(here.sum()))
            x = float(sure[here].mean())
            points.append(
                Point(f"{here.sum()} prompts", x, share.value, y_low=share.low, y_high=share.high, group="bins")
            )
        return Points(tuple(points), "Reliability", "confidence", "accuracy", diagonal=True, joined="bins")


def expected_error(sure: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal width."""
    return float(sum(here.mean() * abs(sure[here].mean() - right[here].mean()) for here in _members(sure, bins)))


def simulated(sure: np.ndarray, bins: int = 15, draws: int = 999, seed: int = 0) -> Null:
    """Return the calibration errors of samples of a calibrated model with these confidences."""
    draw, errors = np.random.default_rng([seed, 23]), np.empty(draws)
    members = np.array(list(_members(sure, bins)), dtype=float)
    means = members @ sure
    for number in range(draws):
        errors[number] = np.abs(means - members @ (draw.random(len(sure)) < sure)).sum() / len(sure)
    return Null(float(errors.mean()), float(np.quantile(errors, 0.95)), errors)


def calibration_slope(
    log_odds: np.ndarray, right: np.ndarray, clusters: Sequence[Any] | np.ndarray = (), level: float = 0.95
) -> Estimate:
    """Return the factor on the model's own log-odds that fits best: 1 is calibrated, below 0 turned round.

    Between two words this is the slope of a logistic regression of the answer on the log-odds, without an intercept.
    """
    return fit(np.asarray(log_odds)[:, None], right, clusters).estimate(0, level)


def preference(desk: Desk, prompts: Any, level: float) -> Estimate | None:  # noqa: ANN401
    """Return the intercept where all prompts are decided between the same two words: the preference for the later one."""
    if head_of(desk.model) is not None:
        return _preference_of_a_label(desk, prompts, level)
    if prompts.answer is None or prompts.foil is None:
        return None
    answer, foil = (side.cpu().numpy() for side in (prompts.answer, prompts.foil))
    if len({tuple(sorted(pair)) for pair in zip(answer.tolist(), foil.tolist(), strict=True)}) != 1:
        return None
    later = answer > foil
    log_odds = np.where(later, 1, -1) * desk.outcomes(prompts)
    columns = np.column_stack([np.ones(len(log_odds)), log_odds])
    return fit(columns, later.astype(float), prompts.clusters).estimate(0, level)


def _preference_of_a_label(desk: Desk, prompts: Any, level: float) -> Estimate:  # noqa: ANN401
    """Return the intercept of a classifier: its preference for the label that the plan reads."""
    odds = desk.outcomes(prompts)
    labeled = correct(desk, prompts, "foil") == (odds > 0)
    return fit(np.column_stack([np.ones(len(odds)), odds]), labeled.astype(float), prompts.clusters).estimate(0, level)


def _members(sure: np.ndarray, bins: int) -> list[np.ndarray]:
    """Return the prompts of each bin that has any."""
    number = np.clip((sure * bins).astype(int), 0, bins - 1)
    return [number == each for each in np.unique(number)]


def signed(sure: np.ndarray, right: np.ndarray, bins: int = 15) -> np.ndarray:
    """Return by how much each prompt moves the error: its distance, signed as that of its bin; their mean is the error."""
    out = np.zeros(len(sure))
    for here in _members(sure, bins):
        out[here] = np.sign(sure[here].mean() - right[here].mean()) * (sure[here] - right[here])
    return out


def _excess(value: float, moved: np.ndarray, clusters: Sequence[Any] | np.ndarray, level: float) -> Estimate:
    """Return the excess with an interval, from what each prompt moves the error by."""
    spread = Estimate.mean(moved, clusters, level)
    reach = (spread.high - spread.low) / 2
    n_clusters = int(cluster_numbers(clusters, len(moved)).max()) + 1
    return Estimate(
        value, value - reach, value + reach, len(moved), n_clusters, level, "t", spread.error, spread.freedom
    )
