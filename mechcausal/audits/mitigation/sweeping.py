"""Ask the questions of a plan under every mitigation; one row is kept for each edit and question, as it comes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mechcausal.arguments import CountOrZero, checked
from mechcausal.audits.attaching import about_dictionaries, named_by
from mechcausal.audits.desk import Desk
from mechcausal.audits.finding import Answer, answer_from, answer_to_json
from mechcausal.audits.journal import Journal, digest
from mechcausal.audits.mitigation.adapting import Adapter
from mechcausal.audits.mitigation.neutral import cost_on_neutral
from mechcausal.audits.mitigation.spec import Mitigation, named, read_edits
from mechcausal.audits.mitigation.sweep import COSTS, Edited, Measure, Sweep, costs_of
from mechcausal.audits.plan import Plan
from mechcausal.audits.question import AuditQuestion
from mechcausal.audits.running import about_data, about_files, about_model
from mechcausal.audits.sources import digest_of
from mechcausal.catalog import ADAPTERS
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, DataError, MechcausalError, did_you_mean
from mechcausal.method import Spec
from mechcausal.results.provenance import git_state, package_versions
from mechcausal.steering.neutral import neutral_prompts


@checked
def sweep(
    plan: Plan,
    edits: Sequence[Mitigation | Mapping[str, Any]] | None = None,
    model: Any = None,  # noqa: ANN401 - a model, its name, or None
    out: str | Path | None = None,
    *,
    neutral: PromptSet | str | None = None,
    networks: CountOrZero = 0,
    quiet: bool = False,
) -> Sweep:
    """Ask the questions of a plan under every mitigation, and compare each with the model as it is.

    All edits meet the same examples, so differences are paired. What an edit costs stands beside what it changes: the
    KL divergence from the unedited model and the rise of the loss, on neutral text.

    Args:
        plan: The plan. Questions that cannot be asked under edits are left out, and named.
        edits: The mitigations, or their tables; those of the plan unless said. The model as it is is always among them. Where
            one takes means and names no data, they are taken over those of the first question.
        model: The model, or its name; the plan's unless said.
        out: A folder. What was answered is kept there as it comes, and sweeping again goes on where it ended.
        neutral: Neutral prompts, or the name of data of the plan; plain English sentences unless said.
        networks: How many networks with redrawn weights each answer is compared with, under each edit.
        quiet: Whether progress is not shown.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=16)
        >>> plan = mc.audit.Plan([mc.audit.Flips(pairs)])
        >>> swept = mc.audit.sweep(plan, [mc.audit.Delete(at="@gender", fill="they")], model, quiet=True)
        >>> [edit.name for edit in swept.edits]
        ['none', 'delete']
    """
    started, created = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    asked, left_out = _questions(plan)
    listed = named(read_edits(plan.edits if edits is None else edits))
    loaded = plan.load(model)
    plan.require(loaded)
    data = plan.read(loaded)
    source = plan.model if model is None else _from_here(model)
    listed = tuple(_on_this_model(_over(each, asked, data).with_data(data), source) for each in listed)
    text, why = _neutral(loaded, neutral, data)
    if text is None:
        left_out |= {cost.name: why for cost in COSTS}
    about = about_model(loaded)
    desk = Desk(
        loaded,
        {},
        reads=plan.outcome,
        folder=plan.folder,
        seed=plan.seed,
        level=1 - plan.alpha,
        networks=networks,
        batch_size=plan.batch_size or 64,
        quiet=quiet,
    )
    made = []
    files = about_files(plan, (*asked, *listed))
    with plan.lending(loaded):
        dictionaries = about_dictionaries(loaded)
        journal = Journal(None if out is None else Path(out))
        subject = [about["weights"], *([dictionaries] if dictionaries else [])]
        job = _Job(plan, desk, data, text, journal, subject, files)
        for mitigation in tqdm(listed, desc="edits", unit="edit", disable=True if quiet else None, leave=False):
            notes = job.ask(mitigation, asked)
            made.append(Edited(mitigation.name, mitigation.in_full(), mitigation.control, notes))
    facts = {
        "created": created, "seconds": round(time.perf_counter() - started, 3), "model": about,
        "packages": package_versions(), "git": git_state(), "plan_hash": plan.hash,
        "settings": {**plan.settings(), "networks": networks, "batch_size": plan.batch_size or 64},
        "data": {name: about_data(value) for name, value in data.items()},
        "dictionaries": dictionaries, "files": files,
        "neutral": None if text is None else {"digest": text.hash, "n": len(text)},
    }  # fmt: skip
    measures = (*map(_measure, asked), *(COSTS if text is not None else ()))
    swept = Sweep(plan.title, tuple(made), measures, job.answers, job.errors, left_out, facts, 1 - plan.alpha)
    if out is not None:
        swept.save(Path(out))
    return swept


def _over(mitigation: Mitigation, asked: Sequence[AuditQuestion], data: Mapping[str, Any]) -> Mitigation:
    """Return a mitigation whose means are taken over the data of the first question, where it names none."""
    if getattr(mitigation, "data", "none") is not None:
        return mitigation
    names = [
        question.sources["data"]
        for question in asked
        if isinstance(data[question.sources["data"]], (Contrast, PromptSet))
    ]
    change: dict[str, Any] = {"data": names[0]} if names else {}
    return replace(mitigation, **change)


def _from_here(model: Any) -> Any:  # noqa: ANN401 - a model or its name
    """Return a model; of a path the whole, because what stands in a plan is named from the plan's folder."""
    return str(Path(model).resolve()) if isinstance(model, str) and Path(model).exists() else model


