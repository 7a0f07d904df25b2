"""A mitigation as data: something that is done to a model or to its prompts, and is compared with leaving them alone.

    [[edit]]
    do = "ablate"
    name = "without the gender head"
    sites = "L1.z.H2"
    at = "@job"
    data = "applicants"               # over which means are taken

To add one, write a frozen dataclass with a `word` and `made`. What `made` returns is plain: edits that need no other run,
a rewrite of prompts, or a runner. So every question of an audit can be asked under it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mechcausal.audits.desk import Desk
from mechcausal.audits.journal import digest
from mechcausal.audits.plan import PlanError
from mechcausal.audits.sources import missing_files
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, MechcausalError, did_you_mean, sentences
from mechcausal.interventions.specs import Edit
from mechcausal.method import Spec, read_spec
from mechcausal.metrics import Metric
from mechcausal.registry import Registry

MITIGATIONS: Registry[type[Mitigation]] = Registry("mitigation", ArgumentError)


@dataclass(frozen=True)
class Treatment:
    """What a mitigation comes down to, for one model.

    Attributes:
        edits: Edits that need no other run.
        rewrite: What becomes of every set of prompts; None leaves them.
        runner: What runs prompts instead of the engine; None where edits say it all.
        model: Another model that takes the place of the audited one; None keeps it.
        notes: What a reader must know, by a word that is shown beside the numbers: `"biased fit"`, say.
    """

    edits: tuple[Edit, ...] = ()
    rewrite: Callable[[PromptSet], PromptSet] | None = None
    runner: Callable[[Desk, PromptSet, Metric], np.ndarray] | None = None
    model: Any = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Mitigation(Spec):
    """One mitigation. A subclass has a `word` and `made`.

    Attributes:
        name: How it is called in tables and figures; its word unless said.
    """

    verb: ClassVar[str] = "do"
    registry: ClassVar[Registry[Any]] = MITIGATIONS
    control: ClassVar[bool] = False
    """Whether nothing is expected of it, so that it is a control."""

    name: str = ""

    def made(self, desk: Desk) -> Treatment:
        """Return what it comes down to in the model of a desk; directions are fitted and means are taken here."""
        raise NotImplementedError

    def treatment(self, desk: Desk) -> Treatment:
        """Return what `made` gives, made once for all questions of a run."""
        return desk.once(("mitigation", digest(self.to_json())), lambda: self.made(desk))

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse a model, or prompts, that the mitigation cannot be made on; nothing is edited, and little is run.

        Args:
            desk: The desk of the model as it is.
            prompts: The prompts of the questions that are asked under it.
        """

    @contextmanager
    def applied(self, desk: Desk) -> Generator[Desk]:
        """Give a desk at which every outcome is that under the mitigation.

        Args:
            desk: The desk of the model as it is.
        """
        treatment = self.treatment(desk)
        changes: dict[str, Any] = {"edits": (*desk.edits, *treatment.edits)}
        for name in ("rewrite", "runner", "model"):
            if (value := getattr(treatment, name)) is not None:
                changes[name] = value
        if treatment.model is not None:
            changes["memory"] = {}  # what is remembered there is of the other model
        yield replace(desk, **changes)

    @property
    def sources(self) -> dict[str, Any]:
        """Its data, or their names in the plan, by the field that holds them."""
        values = {part.name: getattr(self, part.name) for part in fields(self) if part.metadata.get("data")}
        return {name: value for name, value in values.items() if value is not None}

    def with_data(self, data: Mapping[str, Any]) -> Mitigation:
        """Return the mitigation with data in place of the names that a plan gives them."""
        changes = {}
        for field_name, value in self.sources.items():
            if isinstance(value, str):
                if value not in data:
                    raise ArgumentError(
                        f"the edit {self.called!r} names data that the plan does not have",
                        got=value, fix=did_you_mean(value, data or ["[data.NAME]"]),
                    )  # fmt: skip
                changes[field_name] = data[value]
        return replace(self, **changes) if changes else self

    @property
    def called(self) -> str:
        """Its name, or its word."""
        return self.name or self.word

    def require(self, name: str, why: str) -> Any:  # noqa: ANN401 - data
        """Return data of the mitigation, or say that they are missing."""
        value = getattr(self, name)
        if value is None:
            raise ArgumentError(f"the edit {self.called!r} needs {name}= {why}")
        if isinstance(value, str):
            raise ArgumentError(f"the edit {self.called!r} names its data", got=value, fix="give the data themselves")
        return value


