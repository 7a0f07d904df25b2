"""What a network is taught: a hypothesis, and prompts that show it. What cannot be taught is refused before any compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.hypothesis import Hypothesis, table_of
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, SiteError, UnsupportedError
from mechcausal.models.abilities import Abilities
from mechcausal.models.engine import check_prompts

STREAM = ("resid_pre", "resid_mid", "resid_post")


@dataclass(frozen=True)
class Lesson:
    """A hypothesis to be made true, and prompts that show it.

    Attributes:
        hypothesis: The causal model, and where its variables are to live.
        prompts: Prompts with the value of every variable, as `task(...).prompts(model, n)` gives them.
        share: Its part of each batch, relative to the other lessons.
    """

    hypothesis: Hypothesis
    prompts: PromptSet
    share: float = 1.0


Lessons = Sequence[Lesson] | Lesson


def listed(lessons: Lessons | None) -> list[Lesson]:
    """Return one lesson, several or none as a list."""
    if lessons is None:
        return []
    return [lessons] if isinstance(lessons, Lesson) else list(lessons)


def words(model: Any, lesson: Lesson) -> np.ndarray:  # noqa: ANN401
    """Return the token of each value of the outcome."""
    hypothesis = lesson.hypothesis
    if lesson.prompts.answers is not None:
        raise DataError(
            f"training teaches answers of one token, and the prompts of {hypothesis.outcome!r} have others",
            got="several tokens or sets of texts", fix="give each prompt one word of the outcome, which is one token",
        )  # fmt: skip
    tokens = answer_tokens(model, hypothesis).numpy()
    answer, table = lesson.prompts.answer, table_of(lesson.prompts)
    expected = tokens[table[hypothesis.outcome].astype(int)]
    if answer is not None and (answer.cpu().numpy() != expected).any():
        row = int((answer.cpu().numpy() != expected).argmax())
        tokenizer = getattr(model, "tokenizer", None)
        printed = int if tokenizer is None else tokenizer.convert_ids_to_tokens
        raise DataError(
            f"the answer of prompt {row} is not the word of its {hypothesis.outcome}",
            got=printed(int(answer[row])),
            expected=printed(int(expected[row])),
            fix="name the hypothesis's outcome, or draw the prompts from its task",
        )
    return tokens


def require_teachable(model: Any, able: Abilities, lesson: Lesson) -> None:  # noqa: ANN401
    """Refuse a lesson that cannot be taught, before any compute."""
    hypothesis, prompts = lesson.hypothesis, lesson.prompts
    if not lesson.share > 0:
        raise DataError("a lesson's share of the batch must be above 0", got=lesson.share)
    check_prompts(model, prompts)
    hypothesis.check(able, prompts)
    for variable, parts in hypothesis.alignment.items():
        column = table_of(prompts)[variable].reshape(len(prompts), -1)
        if (column == column[0]).all():
            raise DataError(
                f"{variable!r} has one value only in these {len(prompts)} prompts, so there is nothing to exchange",
                fix="draw more of them, or from an environment in which it varies",
            )
        for part in parts:
            if part.site.component == "pattern":
                raise UnsupportedError(
                    f"{part} cannot be taught: a pattern has no place in another prompt", fix="use z"
                )
            if part.site.dictionary is not None:
                raise UnsupportedError(
                    f"{part} cannot be taught: training changes the weights that the dictionary belongs to",
                    fix="use the activation itself, or a subspace of it",
                )
            if not prompts.select(part.at).any():
                raise SiteError(f"no prompt has a position {part.at}, where {variable!r} is to be")


def require_closed(hypothesis: Hypothesis) -> None:
    """Refuse strictness where the outcome also depends on what has no place: it would be told to matter and not to."""
    stream = {part.site for parts in hypothesis.alignment.values() for part in parts if part.site.component in STREAM}
    cuts = [{v for v, p in hypothesis.alignment.items() if any(part.site == s for part in p)} for s in sorted(stream)]
    for cut, where in zip(cuts or [set(hypothesis.alignment)], sorted(stream) or [None], strict=True):
        around = _around(hypothesis, cut)
        if around:
            placed = f"{' and '.join(sorted(cut))}, which {'has' if len(cut) == 1 else 'have'} a place"
            raise DataError(
                f"{around!r} reaches {hypothesis.outcome!r} around {placed}{'' if where is None else f' at {where}'}, "
                "so it cannot be true that nothing else matters",
                fix="align a variable on its way, name it in given=[...], or train with strict=0",
            )


def _around(hypothesis: Hypothesis, cut: set[str]) -> str | None:
    """Return an input that reaches the outcome without passing one of these variables."""
    scm, todo, seen = hypothesis.scm, [hypothesis.outcome], set()
    while todo:
        variable = todo.pop()
        for parent in scm.parents(variable):
            if parent in cut or parent in hypothesis.given or parent in seen:
                continue
            if parent in scm.noise:
                return variable if variable != hypothesis.outcome else parent
            seen.add(parent)
            todo.append(parent)
    return None
