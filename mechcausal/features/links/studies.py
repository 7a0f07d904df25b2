"""Studies that ship: pairs, the concepts of a suite of probes, and text on which nothing should change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mechcausal.address import Selection
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import contrast, task
from mechcausal.errors import DataError, did_you_mean
from mechcausal.features.links.linking import link
from mechcausal.features.links.result import Links
from mechcausal.features.probes.probing import probe
from mechcausal.features.probes.suites import Question, suite
from mechcausal.models.dictionaries import Bound

# Part of a suite: the pairs whose factor it is about, and the task whose prompts are neutral to it.
_PAIRS = {
    "hiring/fairness": ("hiring/gender", "hiring_secret"),
    "hiring/privacy": ("hiring_secret/secret", "hiring"),
    "bios/fairness": ("bios/pronoun", None),
}


@dataclass(frozen=True, eq=False)
class Study:
    """What a link is asked about.

    Attributes:
        name: The part of the suite.
        pairs: The pairs.
        questions: The questions of the suite that these pairs can answer: those about a variable of theirs.
        skipped: The concepts of the others.
        neutral: Text on which nothing should change.
    """

    name: str
    pairs: Contrast
    questions: tuple[Question, ...]
    skipped: tuple[str, ...]
    neutral: PromptSet | None

    @property
    def at(self) -> Selection:
        """The decision position, which is that of the questions."""
        return self.questions[0].at

    def probes(self, model: Any, what: Any, *, seed: int = 0) -> list[Any]:  # noqa: ANN401
        """Return the probes of the questions at the place of a dictionary, fitted to the suite's own prompts.

        Where there is no dictionary, and for concepts with more than two values, the labels alone.
        """
        if not isinstance(what, Bound):
            return [one.labels.concept for one in self.questions]
        return [
            _probe(model, one, what, seed) if len(one.labels.classes) == 2 else one.labels.concept
            for one in self.questions
        ]

    def link(self, model: Any, what: Any, *, seed: int = 0, **options: Any) -> Links:  # noqa: ANN401
        """Link candidates to the concepts of this study; the options are those of `link`."""
        probes = self.probes(model, what, seed=seed)
        told: dict[str, Any] = {"at": self.at, "neutral": self.neutral, "seed": seed, **options}
        return link(model, what, probes, self.pairs, **told)


def _probe(model: Any, question: Question, own: Bound, seed: int) -> Any:  # noqa: ANN401
    return probe(
        model, question.prompts, question.labels, own.site,
        at=question.at, pool=question.pool, control=False, mdl=False, seed=seed,
    )  # fmt: skip


def studies(name: str, model: Any, n: int = 128, *, seed: int = 0) -> list[Study]:  # noqa: ANN401
    """Return the studies of a suite: `hiring` has one about fairness and one about privacy.

    Args:
        name: The suite (`hiring`, `bios`), or one part of it (`hiring/fairness`).
        model: The model that the prompts are for.
        n: How many pairs each study has.
        seed: The seed of the draw.
    """
    chosen = [part for part in _PAIRS if name in (part, part.partition("/")[0])]
    if not chosen:
        known = [*_PAIRS, *dict.fromkeys(part.partition("/")[0] for part in _PAIRS)]
        raise DataError(f"no pairs ship for the suite {name!r}", fix=did_you_mean(name, known))
    return [_study(part, model, n, seed) for part in chosen]


def _study(part: str, model: Any, n: int, seed: int) -> Study:  # noqa: ANN401
    name, other = _PAIRS[part]
    pairs = contrast(name, model, n, seed=seed)
    asked = suite(part, model, seed=seed)
    mine = tuple(one for one in asked if _answers(pairs, one))
    if not mine:
        raise DataError(f"the pairs {name!r} vary in nothing that the suite {part!r} asks about")
    skipped = tuple(one.labels.concept for one in asked if one not in mine)
    neutral = None if other is None else task(other).prompts(model, 64, seed=seed)
    return Study(part, pairs, mine, skipped, neutral)


def _answers(pairs: Contrast, question: Question) -> bool:
    name = question.labels.concept
    both = [side.variables.get(name) for side in (pairs.clean, pairs.corrupt)]
    if question.labels.of_tokens or both[0] is None or both[1] is None or both[0].ndim != 1:
        return False
    return len(torch.cat([both[0].cpu(), both[1].cpu()]).unique()) > 1
