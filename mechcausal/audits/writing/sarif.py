"""The findings as SARIF 2.1.0, which code hosts and editors show beside a change."""

from __future__ import annotations

import hashlib
import json

from mechcausal.audits.finding import Finding
from mechcausal.audits.report import Report

_KINDS = {
    "pass": ("pass", "none"), "fail": ("fail", "error"), "inconclusive": ("open", "none"), "measured": ("informational", "none"),
    "not-run": ("notApplicable", "none"), "error": ("open", "none"),
}  # fmt: skip


def report_sarif(report: Report) -> str:
    """Return the findings as a SARIF log."""
    rules = {finding.id: finding for finding in report}
    driver = {
        "name": "mechcausal audit",
        "version": str(report.run["packages"].get("mechcausal", "")),
        "rules": [
            {
                "id": finding.id,
                "name": finding.question.title().replace("_", ""),  # the form that the standard asks for
                "shortDescription": {"text": finding.estimand or finding.question},
                "properties": {"family": finding.family, "threshold": str(finding.threshold)},
            }
            for finding in rules.values()
        ],
    }
    failed = [finding for finding in report if finding.status == "error"]
    invocation = {
        "executionSuccessful": not failed,
        "startTimeUtc": report.run["created"].replace("+00:00", "Z"),
        "toolExecutionNotifications": [
            {"level": "error", "message": {"text": finding.error}, "associatedRule": {"id": finding.id}}
            for finding in failed
        ],
    }
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [invocation],
                "results": [_result(finding, number, report) for number, finding in enumerate(report)],
                "properties": {"plan_hash": report.run["plan_hash"], "model": report.run["model"]},
            }
        ],
    }
    return json.dumps(log, indent=1, ensure_ascii=False) + "\n"


def _result(finding: Finding, number: int, report: Report) -> dict[str, object]:
    kind, level = _KINDS[finding.status]
    weights = str(report.run["model"]["weights"])
    content = finding.to_json()
    if content["answer"] is not None:
        content["answer"] = {
            name: value for name, value in content["answer"].items() if name not in ("examples", "figures")
        }
    return {
        "ruleId": finding.id,
        "ruleIndex": number,
        "kind": kind,
        "level": level,
        "message": {"text": finding.answer.says if finding.answer else finding.error or finding.status},
        "locations": [
            {
                "logicalLocations": [
                    {"name": finding.site or "the whole model", "fullyQualifiedName": str(report.run["model"]["name"])}
                ]
            }
        ],
        "partialFingerprints": {
            "question/v1": hashlib.sha256(f"{finding.id}|{finding.question}|{weights}".encode()).hexdigest()[:32]
        },
        "properties": content,
    }
