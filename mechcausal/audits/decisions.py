"""Decisions, and whether they are right: of answer against foil, of all words, of labels, in writing, or by rewards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.arguments import Count
from mechcausal.audits.behavior.writing import TOKENS as TOKENS
from mechcausal.audits.behavior.writing import forwards_of_writing, named_first, require_room, written_after
from mechcausal.audits.desk import Desk
from mechcausal.audits.finding import Identified
from mechcausal.audits.perturbed import plain_prompts
from mechcausal.audits.preferred import asked_of, by_length, preferred, rewards_apart
from mechcausal.audits.question import AuditQuestion
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import MechcausalError
from mechcausal.metrics import Metric, at_read_position
from mechcausal.models.classifier import Head, head_of

UNDECIDED = "undecided"
Against = Literal["foil", "all", "written"]
"""What a decision is: between the answer and its foil, the likeliest of all words, or which of the two is written first.

Of a classifier it is between the label that the plan reads and all others (`"foil"`), or the likeliest label (`"all"`). Of a
reward model that is to be right it is between the two texts of a pair (`preferred`), whichever of both is said.
"""


def _likeliest(logits: Tensor, batch: PromptSet) -> Tensor:
    return at_read_position(logits, batch).argmax(-1).to(torch.float64)


def _log_odds(logits: Tensor, batch: PromptSet) -> Tensor:
    return _of_the_likeliest(at_read_position(logits, batch))


def _of_the_likeliest(table: Tensor) -> Tensor:
    """Return the log-odds of the likeliest column against all others together."""
    values = table.double()
    first, where = values.max(-1)
    rest = values.scatter(1, where[:, None], float("-inf")).logsumexp(-1)
    return first - rest


LIKELIEST = Metric("likeliest word", _likeliest, reads="position", differentiable=False)
CONFIDENCE = Metric("log-odds of the likeliest word", _log_odds, reads="position", differentiable=False)


def _of_labels(desk: Desk) -> tuple[Metric, Metric]:
    """Return the likeliest label of a classifier, and its log-odds, as metrics."""
    head = head_of(desk.model)
    assert head is not None  # its callers have looked

    def make() -> tuple[Metric, Metric]:
        def likeliest(states: Tensor, batch: PromptSet) -> Tensor:
            return head(states, batch).argmax(-1).to(torch.float64)

        def odds(states: Tensor, batch: PromptSet) -> Tensor:
            return _of_the_likeliest(head(states, batch))

        return (
            Metric("likeliest label", likeliest, differentiable=False, needs_logits=False),
            Metric("log-odds of the likeliest label", odds, differentiable=False, needs_logits=False),
        )

    return desk.once(("metrics of labels", id(desk.model)), make)


def decisions(
    desk: Desk, prompts: PromptSet, against: Against, cutoff: float = 0.0, tokens: int = TOKENS
) -> np.ndarray:
    """Return a number for the decision about each prompt.

    Args:
        desk: The desk.
        prompts: The prompts.
        against: What a decision is: 1 for the answer and 0 for the foil (-1 where neither is written), or the number of the
            likeliest token or label.
        cutoff: The log-odds above which the answer is taken, against the foil.
        tokens: How many tokens are written at most, where decisions are written.
    """
    if against == "written":
        return named_first(desk, prompts, tokens)
    if against == "foil":
        return (desk.outcomes(prompts) > cutoff).astype(float)
    return desk.outcomes(prompts, LIKELIEST if head_of(desk.model) is None else _of_labels(desk)[0])


def correct(desk: Desk, data: PromptSet | Contrast, against: Against, tokens: int = TOKENS) -> np.ndarray:
    """Return 1 for each prompt whose decision is its answer (of a classifier its label), else 0; see `preferred` for rewards.

    Args:
        desk: The desk.
        data: The prompts, or the pairs of a reward model: what `asked_of` gives.
        against: What a decision is.
        tokens: How many tokens are written at most, where decisions are written.
    """
    if isinstance(data, Contrast):
        return preferred(desk, data)
    prompts, head = data, head_of(desk.model)
    if head is not None:
        labels = label_numbers(head, prompts)
        if against == "all":
            return (decisions(desk, prompts, against) == labels).astype(float)
        return (decisions(desk, prompts, against) == (labels == _read_label(desk, head))).astype(float)
    if against == "all":
        return np.asarray(desk.outcomes(prompts, "accuracy"), dtype=float)
    return (decisions(desk, prompts, against, tokens=tokens) == 1).astype(float)


def confidence(desk: Desk, prompts: PromptSet | Contrast, against: Against) -> np.ndarray:
    """Return the log-odds that the model gives to its own decision about each prompt; NaN for what is written.

    Of a reward model they are the distance of the two rewards of each pair (Bradley and Terry 1952).
    """
    if against == "written":
        return np.full(len(prompts), np.nan)
    if isinstance(prompts, Contrast):
        return np.abs(rewards_apart(desk, prompts))
    if against == "foil":
        return np.abs(desk.outcomes(prompts))
    return desk.outcomes(prompts, CONFIDENCE if head_of(desk.model) is None else _of_labels(desk)[1])


def label_numbers(head: Head, prompts: PromptSet) -> np.ndarray:
    """Return the number of the label that each prompt has, among those of a classifier: by name, else by number."""
    numbers = {**{str(number): number for number in range(len(head.labels))},
               **{name: number for number, name in enumerate(head.labels)}}  # fmt: skip
    return np.array([numbers.get(str(label).strip(), -1) for label in prompts.labels])


def _read_label(desk: Desk, head: Head) -> int:
    """Return the number of the label whose log-odds are the outcome of the plan."""
    return head.labels.index(desk.reads) if desk.reads else len(head.labels) - 1


def forwards_of(desk: Desk, data: PromptSet | Contrast, against: Against, tokens: int = TOKENS) -> float:
    """Return how many forwards of one prompt the decisions about prompts take, or of a reward model about pairs."""
    if isinstance(data, Contrast):
        return desk.runs(data.clean, data.corrupt)
    if against == "written":
        return forwards_of_writing(desk, data, tokens)
    return desk.runs(data, metric=None if against == "foil" or head_of(desk.model) is not None else "accuracy")


def forwards_with_confidence(desk: Desk, data: PromptSet | Contrast, against: Against, tokens: int = TOKENS) -> float:
    """Return how many forwards the decisions and the confidence in them take."""
    apart = against == "all" and not isinstance(data, Contrast)
    return forwards_of(desk, data, against, tokens) + apart * len(data)


def unnamed(desk: Desk, prompts: PromptSet, against: Against, tokens: int = TOKENS) -> dict[str, str]:
    """Return the mark of decisions that are written where some are none, because neither answer nor foil is written."""
    if against != "written":
        return {}
    count = int((named_first(desk, prompts, tokens) < 0).sum())
    says = f"after {count} of {len(prompts)} prompts neither the answer nor the foil is written, which is never right"
    return {UNDECIDED: says} if count else {}


def what_is_written(
    desk: Desk, prompts: PromptSet, against: Against, tokens: int, rows: Sequence[int]
) -> list[dict[str, str]]:
    """Return for these prompts what the model writes, as a part of an example; nothing where decisions are not written."""
    if against != "written":
        return [{} for _ in rows]
    texts = written_after(desk, prompts, tokens=tokens)
    return [{"written": texts[row][0]} for row in rows]


def undecidable(
    desk: Desk, data: Any, against: Against, *, needs_answer: bool = False, tokens: int = TOKENS  # noqa: ANN401
) -> str | None:  # fmt: skip
    """Say why the model makes no decision about these prompts; None where it does.

    Args:
        desk: The desk, with the model.
        data: Prompts, or pairs, whose clean prompts are asked.
        against: What a decision is.
        needs_answer: Whether decisions are to be right or wrong.
        tokens: How many tokens are written at most, where decisions are written.
    """
    prompts, head = plain_prompts(data), head_of(desk.model)
    if head is not None:
        if len(head.labels) > 1:
            return _undecided_by_a_classifier(head, prompts, against, needs_answer)
        return _undecided_by_rewards(data, against, needs_answer)
    answer, foil = (getattr(prompts, name) is not None or getattr(prompts, f"{name}s") is not None
                    for name in ("answer", "foil"))  # fmt: skip
    if against != "all" and not (answer and foil):
        return "have no answer and foil, so there is no decision between them"
    if against == "all" and needs_answer and not answer:
        return "have no answer, so no decision is right or wrong"
    if against == "written":
        try:
            require_room(desk.model, prompts, tokens)
        except MechcausalError as error:
            return f"are not written after: {error}"
    return None


def _undecided_by_rewards(data: PromptSet | Contrast, against: Against, needs_answer: bool) -> str | None:
    if against == "written":
        return "are asked of a reward model, which writes nothing"
    if needs_answer:
        right = "a reward model is right where it prefers the chosen text of a pair: give pairs, clean chosen and corrupt rejected"
        return None if isinstance(data, Contrast) else f"have one text each, and {right}"
    if against == "all":
        return "are asked of a reward model, which chooses no word: take against = 'foil', a reward above the cutoff"
    return None


def _undecided_by_a_classifier(head: Head, prompts: PromptSet, against: Against, needs_answer: bool) -> str | None:
    if against == "written":
        return "are asked of a classifier, which writes nothing"
    if not needs_answer:
        return None
    if not prompts.labels:
        return "have no labels, so no decision of a classifier is right or wrong: add a column 'label'"
    unknown = np.flatnonzero(label_numbers(head, prompts) < 0)
    if len(unknown):
        labels = ", ".join(head.labels[:6])
        return f"have the label {str(prompts.labels[unknown[0]])[:40]!r}, and those of this classifier are {labels}"
    return None


@dataclass(frozen=True, kw_only=True)
class OfDecisions(AuditQuestion):
    """A question about decisions that are right or wrong.

    Of pairs the clean prompts are asked; a reward model is asked which text of a pair it prefers, and clean was chosen.

    Attributes:
        against: Whether a decision is the likeliest of all words (of a classifier the likeliest label), that between answer
            and foil, or (`"written"`) which of the two stands first in what the model writes.
        tokens: How many tokens are written at most, where decisions are written.
    """

    population: ClassVar[str] = "prompts like those in the data"
    held_fixed: ClassVar[str] = "every prompt, which is asked as it is"
    identified: ClassVar[Identified] = "descriptive"
    assumptions: ClassVar[tuple[str, ...]] = (
        "the answers of the prompts (of a classifier the labels, of a reward model the choices) are true",
    )
    against: Against = "all"
    tokens: Count = TOKENS

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the prompts."""
        yield from super().problems(data)
        if isinstance(data["data"], self.takes):
            yield from self.wrong_prompts(plain_prompts(data["data"]))

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Say why the model's decisions are neither right nor wrong."""
        if (why := undecidable(desk, desk.data, self.against, needs_answer=True, tokens=self.tokens)) is not None:
            yield f"the prompts in {self._name_of('data')} {why}"

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards of one prompt it takes."""
        return (1 + desk.networks) * forwards_of(desk, asked_of(desk, desk.data), self.against, self.tokens)

    def wrong_prompts(self, prompts: PromptSet) -> Iterator[str]:
        """Say what else is wrong with the prompts."""
        raise NotImplementedError


def guess_of(data: PromptSet | Contrast) -> str:
    """Say what a guess without reading is."""
    return "the longer text (or the shorter)" if isinstance(data, Contrast) else "the most frequent answer"


def constant(desk: Desk, data: PromptSet | Contrast) -> np.ndarray:
    """Return 1 for each prompt whose answer is the most frequent one, else 0: what a guess without reading gets right."""
    if isinstance(data, Contrast):
        return by_length(data)
    prompts = data
    head = head_of(desk.model)
    if head is not None:
        ids = label_numbers(head, prompts)
    else:
        answers = prompts.answer if prompts.answer is not None else prompts.answers
        assert answers is not None  # `undecidable` has said so
        rows = answers.cpu().numpy().reshape(len(prompts), -1)
        ids = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return (ids == np.bincount(ids).argmax()).astype(float)
