"""The report of a run: one page with what was asked, how far it is, and each result with its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mechcausal.errors import MechcausalError
from mechcausal.results.page import Page
from mechcausal.results.storage import replacing
from mechcausal.runs.run import Progress, Run

REPORT = "report.html"
_ROWS = 12


def write_page(run: Run, path: Path | None = None) -> Path:
    """Write the report of a run and return its path.

    Args:
        run: The run.
        path: The file; `report.html` in the folder of the run unless said.
    """
    path = path or run.folder / REPORT
    text = page_of(run)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page_of(run: Run) -> str:
    """Return the report of a run as HTML."""
    parts = run.status()
    page = Page(run.plan.name, run.plan.question or "A run of mechcausal.")
    planned, done = sum(part.planned or 0 for part in parts), sum(part.done for part in parts)
    failed = sum(part.failed for part in parts)
    tone = "good" if done == planned and not run.plan.waiting else ""
    page.key_numbers(
        [
            (f"{done:,} of {planned:,}", "rows are there", tone),
            (f"{failed:,}", "rows could not be computed", "bad" if failed else ""),
            (f"{len(parts)}", "steps", ""),
        ]
    )
    page.table(["step", "method", "state"], [(part.step, part.method, said(part)) for part in parts])
    for part in parts:
        page.heading(part.step, anchor=part.step)
        for error, count in part.errors.items():
            page.text(f"{count} rows failed: {error}")
        if part.planned is None or part.skipped:
            page.text(said(part).capitalize() + ".")
            continue
        _results(page, run, part.step)
    _provenance(page, run)
    return page.render()


def said(part: Progress) -> str:
    """Return how far a step is, in words."""
    if part.skipped:
        return "skipped: an earlier step left nothing to take"
    if part.planned is None:
        return "waits for an earlier step"
    state = "done" if part.done == part.planned else f"{part.done:,} of {part.planned:,} rows"
    return state + (f", {part.failed:,} failed" if part.failed else "")


def _results(page: Page, run: Run, step: str) -> None:
    """Add every result of a step that is complete."""
    groups = run.plan.of(step)
    for group in groups:
        labels = ", ".join(f"{name} {value}" for name, value in group.labels.items() if value != "" and name != "seed")
        try:
            result = run.result_of(group)
        except MechcausalError as error:
            page.text(f"{labels}: {error}")
            continue
        page.text(labels)
        picture = getattr(result, "_repr_html_", None)
        if picture is not None:
            page.piece(f'<div class="scroll">{picture()}</div>')
        elif hasattr(result, "summary"):
            page.code(result.summary())
        frame = getattr(result, "frame", None)
        frame = frame() if callable(frame) else frame
        if isinstance(frame, pd.DataFrame) and len(frame):
            with page.folded(f"table, {len(frame):,} rows"):
                rows = frame.head(_ROWS)
                kept = [name for name in rows if rows[name].notna().any()]
                page.table(kept, [[_shown(value) for value in row] for row in rows[kept].itertuples(index=False)])


def _shown(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return round(value, 4)
    return value if isinstance(value, (int, str)) else str(value)


def _provenance(page: Page, run: Run) -> None:
    page.heading("Where this comes from")
    facts: dict[str, str] = {}
    for group in run.plan.groups:
        model = group.about.get("model") or group.about.get("facts", {})
        facts[f"model {group.model}"] = ", ".join(f"{key} {value}" for key, value in model.items() if value)
        prompts = group.about.get("prompts")
        if prompts:
            facts[f"data {group.data}"] = ", ".join(f"{key} {value}" for key, value in prompts.items() if value)
        facts["packages"] = ", ".join(f"{key} {value}" for key, value in group.about.get("packages", {}).items())
    page.terms(list(facts.items()))
    experiment = run.folder / "experiment.toml"
    if experiment.is_file():
        with page.folded("the experiment as it was run"):
            page.code(experiment.read_text(encoding="utf-8"))
