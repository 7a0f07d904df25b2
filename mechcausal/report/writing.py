"""Files of a tour: a page for people, and numbers with the tables behind them for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechcausal.results.page import Page
from mechcausal.results.result import Result
from mechcausal.results.storage import replacing


def write_report(
    folder: Path, page: Page, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]
) -> tuple[Path, Path]:
    """Write report.html and report.json, each atomically, and return their paths."""
    tables = {
        name: {
            "rows": json.loads(str(sweep.frame.to_json(orient="records"))),
            "provenance": json.loads(sweep.provenance.to_json()),
        }
        for name, sweep in sweeps.items()
    }
    html, data = folder / "report.html", folder / "report.json"
    for path, text in ((data, json.dumps({**numbers, "sweeps": tables}, indent=1)), (html, page.render())):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return html, data
