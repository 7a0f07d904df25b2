"""A18 and A19: audits of networks that have learned nothing raise no alarm, and a run is the same however it came about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mechcausal.audits.fairness.flips import Flips
from mechcausal.audits.fairness.mediation import Mediation
from mechcausal.audits.finding import Finding
from mechcausal.audits.plan import Plan
from mechcausal.audits.reading import read
from mechcausal.audits.report import Report
from mechcausal.audits.selftest.checks import Check, checks_of, holds, near, no, yes
from mechcausal.audits.writing.sarif import report_sarif
from mechcausal.causal.alignment.search import untrained
from mechcausal.data.tasks import contrast
from mechcausal.models.load import load

AUDITS = Path(__file__).parents[1]
FIRST = 50_000  # the seed of the first model, far from those of the networks that findings are compared with
SKILLS = ("calibration",)  # thresholds `at_most` that ask for a skill
KINDS = {"notApplicable", "pass", "fail", "review", "open", "informational"}


def is_alarm(finding: Finding) -> bool:
    """Say whether a finding claims that an attribute, a path, a head or a secret does something.

    A threshold `at_least` asks for a skill, which a network that has learned nothing lacks, and so do two `at_most`: the error
    of calibration, and of selective invariance that a decision does not change where it must.
    """
    if finding.status != "fail" or finding.threshold.at_most is None or finding.answer is None:
        return False
    if finding.question == "selective_invariance":  # only what must stay is compared with other networks
        return any(control.kind == "no-learning" and control.guards for control in finding.answer.controls)
    return finding.question not in SKILLS


def null_audit(plan: Plan, organism: Any, number: int) -> Report:  # noqa: ANN401 - a TransformerBridge
    """Ask a plan of an organism whose weights are redrawn; the networks it is compared with are other draws for every number."""
    return replace(plan, seed=1000 * (number + 1)).run(untrained(organism, FIRST + number), quiet=True)


@checks_of("A18", "audits where there is nothing to find")
def null_audits(quick: bool) -> Iterator[Check]:
    """Ask all questions that ship of organisms with redrawn weights."""
    plan, organism, runs = read(AUDITS / "plans" / "all.toml"), load("organism:hiring"), 1 if quick else 5
    alarms, errors = 0, 0
    for number in range(runs):
        findings = null_audit(plan, organism, number).findings
        alarms += sum(map(is_alarm, findings))
        errors += sum(bool(finding.error) for finding in findings)
    yield near(f"alarms in {runs} whole audits of redrawn networks", 0, alarms, 0)
    yield near("questions that ended in an error", 0, errors, 0)


@checks_of("A19", "the same run, however it came about")
def runs(quick: bool) -> Iterator[Check]:
    """Run a plan twice, once in two parts, and read what it wrote."""
    del quick
    model = load("organism:by_hand")
    pairs = contrast("by_hand/gender", model, n=8)
    # They share what they run: the count of forwards must not say which of them came first.
    questions = [Flips(pairs, at_most=0.5, id="first"), Flips(pairs, id="second"), Mediation(pairs, id="third")]
    plan = Plan(questions, networks=3)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("a", "b"):
            report = plan.run(model, folder / name, quiet=True)
        plan.run(model, folder / "parts", only=["second"], quiet=True)
        plan.run(model, folder / "parts", quiet=True)
        once, again, parts = (without_times(folder / name / "audit.json") for name in ("a", "b", "parts"))
        yield yes("audit.json of the same plan is the same, but for times", once == again)
        yield yes("a run that was stopped and went on is the same", once == parts)
        yield from _schema(report)
        page = (folder / "a" / "report.html").read_text(encoding="utf-8")
    yield no(
        "the page loads something from elsewhere",
        bool(re.search(r"(src|href)\s*=\s*[\"'](?!#|data:)|url\(|@import", page)),
    )
    log = json.loads(report_sarif(report))
    results = log["runs"][0]["results"]
    rules = [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]]
    right = [
        result["kind"] in KINDS
        and result["level"] == ("error" if result["kind"] == "fail" else "none")
        and rules[result["ruleIndex"]] == result["ruleId"]
        for result in results
    ]
    yield holds("results of audit.sarif as the standard has them", sum(right), len(report.findings))


def _schema(report: Report) -> Iterator[Check]:
    """Validate a report, where the library for it is installed."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return
    schema = json.loads((AUDITS / "writing" / "audit.schema.json").read_text(encoding="utf-8"))
    yield near(
        "errors of audit.json against its schema",
        0,
        len(list(Draft202012Validator(schema).iter_errors(report.to_json()))),
        0,
    )


def without_times(file: Path) -> dict[str, Any]:
    """Return what an audit.json says, without when and how fast it was made."""
    data = json.loads(file.read_text(encoding="utf-8"))
    del data["eval"]["created"], data["stats"], data["eval"]["revision"]
    for finding in data["results"]["findings"]:
        finding["cost"].pop("seconds", None)
    return data
