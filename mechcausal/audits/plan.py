"""A plan: the questions of an audit, their data and thresholds, fixed before anything is run.

    plan = audit.Plan([audit.Flips(pairs, at_most=0.05)])
    plan.cost(model)                  # what it would take
    report = plan.run(model)          # a Report; with a folder, `plan.run(model, "out/")`, it resumes

The same plan as a file, which `audit.read` reads:

    model = "organism:hiring"
    [data.applicants]
    contrast = "hiring/gender"
    [[question]]
    ask = "flips"
    data = "applicants"
    at_most = 0.05
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mechcausal.arguments import CountOrZero, Model, OpenShare, Seed, check_all, hints_of
from mechcausal.audits.attaching import lent
from mechcausal.audits.desk import NETWORKS, Desk
from mechcausal.audits.journal import digest
from mechcausal.audits.question import IDS, AuditQuestion
from mechcausal.audits.sources import Source, beside
from mechcausal.errors import ArgumentError, DataError, DescriptionError, did_you_mean
from mechcausal.method import toml

if TYPE_CHECKING:
    from mechcausal.audits.report import Report

Correction = Literal["holm", "none"]
TABLES = ("data", "question", "edit", "claim")
NOT_IN_A_FILE = ("questions", "data", "edits", "claims", "folder")


class PlanError(DescriptionError):
    """A plan that cannot be run."""

    listed_by = ": mechcausal audit check lists all"


@dataclass(frozen=True)
class AuditCost:
    """What a plan would take.

    Attributes:
        forwards: Forwards of one prompt, for each question.
        seconds: For each question, by the speed of this machine just now; NaN where that was not measured.
    """

    forwards: Mapping[str, float]
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        """Print one line for each question, and the sum."""
        rows = [(name, self.forwards[name], self.seconds[name]) for name in self.forwards]
        rows.append(("all", sum(self.forwards.values()), sum(self.seconds.values())))
        return "\n".join(f"{name:<12} {count:>12,.0f} forwards  {seconds:>8,.0f} s" for name, count, seconds in rows)


@dataclass(frozen=True)
class Plan:
    """What is asked, of what data, with which thresholds.

    Attributes:
        questions: The questions, in the order in which they are asked.
        title: The title of the report.
        model: What is audited, as `mc.load` takes it; `run` may be given another.
        outcome: What is read off the model: of a classifier the label whose log-odds count, of a language model a metric; the
            log-odds of answer against foil unless said.
        alpha: The chance that any threshold that is kept is reported as failed.
        correction: How p-values are adjusted for all questions that have a threshold.
        seed: The seed of everything random.
        networks: How many networks with redrawn weights findings are compared with.
        batch_size: How many prompts at a time.
        choices: What only people can decide, and who decided it: which paths are allowed, which gaps are accepted.
        declared_by: Who declared the thresholds.
        dictionaries: Dictionaries whose features are sites while the plan is asked: their folders, or `organism:NAME`.
        data: The data by name.
        edits: Mitigations that `audit.sweep` compares, as tables.
        claims: What is claimed of the model, each with the questions that test it, for the ledger of claims.
        folder: The folder that files are named from.
    """

    questions: Sequence[AuditQuestion]
    title: str = "Audit"
    model: str | None = None
    outcome: str = ""
    alpha: OpenShare = 0.05
    correction: Correction = "holm"
    seed: Seed = 0
    networks: CountOrZero = NETWORKS
    batch_size: CountOrZero = 64
    choices: Sequence[str] = ()
    declared_by: str = ""
    dictionaries: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    edits: Sequence[Mapping[str, Any]] = ()
    claims: Sequence[Mapping[str, Any]] = ()
    folder: Path = Path()

    def __post_init__(self) -> None:
        for name in ("questions", "choices", "dictionaries", "edits", "claims"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, (list, tuple)) else value)
        hints = hints_of(type(self))
        check_all("Plan", {part.name: getattr(self, part.name) for part in fields(self)}, hints)
        if not self.questions:
            raise ArgumentError("a plan needs at least one question", fix="audit.Plan([audit.Flips(pairs)])")
        object.__setattr__(self, "questions", _named(self.questions))
        given, data = [], dict(self.data)
        for question in self.questions:
            given.append(_by_name(question, data))
        object.__setattr__(self, "questions", tuple(given))
        object.__setattr__(self, "data", data)

    def __getitem__(self, name: str) -> AuditQuestion:
        """Return the question of that id."""
        ids = {question.id: question for question in self.questions}
        if name not in ids:
            raise ArgumentError(f"the plan has no question {name!r}", fix=did_you_mean(name, ids))
        return ids[name]

    @property
    def hash(self) -> str:
        """A digest of all that is asked; it is written before the run."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data, as it stands in a file."""
        defaults = {part.name: part.default for part in fields(self)}
        data: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ((part.name, getattr(self, part.name)) for part in fields(self))
            if name not in NOT_IN_A_FILE and value != defaults[name]
        }
        data["data"] = {
            name: value.to_json() if isinstance(value, Source) else {"digest": getattr(value, "hash", "")}
            for name, value in self.data.items()
        }
        data["question"] = [question.to_json() for question in self.questions]
        data |= {
            key: [dict(item) for item in items]
            for key, items in (("edit", self.edits), ("claim", self.claims))
            if items
        }
        return data

    def settings(self) -> dict[str, Any]:
        """Return what holds for all questions, whether the plan said it or not: seed, level, networks and so on."""
        names = ("outcome", "alpha", "correction", "seed", "networks", "batch_size")
        asked = {name: getattr(self, name) for name in names}
        return {**asked, "dictionaries": list(self.dictionaries), "level": 1 - self.alpha}

    def to_toml(self) -> str:
        """Return the plan as the text of a file; data that were given as objects must be named in it by hand."""
        held = [name for name, value in self.data.items() if not isinstance(value, Source)]
        if held:
            raise DataError(
                f"the data {held[0]!r} were given as an object", fix="name a file or a contrast under data="
            )
        return written(self.to_json())

    def load(self, model: Any = None) -> Any:  # noqa: ANN401 - a model, its name, or None
        """Return the model that is audited: this one, or the plan's."""
        chosen = self.model if model is None else model
        if chosen is None:
            raise ArgumentError(
                "the plan names no model", fix='give one: plan.run(model), or model = "..." in the plan'
            )
        if not isinstance(chosen, str):
            return chosen
        from mechcausal.models.load import load

        return load(beside(self.folder, chosen) if model is None else chosen)

    def read(self, model: Any) -> dict[str, Any]:  # noqa: ANN401 - a model
        """Return the data by name, read with the tokenizer of a model."""
        return {
            name: value.read(model, self.folder) if isinstance(value, Source) else value
            for name, value in self.data.items()
        }

    def lending(self, model: Model) -> AbstractContextManager[None]:
        """Attach the dictionaries of the plan to a model for a while."""
        return lent(model, self.dictionaries, self.folder)

    def problems(self, model: Any = None) -> list[str]:  # noqa: ANN401 - a model, its name, or None
        """Return everything that is wrong, without running a question; with a model (or its name) the data are read too.

        Args:
            model: The model; without one only names and files are looked at.
        """
        from mechcausal.audits.problems import problems_of

        return problems_of(self, model)

    def require(self, model: Any) -> None:  # noqa: ANN401
        """Raise a `PlanError` with everything that is wrong."""
        if found := self.problems(model):
            raise PlanError(found, "the plan")

    def desk(self, question: AuditQuestion, model: Any, data: Mapping[str, Any], **more: Any) -> Desk:  # noqa: ANN401
        """Return the desk of a question."""
        options: dict[str, Any] = {
            "held": {key: data[name] for key, name in question.sources.items() if name in data},
            "reads": self.outcome,
            "folder": self.folder,
            "seed": self.seed,
            "level": 1 - self.alpha,
            "networks": self.networks,
            "batch_size": self.batch_size,
        }
        return Desk(model, **{**options, **more})

    def cost(self, model: Any = None) -> AuditCost:  # noqa: ANN401 - a model, its name, or None
        """Return what the plan would take; only a few unedited prompts are run, to see how fast this machine is.

        Args:
            model: The model, or its name; the plan's unless said.
        """
        loaded = self.load(model)
        self.require(loaded)
        data = self.read(loaded)
        desks = {question.id: self.desk(question, loaded, data, quiet=True) for question in self.questions}
        with self.lending(loaded):
            forwards = {question.id: float(question.forwards(desks[question.id])) for question in self.questions}
        pace = _seconds_of_one(loaded, data)
        return AuditCost(forwards, {name: count * pace for name, count in forwards.items()})

    def run(
        self,
        model: Any = None,  # noqa: ANN401 - a model, its name, or None
        out: str | Path | None = None,
        *,
        only: Sequence[str] = (),
        max_minutes: float | None = None,
        quiet: bool = False,
    ) -> Report:
        """Ask all questions and return the report; a question that fails becomes an error in it, never a lost run.

        Args:
            model: The model, or its name; the plan's unless said.
            out: A folder. What was answered is kept there as it comes, and running again goes on where it ended.
            only: The ids of the questions to ask; the others are listed as not run.
            max_minutes: When this time is over, no further question is begun.
            quiet: Whether progress is not shown.
        """
        from mechcausal.audits.running import run

        return run(self, model, None if out is None else Path(out), only=only, max_minutes=max_minutes, quiet=quiet)


