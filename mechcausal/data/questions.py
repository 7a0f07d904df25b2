"""Questions: a concept, the data it is asked on, the positions, and what an answer would be about.

Probes read a concept off prompts, links ask on pairs whether the behavior uses it, audits do both. All take a `Question`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mechcausal.address import Selection
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks.definition import Task

Pool = Literal["mean", "max", "each"]
Generalize = Literal["clusters", "texts"]


@dataclass(frozen=True, eq=False)
class Labels:
    """The class of every prompt, or of every token; or a number for each, where the concept is continuous.

    Attributes:
        concept: What the labels are about.
        codes: The class of each prompt, [prompt], or of each token, [prompt pos] in the columns of the prompts; -1 where
            there is no label. Of numbers it is 0 where there is one.
        classes: The names of the classes; none for numbers.
        numbers: The numbers of a continuous concept, in the shape of `codes`; None for classes.
    """

    concept: str
    codes: np.ndarray
    classes: tuple[str, ...]
    numbers: np.ndarray | None = None

    @property
    def of_tokens(self) -> bool:
        """Whether each token has a label of its own."""
        return self.codes.ndim == 2


@dataclass(frozen=True, eq=False)
class Question:
    """One question about one concept.

    Attributes:
        family: `"fairness"` or `"privacy"`.
        asks: The kind of question, such as `"protected attribute"`.
        labels: The concept, and which prompts have it.
        prompts: The prompts from which it is read.
        at: The positions at which it is read.
        pool: How several positions become one.
        types: The type of each prompt for the control task of a probe; the token at the position without them.
        given: For a stereotype: the protected attribute that it goes with.
        task: The task the prompts are from, where the best possible accuracy can be computed.
        pairs: Pairs whose two sides differ in the concept, for questions about its use.
        also: Questions about other concepts of the same pairs; effects on them show how specific an effect is.
        neutral: Text on which no intervention should change anything.
        generalize: What a claim is about: `"clusters"`, others like those of the pairs, or `"texts"`, these very
            clusters in new texts.
        smallest_association: The smallest distance of an AUC from 0.5 that is of interest.
        note: One sentence on what a claim is about, where the pairs suggest something else.
        suite: The suite that it is part of, such as `"hiring/fairness"`.
        fitted: Whether a probe may be fitted to its prompts; not where they are the pairs themselves, which judge it.
    """

    family: str
    asks: str
    labels: Labels
    prompts: PromptSet
    at: Selection
    pool: Pool = "mean"
    types: Any = None
    given: Labels | None = None
    task: Task | None = None
    pairs: Contrast | None = None
    also: tuple[Question, ...] = ()
    neutral: PromptSet | None = None
    generalize: Generalize = "clusters"
    smallest_association: float = 0.05
    note: str = ""
    suite: str = ""
    fitted: bool = True

    @property
    def concept(self) -> str:
        """The name of the concept."""
        return self.labels.concept

    @property
    def name(self) -> str:
        """The suite and the concept; without a suite the concept and where it is read."""
        return f"{self.suite}/{self.concept}" if self.suite else f"{self.concept}{self.at}"

    def on(self, pairs: Contrast, **changes: Any) -> Question:  # noqa: ANN401 - fields
        """Return the same question with pairs that show the use of its concept."""
        return replace(self, pairs=pairs, **changes)
