"""Pages beside the report: what mitigations change and cost, and how one report differs from another."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from mechcausal.audits.comparing.reports import Comparison
from mechcausal.audits.figures import still
from mechcausal.audits.mitigation.sweep import Sweep
from mechcausal.results.page import Page

_SWEPT = (
    "edit",
    "measure",
    "value",
    "low",
    "high",
    "change",
    "change_low",
    "change_high",
    "p_adjusted",
    "notes",
    "error",
)
_COMPARED = (
    "id",
    "question",
    "status_before",
    "status_after",
    "before",
    "after",
    "difference",
    "low",
    "high",
    "p_adjusted",
    "moved",
)


def sweep_html(sweep: Sweep) -> str:
    """Return the page of a sweep: every question under every mitigation, on the same examples."""
    model = sweep.run["model"]
    page = Page(
        f"{sweep.title}: mitigations", f"{model['name']}, weights {model['weights']}, plan {sweep.run['plan_hash']}."
    )
    page.text(
        "The same questions under each edit, on the same examples, so that changes are paired. Controls are edits of which "
        "nothing is expected. An edit is dominated only if another is at least as good on both measures and better on one in "
        "95 % of paired resamples. There is no single score: which of the others to prefer is for people to decide."
    )
    if sweep.unpaired:
        page.text(
            f"Not paired, because the question gives no number for each unit, or not the same units: {', '.join(sweep.unpaired)}. "
            "The intervals of changes are those of two independent numbers, and resamples are drawn from standard errors."
        )
    for measure in sweep.measures:
        if measure.estimand:
            page.terms(
                [
                    (
                        measure.name,
                        f"{measure.estimand} ({measure.scale}); better {measure.better}; declared: {measure.threshold}",
                    )
                ]
            )
    for figure in sweep.figures:
        page.figure(still(figure), figure.title)
    _table(page, sweep.frame(), _SWEPT)
    for name, why in sweep.left_out.items():
        page.text(f"Left out: {name}, because {why}")
    return page.render()


def comparison_html(comparison: Comparison) -> str:
    """Return the page of a comparison: which findings moved."""
    names = [
        f"{report.run['model']['name']} ({report.run['created']})" for report in (comparison.before, comparison.after)
    ]
    page = Page("What moved between two audits", f"before: {names[0]}; after: {names[1]}")
    page.text(*comparison.summary().splitlines())
    for figure in comparison.figures:
        page.figure(still(figure), figure.title)
    _table(page, comparison.frame(), _COMPARED)
    return page.render()


def _table(page: Page, frame: pd.DataFrame, wanted: tuple[str, ...]) -> None:
    columns = [name for name in wanted if name in frame and frame[name].astype(str).str.strip().ne("").any()]
    page.table(columns, [[_shown(value) for value in row] for row in frame[columns].to_numpy().tolist()])


def _shown(value: Any) -> object:  # noqa: ANN401 - a cell of a table
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