def _on_this_model(mitigation: Mitigation, source: Any) -> Mitigation:  # noqa: ANN401 - a model, its name, or None
    """Return a mitigation in which an adapter is added to the model that is audited, where that has a name."""
    if not isinstance(mitigation, Adapter) or mitigation.base is not None or not isinstance(source, str):
        return mitigation
    return mitigation if mitigation.folder in ADAPTERS else replace(mitigation, base=source)


@dataclass
class _Job:
    """A sweep under way.

    Attributes:
        plan: The plan.
        desk: The desk of the model as it is, without data.
        data: The data by name.
        neutral: Neutral prompts, where there are any.
        journal: What is kept of earlier runs.
        subject: The digest of the model, and what dictionaries it has.
        files: The digests of the files and folders that questions and edits name.
        answers: What was found, by (edit, measure).
        errors: What went wrong, by (edit, measure).
    """

    plan: Plan
    desk: Desk
    data: Mapping[str, Any]
    neutral: PromptSet | None
    journal: Journal
    subject: Sequence[Any]
    files: Mapping[str, str]
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)

    def ask(self, mitigation: Mitigation, asked: Sequence[AuditQuestion]) -> dict[str, str]:
        """Ask all questions under one mitigation, and return its notes; what was answered before is read back."""
        notes: dict[str, str] = {}
        waiting: list[tuple[AuditQuestion | None, str]] = []
        for question in (*asked, *([None] if self.neutral is not None else [])):
            key = self._key(mitigation, question)
            kept = self.journal.answer(key)
            if kept is None:
                waiting.append((question, key))
            else:
                notes |= kept["notes"]
                self._take(mitigation, kept["answers"])
        if not waiting:
            return notes
        with ExitStack() as stack:
            try:
                edited = stack.enter_context(mitigation.applied(self.desk))
                notes |= mitigation.treatment(self.desk).notes
            except MechcausalError as error:
                for question, _ in waiting:
                    self._fail(mitigation, question, error)
                return notes
            for question, key in waiting:
                self._answer(mitigation, question, key, edited, notes)
        return notes

    def _answer(
        self, mitigation: Mitigation, question: AuditQuestion | None, key: str, edited: Desk, notes: Mapping[str, str]
    ) -> None:
        """Answer one question (None: what the edit costs), and keep the answer."""
        try:
            if question is None:
                answered = self._costs(edited)
            else:
                datasets = {name: self.data[source] for name, source in question.sources.items()}
                answer = question.answer(replace(edited, held=datasets, rows=self.journal.rows(key)))
                answered = {question.id: replace(answer, examples=(), figures=())}
        except Exception as error:
            self._fail(mitigation, question, error)
            return
        answers = [{"measure": name, "answer": answer_to_json(answer)} for name, answer in answered.items()]
        self.journal.keep(key, {"answers": answers, "notes": dict(notes)})
        self._take(mitigation, answers)

    def _costs(self, edited: Desk) -> dict[str, Answer]:
        assert self.neutral is not None
        unchanged = edited.model is self.desk.model and not edited.edits and not edited.rewrite and not edited.runner
        zeros = (np.zeros(len(self.neutral)),) * 2
        values = zeros if unchanged else cost_on_neutral(self.desk, edited, self.neutral)
        return costs_of(values, self.neutral.clusters, self.desk.level)

    def _take(self, mitigation: Mitigation, answers: Sequence[Mapping[str, Any]]) -> None:
        for row in answers:
            self.answers[mitigation.name, row["measure"]] = answer_from(row["answer"])

    def _fail(self, mitigation: Mitigation, question: AuditQuestion | None, error: Exception) -> None:
        text = str(error) if isinstance(error, MechcausalError) else f"{type(error).__name__}: {error}"[:400]
        for name in [cost.name for cost in COSTS] if question is None else [question.id]:
            self.errors[mitigation.name, name] = text

    def _key(self, mitigation: Mitigation, question: AuditQuestion | None) -> str:
        plan = self.plan
        if question is None:
            asked: list[Any] = ["neutral", "" if self.neutral is None else self.neutral.hash]
        else:
            data = [digest_of(self.data[name]) for name in question.sources.values()]
            asked = [
                question.to_json(),
                data,
                self._named_by(question),
                question.meaning,
                self.desk.networks,
                self.desk.reads,
            ]
        spec = {name: value for name, value in mitigation.to_json().items() if name != "name"}
        return digest("sweep", spec, self._named_by(mitigation), asked, self.subject, plan.seed, plan.alpha)

    def _named_by(self, spec: Spec) -> list[str | None]:
        return [self.files.get(name) for name in named_by(spec)]


