"""Environments: how accuracy and calibration change where the data come from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mechcausal.arguments import Count
from mechcausal.audits.decisions import (
    TOKENS,
    Against,
    confidence,
    constant,
    correct,
    forwards_of,
    forwards_with_confidence,
    guess_of,
    undecidable,
    unnamed,
    what_is_written,
)
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_difference
from mechcausal.audits.logistic import fit
from mechcausal.audits.perturbed import plain_prompts
from mechcausal.audits.preferred import asked_of, shown
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.sources import DATA
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.results.charts import Bar, Bars

SIGN_FLIP = "sign-flip"
_SHOWN = 60  # examples of each environment


def by_environment(datasets: Mapping[str, Any]) -> dict[str, PromptSet]:
    """Return the prompts of each environment, the reference first; of pairs the clean ones."""
    return {name: plain_prompts(data) for name, data in data_by_environment(datasets).items()}


def data_by_environment(datasets: Mapping[str, Any]) -> dict[str, PromptSet | Contrast]:
    """Return the prompts or pairs of each environment, the reference first.

    Where the question names data for further environments, `data` is the reference; else its own column tells.
    """
    others = {name.partition(".")[2]: value for name, value in datasets.items() if "." in name}
    main = datasets["data"]
    environments = plain_prompts(main).environments
    if others:
        name = environments[0] if environments else "reference"
        return {name if name not in others else "reference": main, **others}
    names = list(dict.fromkeys(environments))
    column = np.asarray(environments, dtype=object)
    return {name: main.take(np.flatnonzero(column == name).tolist()) for name in names}


def wrong_environments(datasets: Mapping[str, Any], least: int) -> Iterator[str]:
    """Say which environments are missing or too small."""
    for name, value in datasets.items():
        if not hasattr(value, "clean") and not isinstance(value, PromptSet):
            yield f"{name} must hold prompts or pairs"
            return
    sets = by_environment(datasets)
    if len(sets) < 2:
        yield "there is one environment: name others under environments = {...}, or give prompts with a column environment"
    for name, prompts in sets.items():
        if len(prompts) < least:
            yield f"the environment {name!r} has {len(prompts)} prompts, fewer than {least}"


@dataclass(frozen=True, kw_only=True)
class AcrossEnvironments(AuditQuestion):
    """A question that is asked of prompts of several environments.

    Attributes:
        environments: Prompts of further environments by name; `data` is then the reference. Without them the prompts
            have a column `environment`, whose first value is the reference.
        least: The smallest environment that is accepted.
    """

    family: ClassVar[Family] = "robustness"
    population: ClassVar[str] = "prompts like those of the environments given"
    held_fixed: ClassVar[str] = "the model; environments may differ in whatever goes with them"
    identified: ClassVar[Identified] = "descriptive"
    environments: Any = field(default=None, metadata=DATA)
    least: Count = 20

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run, in the model and in networks with redrawn weights."""
        return (1 + desk.networks) * sum(len(prompts) for prompts in by_environment(desk.held).values())

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the prompts and their environments."""
        yield from super().problems(data)
        if not isinstance(data["data"], self.takes):
            return
        wrong = list(wrong_environments(data, self.least))
        yield from wrong or self.wrong_prompts(by_environment(data))

    def wrong_prompts(self, sets: Mapping[str, PromptSet]) -> Iterator[str]:
        """Say what else is wrong, of environments that are there and large enough."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Environments(AcrossEnvironments):
    """Measure how much accuracy falls from one environment to another, and whether being sure still means being right.

    The estimate is the largest fall of accuracy from the reference to another environment: 0 is none. In every
    environment the calibration slope says what the model's confidence is worth: 1 is calibrated, 0 nothing. Where it is
    clearly above zero in the reference and clearly below in another environment (mark `sign-flip`), the model rests on
    something whose relation to the answer is turned round there.

    Attributes:
        environments: Prompts of further environments by name; `data` is then the reference. Without them the prompts
            have a column `environment`, whose first value is the reference.
        against: Whether a decision is the likeliest of all words (of a classifier the likeliest label), that between answer
            and foil, or (`"written"`) which of the two stands first in what the model writes; there is then no slope.
        tokens: How many tokens are written at most, where decisions are written.
        least: The smallest environment that is accepted.
    """

    word: ClassVar[str] = "environments"
    estimand: ClassVar[str] = (
        "the largest difference between the share of right decisions in the reference and that in another environment"
    )
    contrast: ClassVar[str] = "the reference against every other environment"
    scale: ClassVar[str] = "share of prompts"
    assumptions: ClassVar[tuple[str, ...]] = (
        "the answers of the prompts (of a classifier the labels, of a reward model the choices) are true in every environment",
    )
    limits: ClassVar[tuple[str, ...]] = ("environments that were not given may be worse",)
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    against: Against = "all"
    tokens: Count = TOKENS

    def answer(self, desk: Desk) -> Answer:
        """Return the largest fall of accuracy."""
        asked = {name: asked_of(desk, data) for name, data in data_by_environment(desk.held).items()}
        sets = {name: plain_prompts(data) for name, data in asked.items()}
        (reference, base), *others = sets.items()
        right = {name: correct(desk, data, self.against, self.tokens) for name, data in asked.items()}
        falls = {
            name: Estimate.difference(
                right[reference], right[name], *_apart(reference, base, name, prompts), desk.level
            )
            for name, prompts in others
        }
        estimate = Estimate.largest(list(falls.values()))
        worst = max(falls, key=lambda name: falls[name].value)
        slopes = {name: self._slope(desk, data, right[name]) for name, data in asked.items()}
        shares = {name: desk.rate(right[name], prompts.clusters) for name, prompts in sets.items()}
        flips = [name for name, _ in others if slopes[reference].low > 0 and slopes[name].high < 0]
        says = (
            f"from {reference!r} to {worst!r} accuracy falls from {shares[reference].value:.1%} to "
            f"{shares[worst].value:.1%}, by {estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
        )
        slope_words = ", ".join(
            f"{name} {slope.value:.2f}" for name, slope in slopes.items() if np.isfinite(slope.value)
        )
        says += f"; calibration slopes are {slope_words}" if slope_words else ""
        turned = f"in {', '.join(flips)} the model is the more often wrong, the surer it is: what it rests on is turned round there"
        marks = {SIGN_FLIP: turned} if flips else {}
        for prompts in sets.values():
            marks |= unnamed(desk, prompts, self.against, self.tokens)
        pictures = (
            _bars(shares, "Accuracy by environment", "accuracy"),
            _bars(slopes, "Calibration by environment", "slope"),
        )
        return Answer(
            estimate, says, self._controls(desk, asked, estimate.value), _table(shares, falls, slopes),
            tuple(bars for bars in pictures if bars.rows), self._examples(desk, asked, right), n_tests=len(falls), marks=marks,
            units=as_units(_units(right, reference, worst)), unit_clusters=_clusters(sets),
        )  # fmt: skip

    def wrong_prompts(self, sets: Mapping[str, PromptSet]) -> Iterator[str]:
        """Say nothing more: whether there are decisions depends on the model."""
        yield from ()

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Say which environments allow no decision."""
        for name, data in data_by_environment(desk.held).items():
            if (why := undecidable(desk, data, self.against, needs_answer=True, tokens=self.tokens)) is not None:
                yield f"the prompts of the environment {name!r} {why}"

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run, in the model and in networks with redrawn weights."""
        asked = [asked_of(desk, data) for data in data_by_environment(desk.held).values()]
        once = sum(forwards_with_confidence(desk, data, self.against, self.tokens) for data in asked)
        return once + desk.networks * sum(forwards_of(desk, data, self.against, self.tokens) for data in asked)

    def _slope(self, desk: Desk, asked: PromptSet | Contrast, right: np.ndarray) -> Estimate:
        """Return the calibration slope; what is written has no confidence, so it has none."""
        if self.against == "written":
            return Estimate(float("nan"))
        sure = confidence(desk, asked, self.against)
        return fit(sure[:, None], right, plain_prompts(asked).clusters).estimate(0, desk.level)

    def _examples(
        self, desk: Desk, asked: Mapping[str, PromptSet | Contrast], right: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, Any], ...]:
        """Return prompts of every environment, those that are decided wrongly first."""
        rows = []
        for name, data in asked.items():
            chosen = np.argsort(right[name], kind="stable")[:_SHOWN].tolist()
            said = what_is_written(desk, plain_prompts(data), self.against, self.tokens, chosen)
            rows += [
                {"environment": name, **beginning, "right": bool(right[name][row] > 0.5), **more}
                for row, beginning, more in zip(chosen, shown(desk, data, chosen), said, strict=True)
            ]
        return tuple(rows)

    def _controls(self, desk: Desk, asked: Mapping[str, PromptSet | Contrast], fall: float) -> tuple[Control, ...]:
        def fallen(rights: list[np.ndarray]) -> float:
            return max(float(rights[0].mean() - right.mean()) for right in rights[1:])

        redraws = desk.against_redraws(
            ("environments", tuple(data.hash for data in asked.values()), self.against, self.tokens),
            lambda other: fallen([correct(other, data, self.against, self.tokens) for data in asked.values()]),
            fall,
        )
        guess = fallen([constant(desk, data) for data in asked.values()])
        what = guess_of(next(iter(asked.values())))
        return (
            Control.inapplicable("random", "nothing inside the model is touched, so there is no other site to touch"),
            redraws,
            Control(
                "trivial-input", f"the accuracy of {what} falls by {guess:.1%}",
                Estimate.exact(guess, sum(map(len, asked.values()))),
            ),
        )  # fmt: skip


