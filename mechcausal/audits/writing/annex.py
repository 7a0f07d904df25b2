"""Which parts of the report speak to which points of the EU AI Act's technical documentation (Annex IV).

A map for those who write that documentation. It claims no compliance and gives no grade, and it is no legal advice.
"""

from __future__ import annotations

import math

from mechcausal.audits.report import Report

# Point of Annex IV, what it asks for in our words, and the families of findings that speak to it.
_POINTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("2(b)", "the design of the system and its key choices, with what it optimizes for", ("explainability", "links")),
    ("2(d)", "the data used: where they come from, how they were chosen and cleaned", ()),
    ("2(g)", "validation and testing: data, metrics for accuracy, robustness and potentially discriminatory impacts, logs",
     ("accuracy", "robustness", "fairness", "invariance")),
    ("2(h)", "cybersecurity measures", ("privacy",)),
    ("3", "capabilities and limits: accuracy for particular groups, foreseeable risks, what is needed for oversight",
     ("fairness", "accuracy", "robustness", "explainability")),
    ("4", "why the performance metrics are appropriate", ("fairness", "accuracy")),
    ("5", "risk management: which risks were looked for, and what remains", ("fairness", "privacy", "robustness")),
)  # fmt: skip


def annex_iv_md(report: Report) -> str:
    """Return the map as Markdown, with lines that people fill in and sign."""
    lines = [
        "# Where this audit speaks to Annex IV of Regulation (EU) 2024/1689", "",
        "This map says which findings a reader of the technical documentation may want to see. It claims no compliance, gives no "
        "grade, and is no legal advice. What is not listed here was not looked at.",
        "", "| point | what is asked for | findings | where in audit.json |", "|---|---|---|---|",
    ]  # fmt: skip
    for point, asks, families in _POINTS:
        ids = [finding.id for finding in report if finding.family in families]
        where = "`results.findings`" if families else "`eval.data` (digests, numbers, what was dropped)"
        lines.append(f"| {point} | {asks} | {', '.join(ids) or ('' if not families else 'none asked')} | {where} |")
    power = [finding for finding in report if finding.answer and math.isfinite(finding.answer.smallest_detectable)]
    lines += [
        "", "Known limits of each finding stand in `results.findings[].limits`, assumptions in `.assumptions`, versions and digests "
        "in `eval`, decisions that only people can make in `plan.choices`.",
        "", f"Findings that say which effects they would have missed: {', '.join(finding.id for finding in power) or 'none'}.",
        "", "| to be filled in by people | |", "|---|---|", "| responsible | |", "| signed by | |", "| date | |", "",
        f"Plan `{report.run['plan_hash']}`, model `{report.run['model']['weights']}`, made {report.run['created']}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
