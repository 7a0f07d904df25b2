"""Everything that is wrong with a plan, in one list from one pass: what it names, its data, what only the model can tell.

Each stage goes on as far as it can: data that cannot be read hide only the questions that are asked of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mechcausal.audits.attaching import dictionary_problems, lent
from mechcausal.audits.mitigation.spec import Mitigation, edit_problems, readable
from mechcausal.audits.outcome import outcome_of
from mechcausal.audits.question import AuditQuestion
from mechcausal.audits.sources import Source, missing_files
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import MechcausalError, did_you_mean, sentences
from mechcausal.models.engine import check_prompts

if TYPE_CHECKING:
    from mechcausal.audits.plan import Plan


def problems_of(plan: Plan, model: Any = None) -> list[str]:  # noqa: ANN401 - a model, its name, or None
    """Return everything that is wrong with a plan, without running a question.

    Args:
        plan: The plan. Data that are None could not be read from its file, which was said already.
        model: The model, or its name; without one only names and files are looked at.
    """
    found = list(_of_names(plan))
    found += dictionary_problems(None, plan.dictionaries, plan.folder)
    if model is None:
        return list(dict.fromkeys(found))
    try:
        loaded = plan.load(model)
    except MechcausalError as error:
        return [*dict.fromkeys(found), f"model: {error}"]
    data, wrong = _of_data(plan, loaded)
    found += [f"[data.{name}]: {what}" for name, what in wrong.items()]
    without_outcome = _refused(lambda: outcome_of(loaded, plan.outcome))
    found += [f"outcome: {what}" for what in without_outcome]
    fitting = {name: value for name, value in data.items() if name not in wrong}
    with ExitStack() as attached:
        for name in plan.dictionaries:
            missing = list(dictionary_problems(loaded, [name], plan.folder))
            found += missing
            if not missing:
                attached.enter_context(lent(loaded, [name], plan.folder))
        for question in plan.questions:
            said = _of_question(question, data)
            if not said and not without_outcome:
                said = _unfit(plan, question, loaded, fitting)
            found += [f"{_title(question)}: {what}" for what in said]
        found += _of_edits(plan, loaded, fitting)
    return list(dict.fromkeys(found))


def _of_names(plan: Plan) -> Iterator[str]:
    """Yield which files are not there, and which names of data, questions and edits lead nowhere."""
    for name, value in plan.data.items():
        if isinstance(value, Source) and (what := value.missing(plan.folder)):
            yield f"[data.{name}]: {what}"
    for question in plan.questions:
        for key, name in question.sources.items():
            if name not in plan.data:
                there = plan.data or ["[data.NAME]"]
                yield f"{_title(question)}: there are no data {name!r} for {key}: {did_you_mean(name, there)}"
        yield from (f"{_title(question)}: {what}" for what in missing_files(question, plan.folder))
    ids = [question.id for question in plan.questions]
    for claim in plan.claims:
        for name in claim.get("questions", ()):
            if name not in ids:
                text = str(claim.get("text", ""))[:40]
                yield f"the claim {text!r} names the question {name!r}: {did_you_mean(name, ids)}"
    if plan.edits:
        yield from edit_problems(plan.edits, plan.data, plan.folder)
        if not any(question.under_edits for question in plan.questions):
            asked = ", ".join(dict.fromkeys(question.word for question in plan.questions))
            yield f"none of its questions can be asked under its edits ({asked}): add one such as flips, or take out [[edit]]"


def _of_data(plan: Plan, model: Any) -> tuple[dict[str, Any], dict[str, str]]:  # noqa: ANN401 - a TransformerBridge
    """Return the data that can be read, and what is wrong with the others, or with prompts that the model cannot take."""
    data, wrong = {}, {}
    for name, value in plan.data.items():
        if value is None or (isinstance(value, Source) and value.missing(plan.folder)):
            continue
        try:
            data[name] = value.read(model, plan.folder) if isinstance(value, Source) else value
            for side in _sides(data[name]):
                check_prompts(model, side)
        except MechcausalError as error:
            wrong[name] = str(error)
    return data, wrong


def _of_question(question: AuditQuestion, data: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the data of a question; nothing where they could not be read, which was said already."""
    if any(name not in data for name in question.sources.values()):
        return []
    return list(question.problems({key: data[name] for key, name in question.sources.items()}))


def _unfit(plan: Plan, question: AuditQuestion, model: Any, data: Mapping[str, Any]) -> list[str]:  # noqa: ANN401
    """Return why the model cannot be asked a question: what cannot be read off it, and what is named that it does not have."""
    if any(name not in data for name in question.sources.values()):
        return []
    desk = plan.desk(question, model, data, quiet=True)
    found = list(question.unreadable(desk))
    if found or any(missing_files(question, plan.folder)):
        return found
    return _refused(lambda: question.require_fit(desk))


def _of_edits(plan: Plan, model: Any, data: Mapping[str, Any]) -> Iterator[str]:  # noqa: ANN401
    """Yield which edits the model, or the prompts that questions are asked of, cannot take."""
    names = {name for question in plan.questions if question.under_edits for name in question.sources.values()}
    prompts = [side for name in plan.data if name in names and name in data for side in _sides(data[name])]
    for edit in readable(plan.edits):
        if any(missing_files(edit, plan.folder)) or any(name not in data for name in edit.sources.values()):
            continue
        given: Mitigation = edit.with_data(data)
        desk = plan.desk(plan.questions[0], model, {}, held={}, quiet=True)
        for what in _refused(lambda given=given, desk=desk: given.require_fit(desk, prompts)):
            yield f"the edit {edit.called!r}: {what}"


def _refused(check: Callable[[], object]) -> list[str]:
    """Return what a check refuses."""
    try:
        check()
    except MechcausalError as error:
        return sentences(error)
    return []


def _sides(data: Any) -> Sequence[PromptSet]:  # noqa: ANN401 - pairs, prompts, texts
    if isinstance(data, Contrast):
        return data.clean, data.corrupt
    return (data,) if isinstance(data, PromptSet) else ()


def _title(question: AuditQuestion) -> str:
    return f"{question.id} ({question.word})"
