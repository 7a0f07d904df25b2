"""The effect of a concept from texts as they are, where none can be edited cleanly; beside it do(), where some can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import OpenShare, Text, Texts, number
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.explaining.double import SURE, Double, double, median_of_splits
from mechcausal.audits.explaining.nuisances import described, differing, held_out, ridge
from mechcausal.audits.explaining.observational import NO_OVERLAP
from mechcausal.audits.figures import Bar, Bars
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_ratio
from mechcausal.audits.perturbed import plain_prompts, written
from mechcausal.audits.question import AuditQuestion, Better, Family
from mechcausal.audits.redrawn import on_two_scales, over_spread, some_of
from mechcausal.audits.sources import DATA, digest_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import units
from mechcausal.errors import DataError, MechcausalError, did_you_mean
from mechcausal.probes.controls import shuffle_labels
from mechcausal.probes.kinds import separation
from mechcausal.probes.labels import column_of, labels_of

FEWEST = 8
"""Clusters of each value of the concept that are needed."""
DIFFERS = "differs-from-do"
_ALONE = 0.05  # of the texts, with a concept that is certain, above which there is no mean over all
_SPLITS = 5  # into folds, of which the interactive model takes the median
_SHUFFLES = 199
_MOST_PROMPTS = 256  # that every network with redrawn weights is run on


@dataclass(frozen=True, kw_only=True)
class ConceptEffect(AuditQuestion):
    """Estimate the effect of a concept of the text on the outcome by double machine learning (Chernozhukov et al. 2018).

    Texts of one value of the concept are compared with texts of the other, adjusted for declared columns and for a bag of
    their words, without the words that are the concept. What these say of the concept and of the outcome is learned on
    whole clusters and taken away on others; the estimate is the slope of what is left. Zero is no effect, negative lowers
    the outcome. Where the rest of the text gives the concept away (AUC above `overlap`), there are no texts to compare,
    and no number is given. Beside it stand the difference without adjustment and, where pairs with a clean edit are
    given, what the edit does: that value, do(), is the reference.

    Attributes:
        concept: The column of two values.
        value: The value whose effect is asked for, against the other one; the second by name unless said.
        columns: Columns that act on both concept and outcome, and are adjusted for.
        words: Whether the words of the text are counted and adjusted for.
        without: Words that are the concept, and are not counted; words that differ within pairs are not counted either.
        pairs: Pairs in which the concept alone is edited; if `data` holds pairs, these are taken, and their clean
            prompts are the texts as they are.
        model: `"partially_linear"`, where the effect is the same in all texts, or `"interactive"`, where it may differ and
            the plain mean over all texts is asked for, which do() gives; the other one stands in the table. The interactive
            one is the median over five splits into folds, and is refused where the concept is certain in more than a
            twentieth of the texts.
        overlap: The AUC of the concept from columns and words above which no number is given.
        folds: How many folds.
    """

    word: ClassVar[str] = "concept_effect"
    family: ClassVar[Family] = "explainability"
    population: ClassVar[str] = "texts like those in the data"
    held_fixed: ClassVar[str] = "the declared columns and the other words, as far as learners describe what they say"
    identified: ClassVar[Identified] = "observational-adjusted"
    scale: ClassVar[str] = "log-odds"
    assumptions: ClassVar[tuple[str, ...]] = (
        "whatever acts on both the concept and the outcome is among the declared columns and the counted words",
        "none of these is itself an effect of the concept, or only the effect past them is asked for",
    )
    limits: ClassVar[tuple[str, ...]] = (
        "where texts can be edited, the edit is the reference: nothing in these texts can tell an omitted cause from an effect",
    )
    reads_outcome: ClassVar[bool] = True
    better: ClassVar[Better] = "zero"
    null: ClassVar[float | None] = 0.0
    concept: Text
    value: Text | None = None
    columns: Texts = ()
    words: bool = True
    without: Texts = ()
    pairs: Any = field(default=None, metadata=DATA)
    model: Literal["partially_linear", "interactive"] = "partially_linear"
    overlap: OpenShare = 0.95
    folds: Annotated[int, number("a whole number of at least 2", 2, integer=True)] = 5

    @property
    def estimand(self) -> str:
        """What the number is."""
        change = f"the change of the outcome when the concept {self.concept!r} of a text is another, adjusted for the rest of the text"
        weights = ", as a mean in which texts count by how undecided the concept is"
        return change + (weights if self.model == "partially_linear" else "")

    @property
    def contrast(self) -> str:
        """What is compared with what."""
        which = repr(self.value) if self.value else "the second value by name"
        return f"texts of which {self.concept!r} is {which} against texts of which it is the other value"

    def answer(self, desk: Desk) -> Answer:
        """Return the adjusted effect, with the naive one and that of the edit beside it."""
        labels = labels_of(plain_prompts(desk.data), self.concept)
        kept = np.flatnonzero(labels.codes >= 0).tolist()
        all_labeled = len(kept) == len(labels.codes)
        data = desk.data if all_labeled else desk.data.take(kept)
        prompts, value = plain_prompts(data), self._value(labels.classes)
        concept = (labels.codes[kept] == labels.classes.index(value)).astype(int)
        pairs = self._pairs({**desk.held, "data": data})
        x, names = self._described(desk, prompts, pairs)
        fits = [
            double(
                concept, desk.outcomes(prompts), x, units(prompts), clusters=prompts.clusters, folds=self.folds,
                seed=desk.seed + number, level=desk.level,
            )
            for number in range(_SPLITS if self.model == "interactive" else 1)
        ]  # fmt: skip
        fitted, adjusted = median_of_splits(fits) if len(fits) > 1 else (fits[0], fits[0].partially_linear)
        edited = None if pairs is None else self._edited(desk, pairs, value)
        why = self._without_overlap(fitted, x, concept, names)
        refused = bool(why)
        adjusted = Estimate(float("nan")) if refused else adjusted
        do = None if edited is None or pairs is None else desk.mean(edited, pairs.clean.clusters)
        rows = self._rows(fitted, adjusted, refused, do, edited if pairs is not None and pairs is data else None)
        marks = {NO_OVERLAP: why} if refused else {}
        if do is not None and not refused and not adjusted.low <= do.value <= adjusted.high:
            marks[DIFFERS] = (
                f"the edit itself changes the outcome by {do}, outside the interval of the adjusted number: a cause is "
                "missing, or the effect differs between texts; the edit is the reference"
            )
        psi = fitted.scores if self.model == "interactive" else of_ratio(*fitted.parts)
        return Answer(
            adjusted, self._says(fitted, adjusted, do, value, labels.classes, why if refused else "", x.shape[1]),
            self._controls(desk, prompts, fitted), pd.DataFrame(rows, columns=["what", "value", "low", "high"]),
            (_figure(rows),), _examples(desk, prompts, labels.classes, labels.codes[kept], fitted),
            dropped=() if all_labeled else (("prompts without a label", len(labels.codes) - len(kept)),), marks=marks,
            cannot_fail=why if refused else "", units=() if refused else as_units(psi),
            unit_clusters=() if refused else tuple(prompts.clusters),
            assumptions=() if self.model == "interactive" else ("the concept adds the same to the outcome in every text",),
        )  # fmt: skip

    def _without_overlap(self, fitted: Double, x: np.ndarray, concept: np.ndarray, names: tuple[str, ...]) -> str:
        """Say why there are no texts to compare; empty where there are.

        The partially linear number leaves out texts whose concept is certain; a mean over all texts cannot.
        """
        if not fitted.auc <= self.overlap:
            return (
                f"the rest of the text tells {self.concept!r} with an AUC of {fitted.auc:.3f}, above {self.overlap:g}; what "
                f"tells it most: {_telling(x, concept, names)}"
            )
        if self.model == "interactive" and fitted.alone > _ALONE:
            return (
                f"in {fitted.alone:.1%} of the texts, more than {_ALONE:.0%}, the rest makes {self.concept!r} certain, and nothing "
                'shows what its other value would do there: model = "partially_linear" leaves these texts out'
            )
        return ""

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run, in the model and in networks with redrawn weights."""
        prompts, pairs = plain_prompts(desk.data), self._pairs(desk.held)
        sides = () if pairs is None else (pairs.clean, pairs.corrupt)
        asked = {digest_of(side): side for side in (prompts, *sides)}  # pairs may hold the prompts themselves
        redrawn = prompts.take(range(min(len(prompts), _MOST_PROMPTS)))
        return desk.runs(*asked.values()) + desk.networks * desk.runs(redrawn)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the concept, the columns, the words and the pairs."""
        yield from super().problems(data)
        if not isinstance(data["data"], self.takes):
            return
        prompts = plain_prompts(data["data"])
        if not (self.columns or self.words):
            yield "there is nothing to adjust for: give columns = [...], or words = true"
        if self.concept in self.columns:
            yield f"the concept {self.concept!r} stands among the columns that are adjusted for"
        for name in self.columns:
            try:
                described(prompts, units(prompts), columns=[name])
            except MechcausalError as error:
                yield str(error)
        try:
            labels = labels_of(prompts, self.concept)
            value = self._value(labels.classes)
        except MechcausalError as error:
            yield str(error)
            return
        for code, name in enumerate(labels.classes):
            count = len(np.unique(units(prompts)[labels.codes == code]))
            if count < FEWEST:
                yield f"the value {name!r} of {self.concept!r} is in {count} clusters of {self._name_of('data')}, and {FEWEST} are needed"
        if not isinstance(data.get("pairs"), Contrast | None):
            yield f"pairs must hold pairs in which {self.concept!r} alone is edited"
        elif (pairs := self._pairs(data)) is not None:
            try:
                signs(pairs, self.concept, value)
            except MechcausalError as error:
                yield str(error)

    def _value(self, classes: tuple[str, ...]) -> str:
        if len(classes) != 2:
            raise DataError(
                f"the concept {self.concept!r} has {len(classes)} values, and an effect is of one against another",
                got=", ".join(map(repr, classes[:6])), fix="give a column of two values",
            )  # fmt: skip
        if self.value is not None and self.value not in classes:
            raise DataError(
                f"the concept {self.concept!r} has no value {self.value!r}", fix=did_you_mean(self.value, classes)
            )
        return self.value or classes[1]

    @staticmethod
    def _pairs(datasets: Mapping[str, Any]) -> Contrast | None:
        given = datasets.get("pairs")
        return given if given is not None else datasets["data"] if isinstance(datasets["data"], Contrast) else None

    def _described(self, desk: Desk, prompts: PromptSet, pairs: Contrast | None) -> tuple[np.ndarray, tuple[str, ...]]:
        texts = written(prompts, desk.model) if self.words else ()
        without = [*self.without, *(() if pairs is None else differing(pairs))]
        return described(prompts, units(prompts), texts, self.columns, without)

    def _edited(self, desk: Desk, pairs: Contrast, value: str) -> np.ndarray:
        """Return what the edit does to the outcome of each pair, from the other value to this one."""
        clean, corrupt = desk.both(pairs)
        return signs(pairs, self.concept, value) * (clean - corrupt)

    def _rows(
        self, fitted: Double, adjusted: Estimate, refused: bool, do: Estimate | None, edited: np.ndarray | None
    ) -> list[tuple[str, float, float, float]]:
        none = Estimate(float("nan"))
        shown = {
            "adjusted, partially linear": none if refused else fitted.partially_linear,
            "adjusted, interactive": none
            if refused
            else adjusted
            if self.model == "interactive"
            else fitted.interactive,
            "not adjusted: difference of the means": fitted.naive,
        }
        if do is not None:
            shown["do(): what the edit changes"] = do
        if edited is not None and not refused:
            shown["do(), weighted as the partially linear number"] = fitted.weighted(edited)
        rows = [(name, each.value, each.low, each.high) for name, each in shown.items()]
        single = {
            "AUC of the concept from the rest": fitted.auc,
            "R2 of the concept from the rest": fitted.chance.r2,
            "R2 of the outcome from the rest": fitted.mean.r2,
            f"share of texts whose concept is certain to {1 - SURE:.0%}": fitted.nearly_certain,
            "share that an omitted cause must explain to leave nothing": float("nan") if refused else fitted.robustness,
        }
        return rows + [(name, value, float("nan"), float("nan")) for name, value in single.items()]

    def _says(
        self, fitted: Double, adjusted: Estimate, do: Estimate | None, value: str, classes: tuple[str, ...],
        refused: str, count: int,
    ) -> str:  # fmt: skip
        other = classes[1 - classes.index(value)]
        beside = f"; without adjustment the difference is {fitted.naive}"
        beside += "" if do is None else f"; the edit itself, do(), changes the log-odds by {do}"
        if refused:
            return f"no adjusted effect of {self.concept!r} is given, because {refused}{beside}"
        return (
            f"{self.concept!r} being {value!r} and not {other!r} changes the log-odds by {adjusted}, adjusted for {count} "
            f"columns that tell it with an AUC of {fitted.auc:.2f}{beside}"
        )

    def _controls(self, desk: Desk, prompts: PromptSet, fitted: Double) -> tuple[Control, ...]:
        rows = some_of(desk, len(prompts), _MOST_PROMPTS)
        some, fold, concept = prompts.take(rows.tolist()), fitted.fold[rows], fitted.left[0][rows]
        every = np.ones(len(rows), dtype=bool)

        def effect(outcome: np.ndarray) -> tuple[float, float]:
            """Return the partially linear number, and the same in spreads of the outcome; a ridge describes the rest."""
            left = outcome - held_out(ridge, fitted.x[rows], outcome, fold, every)
            return over_spread(float(concept @ left / max(float(concept @ concept), 1e-12)), outcome)

        learned = on_two_scales(
            desk, "effect", f"concept {self.concept} {self.columns} {self.words} {self.without} {some.hash}",
            lambda network: effect(network.outcomes(some)), effect(fitted.outcome[rows]),
        )  # fmt: skip
        rest = (
            "what a learner that does not see the concept expects of the outcome from the other words and columns differs "
            f"by {fitted.explained}"
        )
        return (
            _shuffled(desk, prompts, fitted),
            replace(learned, guards=learned.estimate is not None),
            Control("trivial-input", rest, fitted.explained),
        )


def signs(pairs: Contrast, concept: str, value: str) -> np.ndarray:
    """Return 1 for each pair whose clean prompt has a value of the concept, and -1 where its counterpart has it.

    A column that speaks of the pair as a whole speaks of its clean prompt.
    """
    clean, corrupt = (
        np.array([str(each) for each in column_of(side, concept).tolist()]) for side in (pairs.clean, pairs.corrupt)
    )
    by_side = concept in pairs.clean.variables
    same = np.flatnonzero(clean == corrupt)
    if len(same) and (by_side or len(same) < len(pairs)):
        raise DataError(
            f"the concept {concept!r} is the same on both sides of {len(same)} of {len(pairs)} pairs",
            got=f"{clean[same[0]]!r} in pair {same[0]}", fix="give pairs in which it is edited",
        )  # fmt: skip
    has = [clean == value, np.zeros(len(pairs), dtype=bool) if len(same) else corrupt == value]
    if not len(same) and not (has[0] | has[1]).all():
        raise DataError(f"some pairs do not have the value {value!r} of {concept!r} on either side")
    return np.where(has[0], 1.0, -1.0)


def _shuffled(desk: Desk, prompts: PromptSet, fitted: Double) -> Control:
    """Return the control "a concept that was dealt out at random over clusters"; nothing else tells it, so nothing is fitted."""
    draw, effect = np.random.default_rng([desk.seed, 83]), fitted.partially_linear.value
    clusters, labels = units(prompts), fitted.concept.astype(int)
    names = None if len(np.unique(clusters)) == len(labels) else clusters
    left, sizes = fitted.left[1] - fitted.left[1].mean(), []
    for _ in range(_SHUFFLES):
        concept = shuffle_labels(labels, names, draw) - labels.mean()
        sizes.append(abs(float(concept @ left / (concept @ concept))))
    p = (1 + sum(size >= abs(effect) for size in sizes)) / (_SHUFFLES + 1)
    mean = float(np.mean(sizes))
    says = (
        f"a concept dealt out at random over clusters, {_SHUFFLES} times, changes the log-odds by {mean:.3g} on average"
    )
    return Control("random", says, Estimate(mean, 0.0, float(np.quantile(sizes, desk.level)), _SHUFFLES, _SHUFFLES), p, holds=p <= 0.05)  # fmt: skip


def _telling(x: np.ndarray, concept: np.ndarray, names: tuple[str, ...]) -> str:
    """Return the columns that tell the concept most."""
    apart = separation(x, concept)
    return ", ".join(repr(names[column]) for column in np.argsort(-apart, kind="stable")[:3] if apart[column] > 0)


def _figure(rows: list[tuple[str, float, float, float]]) -> Bars:
    bars = [Bar(name, value, low, high) for name, value, low, high in rows if np.isfinite([value, low, high]).all()]
    return Bars(tuple(bars), "Adjusted, not adjusted, and edited", "change of the log-odds")


def _examples(
    desk: Desk, prompts: PromptSet, classes: tuple[str, ...], codes: np.ndarray, fitted: Double
) -> tuple[dict[str, Any], ...]:
    texts = written(prompts, desk.model)
    return tuple(
        {
            "text": texts[row], "concept": classes[int(codes[row])], "outcome": float(fitted.outcome[row]),
            "chance_of_the_concept": float(fitted.chance.values[row]), "expected_outcome": float(fitted.mean.values[row]),
        }
        for row in range(len(prompts))
    )  # fmt: skip
