"""Studies that ship: pairs, the concepts of a suite of probes, and text on which nothing should change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import contrast, task
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError, did_you_mean
from mechcausal.links.linking import link
from mechcausal.links.result import Links
from mechcausal.models.binding import Bound
from mechcausal.probes.labels import labels_of, one_set
from mechcausal.probes.probing import in_words, probe
from mechcausal.probes.suites import Question, suite


@dataclass(frozen=True)
class _Shipped:
    """A part of a suite, the concept that is linked, the pairs that differ in it, and a task whose text is neutral.

    `note` says what the claims are about, where that is not what the pairs suggest; `told` are options of `link`.
    """

    part: str
    concept: str
    pairs: str
    neutral: str | None = None
    note: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.part}/{self.concept}"


# A secret is a fact about one person, who was trained on; so it is these people that are asked about, in new texts. With
# one of eight people in a feature, its AUC for each of the others is 0.5 - 1/14: less than 0.1 is no association.
_PEOPLE = (
    "The {} people are fixed and the texts vary: what is claimed holds for them, after other digits. For people in general "
    "people are the clusters (generalise='clusters'), and more of them are needed than this organism has."
)

_SHIPPED = (
    _Shipped("hiring/fairness", "gender", "hiring/gender", "hiring_secret"),
    _Shipped("hiring/fairness", "proxy", "hiring/proxy", "hiring_secret"),
    _Shipped(
        "hiring/privacy",
        "name",
        "hiring_secret/person",
        "hiring",
        _PEOPLE.format("eight"),
        {"generalise": "texts", "smallest_association": 0.1},
    ),
    _Shipped(
        "hiring/privacy",
        "has a secret",
        "hiring_secret/member",
        "hiring",
        _PEOPLE.format("sixteen"),
        {"generalise": "texts"},
    ),
    _Shipped("bios/fairness", "pronoun", "bios/pronoun"),
)


@dataclass(frozen=True, eq=False)
class Study:
    """What a link is asked about.

    Attributes:
        name: The part of the suite and the concept.
        pairs: The pairs, which differ in the concept.
        question: The question of the suite about the concept.
        also: The other questions of that part whose concepts these prompts have, for specificity.
        neutral: Text on which nothing should change.
        note: What the claims are about, in a sentence.
        told: Options of `link` that belong to the study.
        task: The task that the pairs are from.
    """

    name: str
    pairs: Contrast
    question: Question
    also: tuple[Question, ...]
    neutral: PromptSet | None
    note: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None

    def link(self, model: Any, what: Any, *, seed: int = 0, **options: Any) -> Links:  # noqa: ANN401
        """Link candidates to the concept of this study; the options are those of `link`.

        At the place of a dictionary the suite's probe is fitted, to the suite's own prompts. Where there is no
        dictionary, and for concepts with more than two values, the labels stand alone.
        """

        def concept(one: Question) -> Any:  # noqa: ANN401
            if len(one.labels.classes) > 2:
                name = one.labels.concept
                return {name: in_words(labels_of(one_set(self.pairs), name), self.task)}
            if not isinstance(what, Bound):
                return one.labels.concept
            return probe(
                model, one.prompts, one.labels, what.site,
                at=one.at, pool=one.pool, control=False, mdl=False, seed=seed,
            )  # fmt: skip

        told: dict[str, Any] = {
            "at": self.question.at, "neutral": self.neutral, "seed": seed, **self.told, **options,
        }  # fmt: skip
        others = [one.labels.concept for one in self.also]
        return link(model, what, concept(self.question), self.pairs, also=others, **told)


def studies(name: str, model: Any, n: int = 128, *, seed: int = 0) -> list[Study]:  # noqa: ANN401
    """Return the studies of a suite: `hiring` has two about fairness and two about privacy.

    Args:
        name: The suite (`hiring`, `bios`), a part of it (`hiring/fairness`) or one study (`hiring/fairness/gender`).
        model: The model that the prompts are for.
        n: How many pairs each study has.
        seed: The seed of the draw.
    """
    chosen = [one for one in _SHIPPED if f"{one.name}/".startswith(f"{name}/")]
    if not chosen:
        names = [word for one in _SHIPPED for word in (one.part.partition("/")[0], one.part, one.name)]
        raise DataError(f"no pairs ship for the suite {name!r}", fix=did_you_mean(name, list(dict.fromkeys(names))))
    return [_study(one, model, n, seed) for one in chosen]


def _study(one: _Shipped, model: Any, n: int, seed: int) -> Study:  # noqa: ANN401
    pairs = contrast(one.pairs, model, n, seed=seed)
    asked = suite(one.part, model, seed=seed)
    also = tuple(other for other in asked if other.labels.concept != one.concept and _varies(pairs, other))
    neutral = None if one.neutral is None else task(one.neutral).prompts(model, 64, seed=seed)
    own = task(one.pairs.partition("/")[0])
    return Study(one.name, pairs, asked[one.concept], also, neutral, one.note, one.told, own)


def _varies(pairs: Contrast, question: Question) -> bool:
    """Say whether the prompts have the concept of a question, with two values."""
    both = [side.variables.get(question.labels.concept) for side in (pairs.clean, pairs.corrupt)]
    if question.labels.of_tokens or any(column is None or column.ndim != 1 for column in both):
        return False
    return len(torch.cat([column.cpu() for column in both if column is not None]).unique()) == 2
