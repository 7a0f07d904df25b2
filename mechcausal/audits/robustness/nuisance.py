"""A nuisance: what length, flattery or formatting moves in a reward at fixed content, and what preference data say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mechcausal.arguments import OpenShare, Texts
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.explaining.observational import NO_OVERLAP
from mechcausal.audits.fairness.controls import cluster_problem, detectable
from mechcausal.audits.figures import Chart, Point, Points
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_ratio
from mechcausal.audits.question import AuditQuestion, Better, Family
from mechcausal.audits.redrawn import MOST_PAIRS, forwards_of_redraws, on_two_scales, over_spread, some_of
from mechcausal.audits.robustness.preferences import Weights, differences, weights, wrong_preferences
from mechcausal.audits.sources import DATA
from mechcausal.data.contrast import Contrast
from mechcausal.data.splits import cluster_numbers
from mechcausal.errors import DataError
from mechcausal.results.charts import Bar, Bars

_EXCHANGES, _SHOWN, _ROUNDING = 999, 400, 1e-5
EFFECT = "effect of one unit"
SHARE_ALONE, SHARE_TURNED, SHARE_CHOSEN = (
    "decisions that the nuisance alone gives", "decisions that turn without the nuisance", "decisions that are the choice of the data",
)  # fmt: skip
WEIGHT, WEIGHT_ALONE, R2 = (
    "weight in the data", "weight in the data, nothing held fixed", "R2 of the nuisance on the columns held fixed",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NuisanceEffect(AuditQuestion):
    """Measure what a nuisance moves in a reward while the content stays: its controlled direct effect, by the unit.

    The data are rewrites: the two texts of a pair say the same and differ in the nuisance. With y the difference of the
    rewards of a pair and u its units, the estimate is sum(u y) / sum(u^2): 0 says that the nuisance is not rewarded,
    and a negative number that it is punished. Of a language model the log-odds of answer against foil stand for the reward.

    With preference data (clean is the answer that was chosen, corrupt the one that was rejected) two shares say how many
    of the model's decisions between the two rest on the nuisance: those that its part of the difference alone gives, of
    which half would be chance, and those that turn when it is taken away. Beside the model stands the data's own weight
    of the nuisance, from a logistic regression of the choice on the differences (Bradley and Terry 1952): where a model
    cannot see all of the quality, it gives to the nuisance what goes along with quality. If the columns held fixed give
    the nuisance away (R2 above `overlap`), the data cannot tell them apart, and the finding is marked `no-overlap`.

    Attributes:
        nuisance: The column of numbers that says how much of the nuisance is in each text (`length` and
            `corrupt_length`); a pair has as many units as the two differ. Without it each rewrite is one unit.
        preferences: Pairs of a chosen (clean) and a rejected (corrupt) answer, with the same column.
        beside: Columns of the preference data that are held fixed beside the nuisance, such as `quality`.
        overlap: The R2 above which there is no overlap; at .8 the interval of the weight is 2.2 times as wide as it could be.
    """

    word: ClassVar[str] = "nuisance_effect"
    family: ClassVar[Family] = "robustness"
    contrast: ClassVar[str] = "each text against its rewrite"
    held_fixed: ClassVar[str] = "what the text says"
    population: ClassVar[str] = "texts and rewrites like those in the data"
    identified: ClassVar[Identified] = "paired-counterfactual"
    assumptions: ClassVar[tuple[str, ...]] = ("a rewrite changes the nuisance and nothing else that should count",)
    limits: ClassVar[tuple[str, ...]] = ("it speaks of texts like these, and of no others",)
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    better: ClassVar[Better] = "zero"
    null: ClassVar[float | None] = 0.0
    reads_outcome: ClassVar[bool] = True
    nuisance: str = ""
    preferences: Any = field(default=None, metadata=DATA)
    beside: Texts = ()
    overlap: OpenShare = 0.8

    @property
    def estimand(self) -> str:
        """What the estimate is."""
        unit = f"one more unit of {self.nuisance}" if self.nuisance else "one rewrite"
        return f"the change of the log-odds by {unit}, while the content stays"

    @property
    def scale(self) -> str:
        """The unit of the estimate."""
        return f"log-odds per unit of {self.nuisance}" if self.nuisance else "log-odds per rewrite"

    def answer(self, desk: Desk) -> Answer:
        """Return the effect, and what the preference data say."""
        pairs: Contrast = desk.data
        clean, corrupt = desk.both(pairs)
        change, units = clean - corrupt, self._units(pairs)
        estimate = Estimate.ratio(units * change, units**2, pairs.clean.clusters, desk.level)
        spreads = Estimate(over_spread(estimate.value, clean, corrupt)[1])
        what = f"one unit of {self.nuisance}" if self.nuisance else "a rewrite"
        controls = (
            self._exchanged(desk, pairs, units * change, estimate.value),
            self._redrawn(desk, clean, corrupt),
            Control.inapplicable("trivial-input", "without the rewritten words the two texts of a pair are the same"),
        )
        answer = Answer(
            estimate, f"{what} moves the log-odds by {estimate}", controls,
            _table({EFFECT: estimate, f"{EFFECT}, in spreads of the log-odds": spreads}),
            (_changes(units, change, self.nuisance),), self._examples(pairs, units, change), dropped=tuple(pairs.dropped),
            smallest_detectable=detectable(estimate), units=as_units(of_ratio(units * change, units**2)),
            unit_clusters=tuple(pairs.clean.clusters),
        )  # fmt: skip
        choices = desk.held.get("preferences")
        return answer if choices is None else self._with_preferences(desk, answer, choices, units)

    def _with_preferences(self, desk: Desk, answer: Answer, choices: Contrast, units: np.ndarray) -> Answer:
        """Return the answer with what the preference data add to it."""
        in_data = weights(choices, self.nuisance, self.beside, choices.clean.clusters, desk.level)
        shares, examples = self._decisions(desk, choices, answer.estimate.value)
        marks = {}
        if in_data.r2 > self.overlap:
            given_away = f"R2 of {self.nuisance} on {_joined(self.beside)} is {in_data.r2:.3f}"
            marks[NO_OVERLAP] = f"{given_away}, above {self.overlap:g}"
        more = _table({**shares, **dict(self._weighed(in_data))})
        return replace(
            answer, says=answer.says + self._in_words(shares, in_data, len(choices)), marks=marks,
            table=pd.concat([answer.table, more], ignore_index=True),
            figures=(*answer.figures, _weights(answer.estimate, in_data, self.nuisance, self.beside)),
            controls=(*answer.controls[:2], self._more_of_it(desk, choices)), examples=answer.examples + examples,
            limits=tuple(_limits(differences(choices, self.nuisance), units)),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run."""
        choices = desk.held.get("preferences")
        sets = [pairs for pairs in (desk.data, choices) if pairs is not None]
        return sum(desk.runs(pairs.clean, pairs.corrupt) for pairs in sets) + forwards_of_redraws(desk, desk.data)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the rewrites, the preference data and their columns."""
        yield from super().problems(data)
        pairs, choices = data["data"], data.get("preferences")
        if not isinstance(pairs, Contrast):
            return
        if problem := cluster_problem(pairs):
            yield problem
        try:
            self._units(pairs)
        except DataError as error:
            yield f"in {self._name_of('data')}, {error}"
        if choices is None:
            if self.beside:
                yield f"{_joined(self.beside)} can be held fixed in preference data only: give preferences = the name of pairs"
            return
        if not isinstance(choices, Contrast):
            yield f"{self._name_of('preferences')} holds no pairs of a chosen (clean) and a rejected (corrupt) answer"
        elif not self.nuisance:
            yield "it does not say which column of the preference data is the nuisance: give nuisance = its name"
        elif len({self.nuisance, *self.beside}) <= len(self.beside):
            yield f"beside names a column twice, or the nuisance itself: {_joined(self.beside)}"
        else:
            yield from wrong_preferences(choices, self.nuisance, self.beside, self._name_of("preferences"))
            for need in ("answer", "foil"):
                there = [
                    getattr(side, need) is not None or getattr(side, f"{need}s") is not None
                    for side in (pairs.clean, choices.clean)
                ]
                if there == [True, False]:
                    yield f"{self._name_of('preferences')} has no {need}, which the rewrites have"

    def _units(self, pairs: Contrast) -> np.ndarray:
        """Return by how many units the two texts of each pair differ."""
        if not self.nuisance:
            return np.ones(len(pairs))
        units = differences(pairs, self.nuisance)
        if len(still := np.flatnonzero(units == 0)):
            raise DataError(
                f"pair {still[0]} is no rewrite: it has 0 units of {self.nuisance!r} ({len(still)} of {len(pairs)} pairs)",
                expected=f"another number in corrupt_{self.nuisance} than in {self.nuisance}",
                fix="leave such pairs out",
            )
        return units

    def _decisions(
        self, desk: Desk, choices: Contrast, effect: float
    ) -> tuple[dict[str, Estimate], tuple[dict[str, Any], ...]]:
        """Return the shares of decisions between chosen and rejected, and the pairs behind them."""
        apart = np.subtract(*desk.both(choices))
        part = effect * differences(choices, self.nuisance)
        alone = (np.sign(part) == np.sign(apart)) & (apart != 0)
        rest = apart - part
        rest[np.abs(rest) <= _ROUNDING * np.abs(apart)] = 0  # the nuisance is all that there is between the two
        turned = np.sign(rest) != np.sign(apart)
        shares = {
            name: desk.rate(each.astype(float), choices.clean.clusters)
            for name, each in ((SHARE_ALONE, alone), (SHARE_TURNED, turned), (SHARE_CHOSEN, apart > 0))
        }
        texts = [side.texts or ("",) * len(choices) for side in (choices.clean, choices.corrupt)]
        rows = tuple(
            {"kind": "preference", "pair": int(number), "clean": texts[0][number], "corrupt": texts[1][number],
             "change": float(apart[number]), "part_of_nuisance": float(part[number]), "turns": bool(turned[number])}
            for number in np.argsort(~turned, kind="stable")[:_SHOWN]
        )  # fmt: skip
        return shares, rows

    def _weighed(self, in_data: Weights) -> Iterator[tuple[str, Estimate]]:
        """Yield the rows of the table about the choices."""
        if self.beside:
            yield f"{WEIGHT}, {_joined(self.beside)} held fixed", in_data.beside
        yield WEIGHT_ALONE, in_data.alone
        for name, each in in_data.others.items():
            yield f"weight of {name} in the data", each
        for name, value in in_data.correlations.items():
            yield f"correlation with {name}", Estimate(value)
        if self.beside:
            yield R2, Estimate(in_data.r2)

    def _in_words(self, shares: Mapping[str, Estimate], in_data: Weights, count: int) -> str:
        weight = in_data.beside if self.beside else in_data.alone
        fixed = f" with {_joined(self.beside)} held fixed" if self.beside else ""
        said = f"give it a weight of {weight}" if np.isfinite(weight.value) else "do not tell its weight"
        overlap = f", without overlap (R2 {in_data.r2:.2f})" if self.beside and in_data.r2 > self.overlap else ""
        return (
            f"; alone this would give {shares[SHARE_ALONE].value:.1%} of its {count} decisions, and "
            f"{shares[SHARE_TURNED].value:.1%} turn without it; the choices in the data {said}{fixed}{overlap}"
        )

    def _exchanged(self, desk: Desk, pairs: Contrast, moment: np.ndarray, effect: float) -> Control:
        """Return the control "text and rewrite exchanged at random, cluster by cluster"."""
        ids = cluster_numbers(pairs.clean.clusters, len(pairs))
        sums = np.bincount(ids, moment)
        draw = np.random.default_rng([desk.seed, 83])
        total = float(np.sum(self._units(pairs) ** 2))
        sizes = np.abs(draw.choice([-1.0, 1.0], (_EXCHANGES, len(sums))) @ sums) / total
        p = float((1 + np.sum(sizes >= abs(effect) * (1 - 1e-9))) / (1 + _EXCHANGES))
        low, high = (float(end) for end in np.quantile(sizes, [0.025, 0.975]))
        estimate = Estimate(float(sizes.mean()), low, high, len(pairs), len(sums))
        says = f"with text and rewrite exchanged in clusters drawn at random the effect is {estimate.value:.3g} in size"
        return Control("random", says, estimate, p, holds=p <= 1 - desk.level)

    def _redrawn(self, desk: Desk, clean: np.ndarray, corrupt: np.ndarray) -> Control:
        rows = some_of(desk, len(clean), MOST_PAIRS)
        some = desk.data.take(rows.tolist())
        units = self._units(some)

        def statistic(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
            return over_spread(float(units @ (first - second) / (units @ units)), first, second)

        return on_two_scales(
            desk, "effect", f"{self.word} {units.tolist()} {some.hash}", lambda other: statistic(*other.both(some)),
            statistic(clean[rows], corrupt[rows]),
        )  # fmt: skip

    def _more_of_it(self, desk: Desk, choices: Contrast) -> Control:
        """Return the control "how often the answer with more of the nuisance is the chosen one"."""
        more = np.sign(differences(choices, self.nuisance))
        share = desk.mean((1 + more) / 2, choices.clean.clusters)
        says = f"the answer with more {self.nuisance} is the chosen one in {share.value:.1%} of the preference pairs, whatever it says"
        return Control("trivial-input", says, share)

    def _examples(self, pairs: Contrast, units: np.ndarray, change: np.ndarray) -> tuple[dict[str, Any], ...]:
        texts = [side.texts or ("",) * len(pairs) for side in (pairs.clean, pairs.corrupt)]
        return tuple(
            {"kind": "rewrite", "pair": number, "clean": texts[0][number], "corrupt": texts[1][number],
             "units": float(units[number]), "change": float(change[number])}
            for number in range(min(len(pairs), _SHOWN))
        )  # fmt: skip


def _table(rows: Mapping[str, Estimate]) -> pd.DataFrame:
    return pd.DataFrame(
        {"measure": name, "value": each.value, "low": each.low, "high": each.high, "n": each.n}
        for name, each in rows.items()
    )


def _joined(names: Texts) -> str:
    return " and ".join(names)


def _limits(apart: np.ndarray, units: np.ndarray) -> list[str]:
    """Say what the shares of decisions rest on."""
    beyond = float(np.mean(np.abs(apart) > np.abs(units).max() * (1 + 1e-9)))
    limits = ["shares of decisions take the effect of one unit as it was measured, and as the same in every unit"]
    if beyond:
        limits.append(f"in {beyond:.1%} of the preference pairs the two differ by more units than in any rewrite")
    return limits


def _changes(units: np.ndarray, change: np.ndarray, nuisance: str) -> Chart:
    points = [
        Point(f"pair {number}", float(units[number]), float(change[number]))
        for number in range(min(len(units), _SHOWN))
    ]
    return Points(
        tuple(points),
        "What a rewrite moves",
        f"units of {nuisance or 'the nuisance'}",
        "change of the log-odds",
        named=False,
    )


def _weights(effect: Estimate, in_data: Weights, nuisance: str, beside: Texts) -> Chart:
    named = [("the model, on rewrites", effect), ("the data, nothing held fixed", in_data.alone)]
    named += [(f"the data, {_joined(beside)} held fixed", in_data.beside)] if beside else []
    bars = [
        Bar(name, each.value, each.low, each.high) for name, each in named if np.isfinite([each.value, each.low]).all()
    ]
    return Bars(tuple(bars), f"Weight of {nuisance}", "weight of one unit")