def written(content: Mapping[str, Any]) -> str:
    """Return a plan as data (`Plan.to_json`) as the text of a file."""
    lines = [f"{key} = {toml(value)}" for key, value in content.items() if key not in TABLES]
    for name, table in content.get("data", {}).items():
        lines += ["", f"[data.{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    for word in ("question", "edit", "claim"):
        for table in content.get(word, ()):
            lines += ["", f"[[{word}]]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _named(questions: Sequence[AuditQuestion]) -> tuple[AuditQuestion, ...]:
    """Return the questions, each with an id of its own."""
    ids = [question.id for question in questions if question.id]
    twice = [name for name in ids if ids.count(name) > 1]
    if twice:
        raise ArgumentError(f"two questions are called {twice[0]!r}", fix="give each an id of its own")
    counts: dict[str, int] = {}
    named = []
    for question in questions:
        if not question.id:
            word = IDS[question.family]
            while True:
                counts[word] = counts.get(word, 0) + 1
                if (name := f"{word}-{counts[word]}") not in ids:
                    break
            question = replace(question, id=name)
        named.append(question)
    return tuple(named)


def _by_name(question: AuditQuestion, data: dict[str, Any]) -> AuditQuestion:
    """Return a question whose data are named, with data that were given as objects added under a name."""
    changes = {}
    for key, value in question.sources.items():
        if isinstance(value, str):
            continue
        name = next((name for name, known in data.items() if known is value), None)
        if name is None:
            name = f"data_{len(data) + 1}"
            data[name] = value
        changes[key] = name
    return question.with_sources(changes) if changes else question


def _seconds_of_one(model: Model, data: Mapping[str, Any]) -> float:
    """Return how long a forward of one prompt takes, on a few of the first prompts there are."""
    from mechcausal.data.contrast import Contrast
    from mechcausal.data.prompts import PromptSet
    from mechcausal.models.engine import in_batches
    from mechcausal.models.hooked import forward

    sides = [value.clean if isinstance(value, Contrast) else value for value in data.values()]
    few = next((side.take(slice(0, 8)) for side in sides if isinstance(side, PromptSet)), None)
    prefixes = next((side.prompts[:8] for side in sides if isinstance(getattr(side, "prompts", None), tuple)), ())
    if few is None and all(prefixes):  # of canaries; a prefix may be empty
        few = PromptSet.from_text(model, prefixes) if prefixes else None
    if few is None:
        return float("nan")

    def run() -> float:
        started = time.perf_counter()
        in_batches(
            len(few), len(few), lambda index: forward(model, few.take(index)).output[:, -1].float().cpu().numpy()
        )
        return (time.perf_counter() - started) / len(few)

    run()  # the first time takes longer
    return run()