def _apart(reference: str, base: PromptSet, name: str, prompts: PromptSet) -> tuple[list[Any], list[Any]]:
    """Return the clusters of two environments; a cluster may have prompts in both only if they came as one set."""
    if base.clusters and prompts.clusters and not _numbered(base.clusters):
        return list(base.clusters), list(prompts.clusters)
    sides = ((reference, base), (name, prompts))
    first, second = (
        [f"{word} {cluster}" for cluster in (side.clusters or range(len(side)))] for word, side in sides
    )  # fmt: skip
    return first, second


def _units(right: Mapping[str, np.ndarray], reference: str, worst: str) -> np.ndarray:
    """Return the units of the largest fall over the prompts of all environments, so that they are the same in all models."""
    names = np.repeat(list(right), [len(each) for each in right.values()])
    return of_difference(np.concatenate(list(right.values())), names == reference, names == worst)


def _clusters(sets: Mapping[str, PromptSet]) -> tuple[str, ...]:
    """Return the clusters of the prompts of all environments, as `_apart` tells them."""
    (reference, base), *others = sets.items()
    sides = [_apart(reference, base, name, prompts) for name, prompts in others]
    return tuple(str(cluster) for side in (sides[0][0], *(second for _, second in sides)) for cluster in side)


def _numbered(clusters: tuple[Any, ...]) -> bool:
    """Say whether clusters are the running numbers that a task gives to its units, which mean nothing elsewhere."""
    return all(str(cluster).startswith("unit ") for cluster in clusters)


def _table(
    shares: Mapping[str, Estimate], falls: Mapping[str, Estimate], slopes: Mapping[str, Estimate]
) -> pd.DataFrame:
    none, rows = Estimate(float("nan")), []
    for name, share in shares.items():
        row: dict[str, Any] = {"environment": name}
        for what, each in (("accuracy", share), ("fall", falls.get(name, none)), ("slope", slopes[name])):
            row |= {what: each.value, f"{what}_low": each.low, f"{what}_high": each.high}
        rows.append({**row, "n": share.n, "n_clusters": share.n_clusters})
    return pd.DataFrame(rows)


def _bars(estimates: Mapping[str, Estimate], title: str, label: str) -> Bars:
    rows = [Bar(name, each.value, each.low, each.high) for name, each in estimates.items() if np.isfinite(each.value)]
    return Bars(tuple(rows), title, label)
