"""Questions that ship with pairs, and how a link answers one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mechcausal.address import Selection
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.questions import Question
from mechcausal.data.tasks import contrast, task
from mechcausal.errors import DataError, did_you_mean
from mechcausal.links.linking import LinkCost, link
from mechcausal.links.result import Links
from mechcausal.models.binding import Bound
from mechcausal.probes.labels import labels_of, one_set
from mechcausal.probes.probing import probe
from mechcausal.probes.procedure import in_words
from mechcausal.probes.suites import suite


@dataclass(frozen=True)
class _Shipped:
    """A part of a suite, its concept, the pairs that differ in it, and a task whose text is neutral."""

    part: str
    concept: str
    pairs: str
    neutral: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.part}/{self.concept}"


# A secret is a fact about one person, who was trained on; so it is these people that are asked about, in new texts.
_PEOPLE = (
    "The {} people are fixed and the texts vary: claims hold for these people, after other digits. A claim about people in "
    "general needs people as clusters (generalize='clusters'), and more of them than this organism has."
)
# A feature for one of eight people has an AUC of 0.5 - 1/14 for each of the others: less than 0.1 is no association.
_ONE_OF_EIGHT = 0.1

_SHIPPED = (
    _Shipped("hiring/fairness", "gender", "hiring/gender", "hiring_secret"),
    _Shipped("hiring/fairness", "proxy", "hiring/proxy", "hiring_secret"),
    _Shipped(
        "hiring/privacy", "name", "hiring_secret/person", "hiring",
        {"generalize": "texts", "smallest_association": _ONE_OF_EIGHT, "note": _PEOPLE.format("eight")},
    ),
    _Shipped(
        "hiring/privacy", "has a secret", "hiring_secret/member", "hiring",
        {"generalize": "texts", "note": _PEOPLE.format("sixteen")},
    ),
    _Shipped("bios/fairness", "pronoun", "bios/pronoun"),
)  # fmt: skip


def questions(name: str, model: Any, n: int = 128, *, seed: int = 0) -> list[Question]:  # noqa: ANN401
    """Return the questions of a suite that ship with pairs: `hiring` has two about fairness and two about privacy.

    Args:
        name: The suite (`hiring`, `bios`), a part of it (`hiring/fairness`) or one question (`hiring/fairness/gender`).
        model: The model that the prompts are for.
        n: The number of pairs of each question.
        seed: The seed of the draw.
    """
    chosen = [shipped for shipped in _SHIPPED if f"{shipped.name}/".startswith(f"{name}/")]
    if not chosen:
        names = [word for s in _SHIPPED for word in (s.part.partition("/")[0], s.part, s.name)]
        raise DataError(f"no pairs ship for the suite {name!r}", fix=did_you_mean(name, list(dict.fromkeys(names))))
    return [_question(shipped, model, n, seed) for shipped in chosen]


def own(pairs: Contrast, concept: str, labels: Any, prompts: PromptSet | None = None) -> Question:  # noqa: ANN401
    """Return the question whether a concept of your own pairs is available and used.

    Args:
        pairs: The pairs.
        concept: The name of the concept.
        labels: Its value for each prompt of both sides, clean first.
        prompts: Prompts with a column of that name, to which a probe is fitted at the place of a dictionary.
    """
    sides = [tuple(labels[: len(pairs)]), tuple(labels[len(pairs) :])]
    sides_with_concept = [
        replace(side, given={**side.given, concept: values})
        for side, values in zip((pairs.clean, pairs.corrupt), sides, strict=True)
    ]
    marked = replace(pairs, clean=sides_with_concept[0], corrupt=sides_with_concept[1])
    both = one_set(marked)
    read = both if prompts is None else prompts
    return Question(
        "own", "concept", labels_of(read, concept), read, Selection.parse("@-1"), pairs=marked, suite=pairs.name,
        fitted=prompts is not None,
    )  # fmt: skip


def _question(shipped: _Shipped, model: Any, n: int, seed: int) -> Question:  # noqa: ANN401
    pairs = contrast(shipped.pairs, model, n, seed=seed)
    asked = suite(shipped.part, model, seed=seed)
    also = tuple(other for other in asked if other.concept != shipped.concept and _varies(pairs, other))
    neutral = None if shipped.neutral is None else task(shipped.neutral).prompts(model, 64, seed=seed)
    return asked[shipped.concept].on(
        pairs,
        also=also,
        neutral=neutral,
        suite=shipped.part,
        task=task(shipped.pairs.partition("/")[0]),
        **shipped.asked,
    )


def _varies(pairs: Contrast, question: Question) -> bool:
    """Say whether the pairs have the concept of a question, with two values."""
    both = [side.variables.get(question.concept) for side in (pairs.clean, pairs.corrupt)]
    if question.labels.of_tokens or any(column is None or column.ndim != 1 for column in both):
        return False
    return len(torch.cat([column.cpu() for column in both if column is not None]).unique()) == 2


def answer(model: Any, question: Question, what: Any, *, seed: int = 0, **options: Any) -> Links:  # noqa: ANN401
    """Link candidates to the concept of a question.

    At the place of a dictionary a probe is fitted to the question's own prompts. Elsewhere, and for concepts with more
    than two values, the labels of the pairs stand alone.

    Args:
        model: The model.
        question: A question with pairs.
        what: The candidates, as `link` takes them.
        seed: The seed of the probe and of the link.
        **options: Further arguments of `link`; they replace those of the question.
    """
    return link(model, *_asked(model, question, what, seed), **{**_options(question, seed), **options})


def cost(model: Any, question: Question, what: Any, *, seed: int = 0, **options: Any) -> LinkCost:  # noqa: ANN401
    """Return what `answer` would take with these arguments; only unedited runs are made."""
    made = link.cost(model, *_asked(model, question, what, seed), **{**_options(question, seed), **options})
    assert isinstance(made, LinkCost)
    return made


def _asked(model: Any, question: Question, what: Any, seed: int) -> tuple[Contrast, Any, Any]:  # noqa: ANN401
    pairs = question.pairs
    if pairs is None:
        raise DataError(
            f"the question {question.name!r} has no pairs, so the use of its concept cannot be measured",
            fix="give it pairs that differ in the concept: question.on(pairs)",
        )
    return pairs, what, _concept(model, question, pairs, what, seed)


def _options(question: Question, seed: int) -> dict[str, Any]:
    return {
        "read_at": question.at, "neutral": question.neutral, "seed": seed, "generalize": question.generalize,
        "smallest_association": question.smallest_association, "also": [other.concept for other in question.also],
    }  # fmt: skip


def _concept(model: Any, question: Question, pairs: Contrast, what: Any, seed: int) -> Any:  # noqa: ANN401
    """Return the concept as `link` takes it: labels by name, a variable, or a probe at the place of a dictionary."""
    if len(question.labels.classes) > 2:
        return {question.concept: in_words(labels_of(one_set(pairs), question.concept), question.task)}
    if not isinstance(what, Bound) or not question.fitted:
        return question.concept
    return probe(
        model, question.prompts, question.labels, what.site,
        at=question.at, pool=question.pool, control=False, mdl=False, seed=seed,
    )  # fmt: skip
