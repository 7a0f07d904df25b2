"""Benchmarks that a reader knows, as questions: CrowS-Pairs, WinoBias, Winogender and BBQ on any causal model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness import benchmark_scores as scores
from mechcausal.audits.fairness.benchmark_items import OF_PAIRS, ROLES, BenchmarkItems, of_pairs
from mechcausal.audits.fairness.benchmark_scores import Score
from mechcausal.audits.fairness.controls import detectable
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.redrawn import MOST_PAIRS, on_two_scales, some_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import Metric, at_read_position
from mechcausal.results.charts import Bar, bar_chart


@dataclass(frozen=True, kw_only=True)
class Benchmark(AuditQuestion):
    """Score a published benchmark of bias as its authors do.

    The estimate is the share of stereotypical preferences (CrowS-Pairs, 1/2 is none), the gap of accuracy on pro- and
    anti-stereotypical sentences (WinoBias, 0 is none), the correlation of pronouns with the share of women (Winogender, 0 is
    none), or one of the two scores of BBQ (0 is none, 1 always the stereotype, -1 always against it). A model that cannot do
    what a benchmark takes for granted scores as one without bias, so the answer is marked where the model is at chance.

    Attributes:
        context: Which score of BBQ is the estimate: that of ambiguous or that of disambiguated contexts.
    """

    word: ClassVar[str] = "benchmark"
    family: ClassVar[Family] = "fairness"
    contrast: ClassVar[str] = "what the stereotype says against the contrary"
    held_fixed: ClassVar[str] = "the rest of the sentence"
    population: ClassVar[str] = "sentences like those of the benchmark"
    identified: ClassVar[Identified] = "descriptive"
    scale: ClassVar[str] = "score of the benchmark"
    assumptions: ClassVar[tuple[str, ...]] = ("the sentences measure what their authors say",)
    limits: ClassVar[tuple[str, ...]] = (
        "a benchmark is a small set of sentences in English; models may have been trained on it",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (BenchmarkItems, Contrast)
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    better: ClassVar[Literal["low", "high", "zero"]] = "zero"
    context: Literal["ambiguous", "disambiguated"] = "ambiguous"

    @property
    def estimand(self) -> str:
        """What the estimate is."""
        return "the score of the benchmark, as its authors define it"

    def answer(self, desk: Desk) -> Answer:
        """Return the score."""
        items = self._items(desk.data)
        score = self._score(desk, items)
        beside = dict(score.beside)
        if items.name == "winogender" and items.pairs is not None:
            clean, corrupt = desk.both(items.pairs, "logit_diff")
            beside["flip rate of who the pronoun is of"] = desk.mean(
                (clean > 0) != (corrupt > 0), items.pairs.clean.clusters
            )
        rows = [(score.name, score.estimate), *beside.items()]
        table = pd.DataFrame(
            {"measure": name, "value": each.value, "low": each.low, "high": each.high, "n": each.n, "n_clusters": each.n_clusters}
            for name, each in rows
        )  # fmt: skip
        bars = [Bar(name, each.value, each.low, each.high) for name, each in rows]
        says = f"{items.name}: the {score.name} is {score.estimate}, where {score.ideal:g} is no preference"
        marks = {"at-chance": score.vacuous} if score.vacuous else {}
        controls = (
            Control.inapplicable("random", "nothing inside the model is touched, so there is no other site to touch"),
            self._redrawn(desk, items),
            self._trivial(items, score),
        )
        return Answer(
            score.estimate, f"{says}; {score.vacuous}" if score.vacuous else says, controls, table,
            (bar_chart(bars, f"Scores of {items.name}", "score"),), self._examples(items), dropped=tuple(items.dropped),
            marks=marks, cannot_fail=score.vacuous, smallest_detectable=detectable(score.estimate),
            units=as_units(np.asarray(score.units)), unit_clusters=tuple(map(str, items.clusters)),
            null=score.ideal,
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards it takes."""
        items = self._items(desk.data)
        each = 2 if items.prompts is None else items.rows_an_item * (1 + (items.name == "winogender"))
        beside = 0
        if items.prompts is not None and items.pairs is not None:
            beside = desk.runs(items.pairs.clean, items.pairs.corrupt, metric="logit_diff")
        some = min(MOST_PAIRS, len(items))
        return each * (len(items) + (desk.networks + (some < len(items))) * some) + beside

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the data."""
        main = data["data"]
        if isinstance(main, Contrast) and main.name not in OF_PAIRS:
            yield f"pairs of {main.name!r} are no benchmark: use the source benchmark = ..., or pairs of {', '.join(OF_PAIRS)}"
        elif not isinstance(main, self.takes):
            yield f'{self._name_of("data")} holds no benchmark: name one with the source benchmark = "crows_pairs"'
        else:
            ideal = 0.5 if main.name == "crows_pairs" else 0.0
            low, high = (
                -1.0 if self.at_least is None else self.at_least,
                1.0 if self.at_most is None else self.at_most,
            )
            if not low <= ideal <= high:
                yield f"a score of {ideal:g} is no preference in {main.name}, and the threshold ({self.threshold}) leaves it out: declare at_least and at_most around it"

    @staticmethod
    def _items(data: Any) -> BenchmarkItems:  # noqa: ANN401
        return of_pairs(data) if isinstance(data, Contrast) else data

    def _score(self, desk: Desk, items: BenchmarkItems) -> Score:
        """Return the score of the model at a desk."""
        names, groups = items.clusters, items.facts["group"]
        if items.prompts is None:
            assert items.pairs is not None
            if items.name == "crows_pairs":
                return self._crows_pairs(desk, items.pairs, groups)
            return scores.winobias(*desk.both(items.pairs, "logit_diff"), names, groups, desk.level)
        if items.name == "winogender":
            difference, mass = (desk.outcomes(items.prompts, metric) for metric in (DIFFERENCE, MASS))
            return scores.winogender(difference, mass, items.facts["female"], names, desk.level)
        likely = desk.outcomes(items.prompts, "logprob").reshape(-1, len(ROLES))
        both = self._bbq(items, likely.argmax(1), desk.level)
        chosen = both.get(self.context) or next(iter(both.values()))
        other = {
            name: each
            for score in both.values()
            if score is not chosen
            for name, each in ((score.name, score.estimate), *score.beside.items())
        }
        return replace(chosen, beside={**other, **chosen.beside})

    @staticmethod
    def _bbq(items: BenchmarkItems, chosen: np.ndarray, level: float) -> dict[str, Score]:
        negative, ambiguous = items.facts["polarity"] == "neg", items.facts["group"] == "ambig"
        return scores.bbq(chosen, items.facts["right"], negative, ambiguous, items.clusters, level)

    @staticmethod
    def _crows_pairs(desk: Desk, pairs: Contrast, groups: np.ndarray) -> Score:
        more, less = desk.both(pairs, "log_likelihood")
        score = scores.crows_pairs(more, less, pairs.clean.clusters, groups, desk.level)
        tokens = (pairs.clean.lengths - 1).numpy()
        per_token, uniform = (
            float(more.sum() / tokens.sum()),
            -float(np.log(desk.model.cfg.d_vocab)),
        )
        if per_token > uniform:
            return score
        vacuous = (
            f"the model knows no language: the log-likelihood of a token is {per_token:.2f} on average, and that of a guess "
            f"{uniform:.2f}"
        )
        return replace(score, vacuous=vacuous)

    def _redrawn(self, desk: Desk, items: BenchmarkItems) -> Control:
        some = items if len(items) <= MOST_PAIRS else items.take(some_of(desk, len(items), MOST_PAIRS))

        def distance(other: Desk) -> tuple[float, float]:
            score = self._score(other, some)
            distance = score.estimate.value - score.ideal
            return (float(distance) if np.isfinite(distance) else 0.0), float("nan")

        key = f"{some.hash} {self.context}"
        return on_two_scales(desk, "distance of the score from no preference", key, distance, distance(desk))

    def _trivial(self, items: BenchmarkItems, score: Score) -> Control:
        """Return the score of what looks at the input alone."""
        kind = "trivial-input"
        if items.name == "crows_pairs":
            assert items.pairs is not None
            lengths = [side.lengths.numpy() for side in (items.pairs.clean, items.pairs.corrupt)]
            shorter = np.where(lengths[0] == lengths[1], 0.5, (lengths[0] < lengths[1]).astype(float))
            estimate = Estimate.mean(shorter, items.clusters)
            return Control(kind, f"preferring the sentence of fewer tokens scores {estimate}", estimate)
        if items.name.startswith("bbq"):
            assert items.prompts is not None
            lengths = _answer_lengths(items.prompts).reshape(-1, len(ROLES))
            both = self._bbq(items, lengths.argmin(1), 0.95)
            estimate = both[self.context if self.context in both else next(iter(both))].estimate
            return Control(kind, f"giving the answer of fewest tokens scores {estimate}", estimate)
        says = f"what always prefers the same pronoun or ending scores {score.ideal:g}"
        return Control(kind, says, Estimate.exact(score.ideal, len(items)))

    @staticmethod
    def _examples(items: BenchmarkItems) -> tuple[dict[str, Any], ...]:
        # The sentences stay where they ship: they are offensive, and licensed for evaluation.
        return tuple({"item": number, "group": str(group)} for number, group in enumerate(items.facts["group"]))


def _pronouns(logits: Tensor, batch: PromptSet) -> tuple[Tensor, Tensor]:
    assert batch.answer is not None
    assert batch.foil is not None
    chances = at_read_position(logits, batch).softmax(-1)
    return chances.gather(1, batch.answer[:, None])[:, 0], chances.gather(1, batch.foil[:, None])[:, 0]


def difference_of_pronouns(logits: Tensor, batch: PromptSet) -> Tensor:
    """Return the probability of the answer less that of the foil."""
    return torch.sub(*_pronouns(logits, batch))


def mass_of_pronouns(logits: Tensor, batch: PromptSet) -> Tensor:
    """Return the probability of the answer and of the foil together."""
    return torch.add(*_pronouns(logits, batch))


DIFFERENCE = Metric("p(answer) - p(foil)", difference_of_pronouns, ("answer", "foil"), reads="position")
MASS = Metric("p(answer) + p(foil)", mass_of_pronouns, ("answer", "foil"), reads="position")


def _answer_lengths(prompts: PromptSet) -> np.ndarray:
    if prompts.answers is None:
        return np.ones(len(prompts))
    return (prompts.answers[:, 0] >= 0).sum(1).cpu().numpy()
