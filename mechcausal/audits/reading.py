"""Plans from files: everything that is wrong with one is found at once.

What can be read of a file with mistakes is a plan still, a draft, so that a misspelt word hides no missing file and no site
that the model lacks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import mechcausal.audits.catalog  # noqa: F401 - it registers the questions that ship
from mechcausal.arguments import check, checked, described, hints_of
from mechcausal.audits.desk import Desk
from mechcausal.audits.plan import NOT_IN_A_FILE, TABLES, Plan, PlanError
from mechcausal.audits.plans import SHIPPED, file_of
from mechcausal.audits.question import QUESTIONS, AuditQuestion, Family
from mechcausal.audits.sources import source
from mechcausal.errors import MechcausalError, did_you_mean, sentences
from mechcausal.method import read_spec


@dataclass(frozen=True, kw_only=True)
class Unread(AuditQuestion):
    """Stands in a draft for a question that could not be read, so that the others keep their ids.

    Attributes:
        like: The family that it seems to be of.
    """

    data: Any = None
    like: Family = "own"

    @property
    def family(self) -> Family:
        """The family that it seems to be of."""
        return self.like

    def require_fit(self, desk: Desk) -> None:
        """Nothing is known of it."""


Unread.word = "unread"  # set here, so that it is no question of the catalog


@dataclass(frozen=True)
class Reviewed:
    """A plan that was looked at, and everything that is wrong with it.

    Attributes:
        plan: The plan; of a file with mistakes what could be read of it, or None.
        model: Its model; None where it could not be loaded.
        problems: What is wrong.
    """

    plan: Plan | None
    model: Any
    problems: tuple[str, ...]


@checked
def read(path: str | Path) -> Plan:
    """Read a plan from a TOML file; everything that is wrong with it is found at once.

    Args:
        path: The file, or the name of a plan that ships, such as `"planted"`.
    """
    file = file_of(path)
    return plan_of(_content(file), file.parent, file.name)


def review(path: str | Path, model: str | None = None) -> Reviewed:
    """Return a plan with everything that is wrong with it: as it is written, with its data, and with its model.

    Args:
        path: The file, or the name of a plan that ships.
        model: The model in place of the plan's.
    """
    file = file_of(path)
    try:
        content = _content(file)
    except PlanError as error:
        return Reviewed(None, None, error.problems)
    plan, problems = _draft(content, file.parent)
    loaded = None
    try:
        loaded = plan.load(model)
        problems += plan.problems(loaded)
    except MechcausalError as error:
        problems += [*plan.problems(), f"model: {error}"]
    return Reviewed(plan, loaded, tuple(dict.fromkeys(problems)))


def plan_of(content: Mapping[str, Any], folder: Path = Path(), where: str = "the plan") -> Plan:
    """Return the plan that the content of a file describes, or raise a `PlanError` with everything that is wrong."""
    plan, problems = _draft(content, folder)
    if problems:
        raise PlanError(list(dict.fromkeys([*problems, *plan.problems()])), where)
    return plan


def _content(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = f": of the plans that ship {did_you_mean(file.stem, SHIPPED)}" if file.name == str(file) else ""
        raise PlanError([f"there is no file {file}{near}"], "audit") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlanError([f"{file.name} is not TOML: {error}"], "audit") from None


def _draft(content: Mapping[str, Any], folder: Path) -> tuple[Plan, list[str]]:
    """Return what can be read of a plan, and what is wrong with the rest; data that cannot be read are None."""
    problems: list[str] = []
    known = [part.name for part in fields(Plan) if part.name not in NOT_IN_A_FILE]
    for key in content:
        if key not in (*known, *TABLES):
            problems.append(f"there is no key {key!r}: {did_you_mean(key, [*known, *TABLES])}")
    settings = _settings({key: content[key] for key in known if key in content}, problems)
    data = {name: _tried(lambda table=table: source(table), f"[data.{name}]", problems)
            for name, table in _table(content, "data", problems).items()}  # fmt: skip
    listed = _tables(content, "question", problems)
    questions = [
        _tried(lambda table=table: read_spec(table, AuditQuestion), _title(number, table), problems) or _unread(table)
        for number, table in enumerate(listed, 1)
    ]
    if not questions:
        problems.append("it has no [[question]]")
    edits, claims = (tuple(_tables(content, word, problems)) for word in ("edit", "claim"))
    taken = _without_doubles(questions, problems) or (Unread(),)
    return Plan(taken, **settings, data=data, edits=edits, claims=claims, folder=folder), problems


def _settings(given: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the settings that are what their annotations say."""
    hints, kept = hints_of(Plan), {}
    for name, value in given.items():
        value = tuple(value) if isinstance(value, list) else value
        try:
            check(f"Plan cannot take this {name!r}", value, hints[name])
        except MechcausalError as error:
            problems.append(str(error))
        else:
            kept[name] = value
    return kept


def _table(content: Mapping[str, Any], word: str, problems: list[str]) -> Mapping[str, Any]:
    value = content.get(word, {})
    if isinstance(value, Mapping):
        return value
    problems.append(f"{word} is a table of tables, [{word}.NAME] (got {described(value)})")
    return {}


def _tables(content: Mapping[str, Any], word: str, problems: list[str]) -> list[Any]:
    """Return a list of tables; a question that is none is said to be none where it is read."""
    value = content.get(word, ())
    if not isinstance(value, (list, tuple)):
        problems.append(f"{word} is a list of tables, [[{word}]] (got {described(value)})")
        return []
    if word == "question":
        return list(value)
    wrong = [number for number, item in enumerate(value, 1) if not isinstance(item, Mapping)]
    problems += [f"{word} {number} is no table: write [[{word}]]" for number in wrong]
    return [item for item in value if isinstance(item, Mapping)]


def _without_doubles(questions: list[AuditQuestion], problems: list[str]) -> tuple[AuditQuestion, ...]:
    """Return the questions, of which a second one of the same id loses it."""
    taken: set[str] = set()
    kept = []
    for question in questions:
        if question.id and question.id in taken:
            problems.append(f"two questions are called {question.id!r}: give each an id of its own")
            question = replace(question, id="")
        taken.add(question.id)
        kept.append(question)
    return tuple(kept)


def _unread(table: Any) -> Unread:  # noqa: ANN401 - a table of TOML
    """Return what stands for a question that cannot be read."""
    if not isinstance(table, Mapping):
        return Unread()
    name, word = table.get("id"), str(table.get("ask"))
    close = get_close_matches(word, list(QUESTIONS), n=1)
    family = getattr(QUESTIONS[close[0]], "family", "own") if close else "own"
    return Unread(id=name if isinstance(name, str) else "", like=family if isinstance(family, str) else "own")


def _title(number: int, table: Any) -> str:  # noqa: ANN401 - a table of TOML
    name = table.get("id") or table.get("ask") if isinstance(table, Mapping) else None
    return f"question {number}" + (f" ({name})" if name else "")


def _tried(make: Any, where: str, problems: list[str]) -> Any:  # noqa: ANN401
    try:
        return make()
    except MechcausalError as error:
        problems += [f"{where}: {what}" for what in sentences(error)]
    return None
