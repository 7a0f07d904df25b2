"""The views of a report: each is a function from a report to the text of a file, and audit.json holds all that it needs."""

from __future__ import annotations

from collections.abc import Callable

from mechcausal.audits.report import Report
from mechcausal.audits.writing.table import findings_csv

VIEWS: dict[str, Callable[[Report], str]] = {"findings.csv": findings_csv}
