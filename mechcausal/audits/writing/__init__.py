"""The views of a report: each is a function from a report to the text of a file, and audit.json holds all that it needs."""

from __future__ import annotations

from collections.abc import Callable

from mechcausal.audits.report import Report
from mechcausal.audits.writing.annex import annex_iv_md
from mechcausal.audits.writing.markdown import card_md, report_md
from mechcausal.audits.writing.page import report_html
from mechcausal.audits.writing.sarif import report_sarif
from mechcausal.audits.writing.table import findings_csv

VIEWS: dict[str, Callable[[Report], str]] = {
    "report.html": report_html,
    "report.md": report_md,
    "findings.csv": findings_csv,
    "audit.sarif": report_sarif,
    "model_card.md": card_md,
    "annex_iv.md": annex_iv_md,
}
WORDS = {
    "html": "report.html", "md": "report.md", "csv": "findings.csv", "sarif": "audit.sarif", "card": "model_card.md",
    "annex": "annex_iv.md",
}  # fmt: skip
"""What the command line calls each of them."""
