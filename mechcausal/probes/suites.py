"""Sets of questions about fairness and privacy, each answered by a probe with its controls.

A question is what to read, from which prompts, at which positions. `fairness` and `privacy` make questions of labels
that the user brings; `suite` has those that ship for the tasks of the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mechcausal.address import Selection
from mechcausal.arguments import Count, Model, Seed, Text, checked
from mechcausal.data.prompts import PromptSet
from mechcausal.data.questions import Question as Question
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError, did_you_mean
from mechcausal.metrics import metric
from mechcausal.models.engine import measure
from mechcausal.probes.fitted import Probe
from mechcausal.probes.labels import column_of, labels_of
from mechcausal.probes.probing import probe
from mechcausal.probes.procedure import At, ProbeKind, in_words
from mechcausal.probes.readings import Pool

PROTECTED, STEREOTYPE, ERROR = "protected attribute", "stereotype association", "group-conditional error"
IDENTITY, PII, CANARY = "identity", "PII class of a token", "canary membership"
MEMBER, INFERENCE = "training-set membership", "attribute inference"
MEMBERSHIPS = (CANARY, MEMBER)


@dataclass(frozen=True, eq=False)
class Suite:
    """Questions with a name.

    Attributes:
        name: What the suite is called.
        questions: The questions.
        skipped: The questions that these prompts cannot answer, and why.
    """

    name: str
    questions: tuple[Question, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Question]:
        """Iterate over the questions."""
        return iter(self.questions)

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.questions)

    def __getitem__(self, concept: str) -> Question:
        """Return the question about a concept."""
        for question in self.questions:
            if concept in (question.labels.concept, question.name):
                return question
        raise DataError(
            f"the suite {self.name!r} asks nothing about {concept!r}",
            fix=did_you_mean(concept, [question.labels.concept for question in self.questions]),
        )

    def __add__(self, other: Suite) -> Suite:
        """Return both suites as one."""
        return Suite(f"{self.name} + {other.name}", self.questions + other.questions, {**self.skipped, **other.skipped})

    def __repr__(self) -> str:
        """List the questions."""
        lines = [f"suite {self.name}: {len(self)} questions"]
        for question in self.questions:
            lines.append(
                f"  {question.family:<9} {question.asks:<24} {question.name} ({' / '.join(_few(question.labels.classes)) or 'a number'})"
            )
        return "\n".join([*lines, *(f"  skipped: {name}: {why}" for name, why in self.skipped.items())])

    def probes(self, model: Any, site: str, *, kind: ProbeKind | None = None, **options: Any) -> list[Probe]:  # noqa: ANN401
        """Fit one probe to each question at a site; the options are those of `probe`."""
        return [
            probe(
                model, question.prompts, question.labels, site,
                at=question.at, pool=question.pool, kind=kind, types=question.types, task=question.task, **options,
            )
            for question in self.questions
        ]  # fmt: skip


@checked
def fairness(
    prompts: PromptSet,
    *,
    protected: Any,  # noqa: ANN401 - a name, or one value for each prompt
    stereotype: Any = None,  # noqa: ANN401
    error: Any = None,  # noqa: ANN401
    at: At = "@-1",
    pool: Pool = "mean",
    types: Any = None,  # noqa: ANN401
    task: Task | None = None,
    name: str = "fairness",
    names: Mapping[str, str] | None = None,
) -> Suite:
    """Return the questions of fairness that these labels answer.

    - protected attribute: can the group of a person be read?
    - stereotype association: can a trait that is typical of a group be read, and does the probe of the group take it for
      the group (`association` in the result of `probe_suite`)?
    - group-conditional error: can it be read, within each group, that the model is about to be wrong?

    Args:
        prompts: The prompts.
        protected: The group of each person, as labels are given to `probe`.
        stereotype: A trait with two values.
        error: Whether the model is wrong about the prompt (see `mistakes`).
        at: At which positions.
        pool: What becomes of several positions.
        types: The type of each prompt for control tasks.
        task: The task the prompts are from.
        name: What the suite is called.
        names: What `protected`, `stereotype` and `error` are called, where they are not names themselves.
    """
    where, called = Selection.parse(at), names or {}
    shared: dict[str, Any] = {"prompts": prompts, "at": where, "pool": pool, "types": types, "task": task}
    groups = in_words(labels_of(prompts, protected, called.get("protected", _word(protected, "protected"))), task)
    made = [Question("fairness", PROTECTED, groups, **shared)]
    skipped: dict[str, str] = {}
    if stereotype is not None:
        trait = labels_of(prompts, stereotype, called.get("stereotype", _word(stereotype, "stereotype")))
        made.append(Question("fairness", STEREOTYPE, in_words(trait, task), given=groups, **shared))
    if error is not None:
        wrong = called.get("error", _word(error, "error"))
        values = column_of(prompts, error) if isinstance(error, str) else np.asarray(error)
        if values.shape != (len(prompts),):
            raise DataError("error and prompts differ in number", got=values.shape, expected=len(prompts))
        for code, group in enumerate(groups.classes):
            inside = np.where(groups.codes == code, values.astype(int), np.array(None))
            title = f"{wrong} among {group}"
            try:
                made.append(Question("fairness", ERROR, labels_of(prompts, inside, title), **shared))
            except DataError as reason:
                skipped[title] = str(reason)
    return Suite(name, tuple(made), skipped)


@checked
def privacy(
    prompts: PromptSet,
    *,
    identity: Any = None,  # noqa: ANN401 - a name, or one value for each prompt
    token_class: Any = None,  # noqa: ANN401 - one value for each token
    canary: Any = None,  # noqa: ANN401
    member: Any = None,  # noqa: ANN401
    attribute: Any = None,  # noqa: ANN401
    at: At = "@-1",
    pool: Pool = "mean",
    types: Any = None,  # noqa: ANN401
    task: Task | None = None,
    name: str = "privacy",
    names: Mapping[str, str] | None = None,
) -> Suite:
    """Return the questions of privacy that these labels answer.

    - identity: can it be read who the text is about?
    - PII class of a token: can it be read at a token what kind of personal data it is?
    - canary membership: can it be read that a secret of this person was planted in the training set?
    - training-set membership: can it be read that this very text was in the training set?
    - attribute inference: can something private be read that the text does not state?

    Both memberships are compared with the attack that needs no probe, the model's own loss.

    Args:
        prompts: The prompts.
        identity: Who each prompt is about, as labels are given to `probe`.
        token_class: The class of each token, [prompt pos]; it is read at every token.
        canary: Whether a secret of this person was planted.
        member: Whether the text was in the training set.
        attribute: A private attribute.
        at: At which positions.
        pool: What becomes of several positions.
        types: The type of each prompt for control tasks.
        task: The task the prompts are from.
        name: What the suite is called.
        names: What the labels are called, where they are not names themselves.
    """
    called = names or {}
    shared: dict[str, Any] = {"prompts": prompts, "at": Selection.parse(at), "pool": pool, "types": types, "task": task}
    given = {
        "identity": (IDENTITY, identity), "token_class": (PII, token_class), "canary": (CANARY, canary),
        "member": (MEMBER, member), "attribute": (INFERENCE, attribute),
    }  # fmt: skip
    made = []
    for word, (asks, values) in given.items():
        if values is None:
            continue
        labels = in_words(labels_of(prompts, values, called.get(word, _word(values, word)), numbers=None), task)
        if labels.of_tokens:
            made.append(Question("privacy", asks, labels, prompts, Selection(), "each"))
        else:
            made.append(Question("privacy", asks, labels, **shared))
    if not made:
        raise DataError("no labels are given", fix=f"give at least one of {', '.join(given)}")
    return Suite(name, tuple(made))


def mistakes(model: Any, prompts: PromptSet, *, batch_size: int = 64) -> np.ndarray:  # noqa: ANN401
    """Return for each prompt whether the model's likeliest next token is not the answer: 1 or 0."""
    right = measure(model, prompts, metric("accuracy"), batch_size=batch_size).values[0]
    return (right < 0.5).astype(int)


