"""The report as one HTML file that opens with the network off: what was found, and from each finding to its examples."""

from __future__ import annotations

import html
import math
from typing import Any

from mechcausal.audits.figures import still
from mechcausal.audits.finding import Control, Finding
from mechcausal.audits.plan import written
from mechcausal.audits.report import Report
from mechcausal.results.page import Page

_EXAMPLES, _ROWS = 40, 60  # of each finding; audit.json has all
_TONES = {"pass": "good", "fail": "bad", "error": "bad"}
_READ = (
    "Each finding is a number with a statement of what it is, three controls, and a threshold that was declared before the "
    "run. It fails where the threshold is broken beyond chance, after adjustment for all questions that have one, and "
    "beyond the controls; it passes where the whole interval keeps the threshold; otherwise it is inconclusive. Without a "
    "threshold it is only measured. Whether a threshold is the right one, and whether what is found is acceptable, the "
    "numbers cannot say."
)
_CONTROLS = {"random": "random place", "no-learning": "nothing learned", "trivial-input": "input alone"}


def report_html(report: Report) -> str:
    """Return the whole report as a page."""
    model, counts = report.run["model"], report.counts
    lead = f"{model['name']}, weights {model['weights']}; {report.run['created']}; plan {report.run['plan_hash']}."
    page = Page(report.title, lead)
    page.key_numbers([(str(count), status, _TONES.get(status, "")) for status, count in counts.items() if count])
    page.text(_READ)
    page.piece(_overview(report))
    _ledger(page, report)
    for finding in report:
        _section(page, finding)
    _provenance(page, report)
    return page.render()


def _overview(report: Report) -> str:
    """Return the table of findings, each linked to its section."""
    rows = []
    for finding in report:
        chip = f'<span class="chip {_TONES.get(finding.status, "")}">{html.escape(finding.status)}</span>'
        link = f'<a href="#{html.escape(finding.id)}">{html.escape(finding.id)}</a>'
        says = finding.answer.says if finding.answer else finding.error
        cells = (
            chip,
            link,
            html.escape(says),
            html.escape(str(finding.threshold) if finding.threshold.declared else ""),
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("status", "question", "what was found", "declared"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _ledger(page: Page, report: Report) -> None:
    if report.ledger:
        page.heading("What was claimed, and what became of it", "ledger")
        rows = [(row["claim"], ", ".join(row["questions"]) or "none", row["verdict"]) for row in report.ledger]
        page.table(["claim", "tested by", "verdict"], rows)
    choices, who = list(report.plan.get("choices", ())), report.plan.get("declared_by", "")
    if choices or who:
        page.heading("What people decided", "choices")
        by = (
            f"The thresholds were declared by {who}."
            if who
            else "The thresholds were declared by those who wrote the plan."
        )
        page.text(f"No measurement can settle these. {by}", *choices)


def _section(page: Page, finding: Finding) -> None:
    page.heading(
        f"{finding.id}: {finding.question.replace('_', ' ')}",
        finding.id,
        (finding.status, _TONES.get(finding.status, "")),
    )
    answer = finding.answer
    page.text(answer.says if answer else f"There is no answer: {finding.error}")
    for mark, reason in (answer.marks if answer else {}).items():
        page.text(f"Note, {mark}: {reason}")
    if answer and answer.cannot_fail:
        page.text(f"This cannot be judged: {answer.cannot_fail}")
    page.terms(_words(finding))
    if answer is None:
        return
    for figure in answer.figures:
        page.figure(still(figure), figure.describe() if len(figure.describe()) < 400 else figure.title)
    page.table(["control", "what was done", "number", "p"], [_control(control) for control in answer.controls])
    if len(answer.table):
        columns = [str(name) for name in answer.table.columns]
        rows = [[_shown(value) for value in row] for row in answer.table.head(_ROWS).to_numpy().tolist()]
        more = f", the first {_ROWS} of {len(answer.table)} rows" if len(answer.table) > _ROWS else ""
        with page.folded(f"The numbers behind it{more}"):
            page.table(columns, rows)
    if answer.examples:
        names = list(answer.examples[0])
        more = (
            f"{_EXAMPLES} of {len(answer.examples)}" if len(answer.examples) > _EXAMPLES else str(len(answer.examples))
        )
        with page.folded(f"Examples: {more} (all are in audit.json)"):
            page.table(names, [[_shown(row.get(name)) for name in names] for row in answer.examples[:_EXAMPLES]])


def _words(finding: Finding) -> list[tuple[str, str]]:
    """Return what a sceptic asks, in the order in which it is asked."""
    estimate, answer = finding.estimate, finding.answer
    data = "; ".join(
        f"{about.get('name')}: {about.get('n')} units in {about.get('n_clusters')} clusters, digest {about.get('digest')}"
        for about in finding.data.values()
    )
    dropped = [*(f"{count} {why}" for about in finding.data.values() for why, count in about.get("dropped", ()))]
    dropped += [f"{count} {why}" for why, count in (answer.dropped if answer else ())]
    p = f"{finding.p:.2g}" if math.isfinite(finding.p) else ""
    if math.isfinite(finding.p_adjusted):
        p += f"; adjusted for {finding.family_size} questions {finding.p_adjusted:.2g}"
    power = answer.smallest_detectable if answer else math.nan
    return [
        ("what the number is", finding.estimand),
        ("estimate", f"{estimate} ({finding.scale})" if estimate and finding.scale else str(estimate or "")),
        ("declared threshold", str(finding.threshold)),
        ("p", p),
        ("contrast", finding.contrast),
        ("held fixed", finding.held_fixed),
        ("of whom", finding.population),
        ("by what right", finding.identified.replace("-", " ")),
        ("where", finding.site),
        ("data", data),
        ("left out", "; ".join(dropped)),
        ("smallest effect that would be found", f"{power:.3g}" if math.isfinite(power) else ""),
        ("assumed", "; ".join(finding.assumptions)),
        ("not said", "; ".join(finding.limits)),
        ("cost", "; ".join(f"{value:,.0f} {name}" if name != "seconds" else f"{value:.1f} s" for name, value in finding.cost.items())),
    ]  # fmt: skip


def _control(control: Control) -> tuple[str, str, str, str]:
    number = "does not apply" if control.estimate is None else str(control.estimate)
    return _CONTROLS[control.kind], control.says, number, f"{control.p:.2g}" if math.isfinite(control.p) else ""


def _shown(value: Any) -> object:  # noqa: ANN401 - a cell of a table
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else value


def _provenance(page: Page, report: Report) -> None:
    page.heading("What it rests on", "provenance")
    run = report.run
    revision = run["git"]
    page.terms(
        [
            *((f"model: {name}", str(value)) for name, value in run["model"].items()),
            *((f"data: {name}", ", ".join(f"{key} {value}" for key, value in about.items() if value != []))
              for name, about in run["data"].items()),
            ("packages", ", ".join(f"{name} {version}" for name, version in run["packages"].items())),
            ("code", f"commit {revision['commit']}{' with changes' if revision.get('dirty') else ''}" if revision else ""),
            ("other plans run into this folder before", ", ".join(run["earlier_plans"])),
            ("seconds", f"{run['seconds']:.1f}"),
        ]
    )  # fmt: skip
    with page.folded("The plan"):
        page.code(written(report.plan))
