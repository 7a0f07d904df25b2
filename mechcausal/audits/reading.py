"""Plans from files: everything that is wrong with one is found at once."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import mechcausal.audits.catalog  # noqa: F401 - it registers the questions that ship
from mechcausal.arguments import bound, checked
from mechcausal.audits.plan import NOT_IN_A_FILE, TABLES, Plan, PlanError
from mechcausal.audits.question import AuditQuestion
from mechcausal.audits.sources import source
from mechcausal.errors import MechcausalError, did_you_mean
from mechcausal.method import read_spec


@checked
def read(path: str | Path) -> Plan:
    """Read a plan from a TOML file; everything that is wrong with it is found at once.

    Args:
        path: The file.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError([f"there is no file {file}"], "audit") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlanError([f"{file.name} is not TOML: {error}"], "audit") from None
    return plan_of(content, file.parent, file.name)


def plan_of(content: Mapping[str, Any], folder: Path = Path(), where: str = "the plan") -> Plan:
    """Return the plan that the content of a file describes, or raise a `PlanError` with everything that is wrong."""
    problems: list[str] = []
    known = [part.name for part in fields(Plan) if part.name not in NOT_IN_A_FILE]
    for key in content:
        if key not in (*known, *TABLES):
            problems.append(f"there is no key {key!r}: {did_you_mean(key, [*known, *TABLES])}")
    data = {name: _tried(lambda table=table: source(table), f"[data.{name}]", problems)
            for name, table in dict(content.get("data", {})).items()}  # fmt: skip
    listed = content.get("question", ())
    questions = [
        _tried(lambda table=table: read_spec(table, AuditQuestion), _title(number, table), problems)
        for number, table in enumerate(listed if isinstance(listed, list) else (), 1)
    ]
    if not questions:
        problems.append("it has no [[question]]")
    given = {key: content[key] for key in known if key in content}
    if problems:
        raise PlanError(problems, where)
    rest = {"data": data, "edits": tuple(content.get("edit", ())), "claims": tuple(content.get("claim", ()))}
    try:
        return Plan(
            **bound("Plan", inspect.signature(Plan), (), {"questions": questions, **given, **rest, "folder": folder})
        )
    except MechcausalError as error:
        raise PlanError([str(error)], where) from None


def _title(number: int, table: Any) -> str:  # noqa: ANN401 - a table of TOML
    name = table.get("id") or table.get("ask") if isinstance(table, Mapping) else None
    return f"question {number}" + (f" ({name})" if name else "")


def _tried(make: Any, where: str, problems: list[str]) -> Any:  # noqa: ANN401
    try:
        return make()
    except MechcausalError as error:
        problems.append(f"{where}: {error}")
    return None
