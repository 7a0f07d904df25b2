"""The concepts of a link: which prompts have them, and the probe that reads them, if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.links.verdict import INCONCLUSIVE, Verdict
from mechcausal.probes.labels import labels_of

_MOST_CLASSES = 8
DIFFERS = 0.9  # the share of the pairs in which the two sides must differ in a concept


@dataclass(frozen=True, eq=False)
class Concept:
    """Something that is true of some prompts.

    Attributes:
        name: What it is called.
        labels: 1 with the concept, 0 without it, -1 without a label, [prompt].
        probe: The probe it was given by, if any.
        code: Which of the probe's classes it is.
        differs: In which share of the pairs the two sides differ in it; one for each value of a concept with many.
        sides: For a value of a concept in which the pairs differ: whether the first side of each pair has it (1), the
            second (-1), or neither (0). It is judged on the pairs that differ in it.
    """

    name: str
    labels: np.ndarray
    probe: Any = None
    code: int = 1
    differs: float = 1.0
    sides: np.ndarray | None = None

    def judged(self, rows: np.ndarray) -> np.ndarray:
        """Return those of some pairs by which its use is judged."""
        return rows if self.sides is None else rows[self.sides[rows] != 0]

    @property
    def blocked(self) -> Verdict | None:
        """Why these pairs do not say whether the concept is used, where that is so."""
        if self.differs >= DIFFERS:
            return None
        how = "never" if self.differs == 0 else f"in {self.differs:.0%} of the pairs only"
        return Verdict(INCONCLUSIVE, f"the two sides differ in {self.name} {how}, so these pairs do not show its use")

    @property
    def labelled(self) -> np.ndarray:
        """Which prompts have a label."""
        return self.labels >= 0


def concepts_of(probes: Any, prompts: PromptSet) -> list[Concept]:  # noqa: ANN401 - many forms
    """Read what a caller may give as probes.

    A probe (its concept names the labels), the name of a variable or a column of the prompts, a mapping from names to
    labels, or a list of these. A concept with more than two values becomes one concept for each value. The prompts are
    both sides of the pairs, clean first.
    """
    items = list(probes) if isinstance(probes, (list, tuple)) else [probes]
    concepts: list[Concept] = []
    for item in items:
        if isinstance(item, Mapping):
            for name, labels in item.items():
                concepts += _concepts(prompts, labels, str(name), None)
        elif isinstance(item, str):
            concepts += _concepts(prompts, item, item, None)
        elif hasattr(item, "concept") and hasattr(item, "scores"):
            concepts += _concepts(prompts, item.concept, item.concept, item)
        else:
            raise DataError(
                f"a {type(item).__name__} names no concept",
                expected="a probe, a variable of the prompts, or labels by name: {'gender': [0, 1, ...]}",
            )
    if not concepts:
        raise DataError("there is no concept to link to", fix="give a probe, or labels by name")
    names = [concept.name for concept in concepts]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"the concept {twice[0]!r} is given twice", fix="name each concept once")
    return concepts


def _concepts(prompts: PromptSet, labels: Any, name: str, probe: Any) -> list[Concept]:  # noqa: ANN401
    read = labels_of(prompts, labels, name)
    if read.of_tokens:
        raise DataError(f"the labels {name!r} are of tokens; a link needs one label for each prompt")
    if probe is not None and len(probe.classes) != len(read.classes):
        raise DataError(
            f"the probe of {name!r} tells other classes apart than these pairs have",
            got=f"{len(probe.classes)} classes", expected=f"{len(read.classes)}",
            fix=f"give the name of the variable, {name!r}, in place of the probe",
        )  # fmt: skip
    clean, corrupt = np.split(read.codes, 2)
    labelled = (clean >= 0) & (corrupt >= 0)
    differs = float((clean != corrupt)[labelled].mean()) if labelled.any() else 0.0
    if len(read.classes) == 2:
        return [Concept(name, read.codes, probe, differs=differs)]
    if len(read.classes) > _MOST_CLASSES:
        raise DataError(
            f"the concept {name!r} has too many values to be told apart one by one",
            got=len(read.classes), expected=f"at most {_MOST_CLASSES}", fix="cut it into classes",
        )  # fmt: skip
    concepts = []
    for code, word in enumerate(read.classes):
        labels = np.where(read.codes < 0, -1, (read.codes == code).astype(int))
        sides = np.where(labelled, (clean == code).astype(int) - (corrupt == code), 0) if differs >= DIFFERS else None
        concepts.append(Concept(f"{name} {word}", labels, probe, code, differs, sides))
    return concepts