def _questions(plan: Plan) -> tuple[list[AuditQuestion], dict[str, str]]:
    """Return the questions that can be asked under edits, and why the others are left out."""
    asked = [question for question in plan.questions if question.under_edits]
    left_out = {
        question.id: f"{question.word} edits the model itself, so it is not asked under edits"
        for question in plan.questions
        if not question.under_edits
    }
    if not asked:
        raise ArgumentError("no question of the plan can be asked under edits", got=", ".join(left_out))
    return asked, left_out


def _measure(question: AuditQuestion) -> Measure:
    threshold = question.threshold
    better = question.better
    if threshold.declared:
        both = threshold.at_most is not None and threshold.at_least is not None
        better = question.better if both else "low" if threshold.at_most is not None else "high"
    return Measure(question.id, question.word, better, question.estimand, question.scale, str(threshold))


def _neutral(
    model: Any, given: PromptSet | str | None, data: Mapping[str, Any]  # noqa: ANN401
) -> tuple[PromptSet | None, str]:  # fmt: skip
    """Return the neutral prompts, and why there are none."""
    if isinstance(given, str):
        if given not in data:
            raise DataError(
                f"the plan has no data {given!r} for neutral text", fix=did_you_mean(given, data or ["none"])
            )
        given = data[given]
    if given is not None and not isinstance(given, PromptSet):
        raise DataError("neutral text is prompts, not pairs", got=f"a {type(given).__name__}")
    return neutral_prompts(model, given)
