"""The report of an audit: its findings and all that they rest on, saved as files that stand on their own."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mechcausal.audits.filed import read_document, write_document
from mechcausal.audits.finding import STATUSES, Finding, finding_from
from mechcausal.audits.plain import plain
from mechcausal.errors import ResultError, did_you_mean
from mechcausal.results.storage import require_room, write_text

VERSION = 1
_SAMPLES = 2000  # examples of a finding that the file holds
_BESIDE = ("settings", "dictionaries", "files")
_VERDICT = {"pass": "supported", "fail": "refuted", "inconclusive": "undecided", "measured": "measured, not judged"}


@dataclass(frozen=True)
class Report:
    """What an audit found.

    Attributes:
        title: The title of the plan.
        plan: The plan as data.
        findings: One for each question.
        run: When and with what it was run: model, packages, data, digest of the plan, seconds.
    """

    title: str
    plan: Mapping[str, Any]
    findings: tuple[Finding, ...]
    run: Mapping[str, Any]

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of that id."""
        ids = {finding.id: finding for finding in self.findings}
        if name not in ids:
            raise ResultError(f"the report has no finding {name!r}", fix=did_you_mean(name, ids))
        return ids[name]

    def __iter__(self) -> Iterator[Finding]:
        """Iterate over the findings."""
        return iter(self.findings)

    def __len__(self) -> int:
        """Return the number of findings."""
        return len(self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings have each status."""
        return {status: sum(finding.status == status for finding in self.findings) for status in STATUSES}

    @property
    def exit_code(self) -> int:
        """0 where every threshold is kept, 1 where one is not, 4 where a question failed, 2 where it is open."""
        counts = self.counts
        if counts["error"]:
            return 4
        return 1 if counts["fail"] else 2 if counts["inconclusive"] or counts["not-run"] else 0

    def frame(self) -> pd.DataFrame:
        """Return one row for each finding."""
        rows = []
        for finding in self.findings:
            estimate = finding.estimate
            rows.append(
                {
                    "id": finding.id, "family": finding.family, "question": finding.question, "status": finding.status,
                    "estimate": estimate.value if estimate else None, "low": estimate.low if estimate else None,
                    "high": estimate.high if estimate else None, "n": estimate.n if estimate else None,
                    "n_clusters": estimate.n_clusters if estimate else None, "scale": finding.scale,
                    "threshold": str(finding.threshold), "p": finding.p, "p_adjusted": finding.p_adjusted,
                    "family_size": finding.family_size, "site": finding.site, "identified": finding.identified,
                    "marks": ", ".join(finding.answer.marks) if finding.answer else "",
                    "says": finding.answer.says if finding.answer else finding.error,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """Every claim and what became of it: those of the plan, and one for each threshold."""
        rows = []
        for claim in self.plan.get("claim", ()):
            names = list(claim.get("questions", ()))
            rows.append({"claim": str(claim.get("text", "")), "questions": names, "verdict": self._verdict(names)})
        for finding in self.findings:
            if finding.threshold.declared:
                text = f"{finding.estimand or finding.question} is {finding.threshold}"
                rows.append({"claim": text, "questions": [finding.id], "verdict": self._verdict([finding.id])})
        return rows

    def _verdict(self, names: list[str]) -> str:
        statuses = [self[name].status for name in names]
        if not statuses or any(status in ("not-run", "error") for status in statuses):
            return "not tested"
        for status in ("fail", "inconclusive", "measured"):
            if status in statuses:
                return _VERDICT[status]
        return _VERDICT["pass"]

    def summary(self) -> str:
        """Say in a line for each finding what was found."""
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        return "\n".join([f"{self.title}: {self.run['model']['name']}, {counts}", *map(str, self.findings)])

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        """Show a line for each finding, as a notebook does."""
        cells = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(text)}</td>" for text in row) + "</tr>"
            for row in (
                (
                    finding.status,
                    finding.id,
                    finding.answer.says if finding.answer else finding.error,
                    str(finding.threshold),
                )
                for finding in self.findings
            )
        )
        head = "".join(
            f"<th style='text-align:left'>{name}</th>" for name in ("status", "question", "found", "declared")
        )
        return f"<div><b>{html.escape(self.title)}</b><table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data: the source of truth, of which all other files are views."""
        findings = [finding.to_json() for finding in self.findings]
        samples = [
            {"finding": finding["id"], **example}
            for finding in findings
            if finding["answer"] is not None
            for example in finding["answer"].pop("examples")[:_SAMPLES]
        ]
        errors = [finding["error"] for finding in findings if finding["status"] == "error"]
        return plain(
            {
                "version": VERSION,
                "status": "error" if errors else "success",
                "eval": {
                    "title": self.title, "created": self.run["created"], "model": self.run["model"],
                    "data": self.run["data"], "packages": self.run["packages"], "revision": self.run["git"],
                    "plan_hash": self.run["plan_hash"], "earlier_plans": self.run["earlier_plans"],
                    **{name: self.run.get(name, {}) for name in _BESIDE},
                },
                "plan": self.plan,
                "results": {"counts": self.counts, "findings": findings, "ledger": self.ledger},
                "stats": {"seconds": self.run["seconds"]},
                "samples": samples,
                "error": errors[0] if errors else None,
            }
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report from its folder, or from its audit.json."""
        words = {"what": "the report of an audit", "fix": "run an audit with -o first"}
        return read_document(path, "audit.json", cls.from_json, version=VERSION, **words)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        """Return the report that `to_json` made JSON data of."""
        by_id: dict[str, list[dict[str, Any]]] = {}
        for sample in data["samples"]:
            by_id.setdefault(sample.pop("finding"), []).append(sample)
        findings = []
        for finding in data["results"]["findings"]:
            if finding["answer"] is not None:
                finding["answer"]["examples"] = by_id.get(finding["id"], [])
            findings.append(finding_from(finding))
        about = data["eval"]
        run = {
            "created": about["created"], "model": about["model"], "data": about["data"], "git": about["revision"],
            "packages": about["packages"], "plan_hash": about["plan_hash"],
            "earlier_plans": about["earlier_plans"], "seconds": data["stats"]["seconds"],
            **{name: about.get(name, {}) for name in _BESIDE},
        }  # fmt: skip
        return cls(about["title"], data["plan"], tuple(findings), run)

    def save(self, folder: str | Path) -> Path:
        """Write audit.json and all its views into a folder, each atomically."""
        from mechcausal.audits.writing import VIEWS

        out = require_room(folder, folder=True)
        texts = {name: write(self) for name, write in VIEWS.items()}
        # The checksum stands beside the times, because it differs with them.
        write_document(out, "audit.json", self.to_json(), within="stats")
        for name, text in texts.items():
            write_text(out / name, text)
        return out
