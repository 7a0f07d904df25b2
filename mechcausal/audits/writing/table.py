"""The findings as a table."""

from __future__ import annotations

from mechcausal.audits.report import Report


def findings_csv(report: Report) -> str:
    """Return one row for each finding, as CSV."""
    return report.frame().to_csv(index=False, lineterminator="\n")
