"""The report as Markdown, for a pull request or a wiki, and as a block for a model card."""

from __future__ import annotations

import json
import math
from typing import Any

from mechcausal.audits.finding import Finding
from mechcausal.audits.report import Report


def report_md(report: Report) -> str:
    """Return the findings as Markdown."""
    run = report.run
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
    lines = [
        f"# {_text(report.title)}", "",
        f"{_text(run['model']['name'])}, weights `{run['model']['weights']}`, {run['created']}, plan `{run['plan_hash']}`: {counts}.",
        "", "| status | question | what was found | declared |", "|---|---|---|---|",
    ]  # fmt: skip
    for finding in report:
        says = finding.answer.says if finding.answer else finding.error
        declared = str(finding.threshold) if finding.threshold.declared else ""
        lines.append(f"| {finding.status} | {_text(finding.id)} | {_text(says)} | {declared} |")
    if report.ledger:
        lines += ["", "## Claims", "", "| claim | tested by | verdict |", "|---|---|---|"]
        lines += [
            f"| {_text(row['claim'])} | {_text(', '.join(row['questions'])) or 'none'} | {row['verdict']} |"
            for row in report.ledger
        ]
    for finding in report:
        lines += _section(finding)
    return "\n".join(lines) + "\n"


def _section(finding: Finding) -> list[str]:
    answer = finding.answer
    lines = ["", f"## {_text(finding.id)}: {finding.question}", "", f"Status: {finding.status}."]
    if answer is None:
        return [*lines, "", _text(finding.error)]
    lines += ["", _text(answer.says) + ".", "", f"- what the number is: {_text(finding.estimand)}"]
    lines += [
        f"- estimate: {answer.estimate} {finding.scale}, {answer.estimate.n} units in {answer.estimate.n_clusters} clusters"
    ]
    if math.isfinite(finding.p):
        adjusted = (
            f", adjusted for {finding.family_size} questions {finding.p_adjusted:.2g}" if finding.family_size else ""
        )
        lines.append(f"- p: {finding.p:.2g}{adjusted}")
    lines += [f"- control, {control.kind}: {_text(control.says)}" for control in answer.controls]
    lines += [f"- note, {_text(mark)}: {_text(reason)}" for mark, reason in answer.marks.items()]
    lines += [f"- assumed: {_text(text)}" for text in finding.assumptions]
    return [*lines, *(f"- not said: {_text(text)}" for text in finding.limits)]


def card_md(report: Report) -> str:
    """Return a block for a model card: YAML front matter that a hub reads, and the findings below it."""
    results = [
        {
            "task": {"type": finding.family, "name": finding.question},
            "dataset": {"name": ", ".join(str(about.get("name")) for about in finding.data.values()), "type": "own"},
            "metrics": [
                {
                    "type": finding.question, "name": finding.estimand or finding.question, "value": finding.estimate.value,
                    "args": {"interval": [_finite(finding.estimate.low), _finite(finding.estimate.high)], "status": finding.status,
                             "threshold": str(finding.threshold)},
                }
            ],
        }
        for finding in report
        if finding.estimate is not None and math.isfinite(finding.estimate.value)
    ]  # fmt: skip
    index = [{"name": report.run["model"]["name"], "results": results}]
    lines = ["---", "# JSON is YAML: a hub reads it as it stands.", f"model-index: {json.dumps(index)}", "---", ""]
    lines += ["## Audit", ""]
    lines += [
        f"- {finding.id} ({finding.status}): {_text(finding.answer.says if finding.answer else finding.error)}"
        for finding in report
    ]
    lines += [
        "",
        f"Measured by mechcausal {report.run['packages'].get('mechcausal', '')}, plan `{report.run['plan_hash']}`.",
    ]
    return "\n".join(lines) + "\n"


def _finite(value: float) -> Any:  # noqa: ANN401 - a number, or None
    return value if math.isfinite(value) else None


def _text(text: str) -> str:
    """Return text that no Markdown reads as its own, on one line."""
    one_line = " ".join(str(text).split())
    for sign in ("\\", "|", "<", "[", "]", "`", "*", "_"):
        one_line = one_line.replace(sign, f"\\{sign}" if sign != "<" else "&lt;")
    return one_line