def read_edits(edits: Sequence[Mitigation | Mapping[str, Any]]) -> list[Mitigation]:
    """Return mitigations from themselves or from the tables of a plan; everything that is wrong is said at once."""
    made, problems = _read(edits)
    if problems:
        raise PlanError(problems, "the plan")
    return made


def edit_problems(
    edits: Sequence[Mitigation | Mapping[str, Any]], data: Mapping[str, Any], folder: Path = Path()
) -> Iterator[str]:
    """Yield what is wrong with the edits of a plan, without running anything.

    Args:
        edits: Their tables.
        data: The data of the plan, by name.
        folder: The folder of the plan, which files are named from.
    """
    made, problems = _read(edits)
    yield from problems
    for mitigation in made:
        yield from (f"the edit {mitigation.called!r}: {what}" for what in missing_files(mitigation, folder))
        try:
            mitigation.with_data(data)
        except MechcausalError as error:
            yield str(error)
    try:
        named(made)
    except MechcausalError as error:
        yield str(error)


def require_positions(at: str | None, prompts: Sequence[PromptSet]) -> None:
    """Refuse positions that none of several sets of prompts has.

    Args:
        at: The positions.
        prompts: The sets; where there are none, nothing is refused.
    """
    require_any(lambda side: side.select(at), prompts)


def require_any(act: Callable[[PromptSet], object], prompts: Sequence[PromptSet]) -> None:
    """Raise what goes wrong with the first prompt of each of several sets; where one of them works, nothing."""
    errors = []
    for side in prompts:
        try:
            act(side.take(slice(0, 1)))
        except MechcausalError as error:
            errors.append(error)
    if errors and len(errors) == len(prompts):
        raise errors[0]


def readable(edits: Sequence[Mitigation | Mapping[str, Any]]) -> list[Mitigation]:
    """Return those mitigations that nothing is wrong with as they are written."""
    return _read(edits)[0]


def _read(edits: Sequence[Mitigation | Mapping[str, Any]]) -> tuple[list[Mitigation], list[str]]:
    import mechcausal.audits.mitigation  # noqa: F401 - it registers the mitigations that ship

    problems: list[str] = []
    made: list[Mitigation] = []
    for number, each in enumerate(edits, 1):
        if isinstance(each, Mitigation):
            made.append(each)
            continue
        try:
            made.append(read_spec(each, Mitigation))
        except MechcausalError as error:
            problems += [f"edit {number}: {what}" for what in sentences(error)]
    return made, problems


def named(mitigations: Sequence[Mitigation]) -> tuple[Mitigation, ...]:
    """Return the mitigations, each with a name of its own; the model as it is stands first, whether listed or not."""
    from mechcausal.audits.mitigation.controls import Unchanged

    listed = sorted(mitigations, key=lambda each: not isinstance(each, Unchanged))
    if not listed or not isinstance(listed[0], Unchanged):
        listed = [Unchanged(), *listed]
    given = [each.name for each in listed if each.name]
    twice = [name for name in given if given.count(name) > 1]
    if twice:
        raise ArgumentError(f"two edits are called {twice[0]!r}", fix="give each a name of its own")
    out, taken = [], set(given)
    for each in listed:
        name, number = each.called, 1
        while not each.name and name in taken:
            number += 1
            name = f"{each.word} {number}"
        taken.add(name)
        out.append(replace(each, name=name))
    return tuple(out)