@checked
def suite(name: Text, model: Model, n: Count = 400, *, seed: Seed = 0) -> Suite:
    """Return a suite that ships: `hiring` or `bios`, or one half of it (`hiring/fairness`, `bios/privacy`).

    Args:
        name: The task, and the family if only one is asked for.
        model: The model that the prompts are for.
        n: How many prompts for each question.
        seed: The seed of the draw.
    """
    from mechcausal.probes.shipped import SHIPPED

    task, _, family = name.partition("/")
    if task not in SHIPPED:
        raise DataError(f"there is no suite called {task!r}", fix=did_you_mean(task, SHIPPED))
    if family and family not in SHIPPED[task]:
        raise DataError(f"the suite {task!r} has no part {family!r}", fix=did_you_mean(family, SHIPPED[task]))
    parts = [SHIPPED[task][part](model, n, seed) for part in ([family] if family else SHIPPED[task])]
    questions = tuple(question for part in parts for question in part)
    return Suite(name, questions, {key: why for part in parts for key, why in part.skipped.items()})


def _word(labels: Any, otherwise: str) -> str:  # noqa: ANN401
    return labels if isinstance(labels, str) else otherwise.replace("_", " ")


def _few(classes: Sequence[str]) -> Sequence[str]:
    return classes if len(classes) <= 4 else [*classes[:3], f"... {len(classes)} classes"]
