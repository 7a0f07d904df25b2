"""A whole audit where there is nothing to find: how often does it raise an alarm (A18)?

    python benchmarks/null_audits.py -o null.jsonl             # 40 models, one JSON line each; about 8 CPU minutes
    python benchmarks/null_audits.py -o null.jsonl --models 4  # fewer, for a look; running again goes on where it ended

Every model is `organism:hiring` with its weights redrawn, each tensor with the mean and the spread it had: it has the sizes of
a trained network and has learned nothing. It is asked all questions of the plan that ships, with the thresholds that ship; the
networks that a finding is compared with are other draws for every model.

- An alarm is a question with status `fail` whose threshold is `at_most`: it says that an attribute moves decisions, that a
  path or a head carries an effect, that a group is treated otherwise, that a secret leaks. Nothing of that was learned. The
  family-wise rate is the share of audits with any alarm; nominal is the plan's alpha, and the limit is two standard errors above.
- Thresholds `at_least` ask for a skill (accuracy, worst group, and an attribution or a circuit that holds). A network that has
  learned nothing lacks the skill, and to fail them is right: they are listed as `unskilled` and are no alarms.
- Two thresholds `at_most` ask for a skill as well, and are listed as `unskilled`: the error of calibration, and of selective
  invariance that a decision does not change where it must.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.selftest.running import is_alarm, null_audit

PLAN = Path(mc.__file__).parent / "audits" / "plans" / "all.toml"
NETWORKS = 8


def audited(plan: audit.Plan, organism: Any, number: int) -> dict[str, Any]:  # noqa: ANN401 - a TransformerBridge
    """Audit a model that has learned nothing, and return its line."""
    started = time.process_time()
    report = null_audit(replace(plan, networks=NETWORKS), organism, number)
    alarms = [finding for finding in report.findings if is_alarm(finding)]
    failed = [finding for finding in report.findings if finding.status == "fail"]
    return {
        "model": number,
        "alarms": [f"{finding.question}: {finding.answer.says}" for finding in alarms if finding.answer],
        "unskilled": [finding.question for finding in failed if finding not in alarms],
        "errors": [f"{finding.question}: {finding.error}" for finding in report.findings if finding.error],
        "statuses": {finding.question: finding.status for finding in report.findings},
        "p": {finding.question: round(finding.p, 5) for finding in report.findings},
        "estimates": {finding.question: finding.estimate.value for finding in report.findings if finding.estimate},
        "guards": {
            finding.question: {
                control.kind: round(control.p, 5) for control in finding.answer.controls if control.guards
            }
            for finding in report.findings
            if finding.answer is not None
        },
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def summary(lines: list[dict[str, Any]], alpha: float) -> dict[str, Any]:
    """Return the family-wise rate with its limit, and which questions raised the alarms."""
    count = len(lines)
    limit = alpha + 2 * np.sqrt(alpha * (1 - alpha) / count)
    share = sum(bool(line["alarms"]) for line in lines) / count
    raised = Counter(alarm.partition(":")[0] for line in lines for alarm in line["alarms"])
    below = {
        question: round(float(np.mean([line["p"][question] <= alpha for line in lines])), 3)
        for question in lines[0]["p"]
    }
    return {
        "models": count, "share_with_an_alarm": round(share, 4), "at_most": round(float(limit), 4), "alarms": dict(raised),
        "errors": sum(bool(line["errors"]) for line in lines), "share_of_unadjusted_p_below_alpha": below,
        "cpu_seconds": round(sum(line["cpu_seconds"] for line in lines)), "passed": bool(share <= limit),
    }  # fmt: skip


def main() -> int:
    """Audit the models that are not in the file yet; return 1 if there are too many alarms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("null_audits.jsonl"))
    parser.add_argument("--models", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    plan, organism = audit.read(PLAN), mc.load("organism:hiring")
    text = asked.out.read_text(encoding="utf-8") if asked.out.is_file() else ""
    # A line that a kill cut off has no end, and its model is audited again.
    complete = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    asked.out.write_text("".join(json.dumps(line) + "\n" for line in complete), encoding="utf-8")
    done = {line["model"]: line for line in complete}
    for number in range(asked.models):
        if number in done:
            continue
        done[number] = audited(plan, organism, number)
        with asked.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[number]) + "\n")
        print(json.dumps(done[number]), flush=True)
    totals = summary([done[number] for number in range(asked.models)], plan.alpha)
    print(json.dumps(totals))
    return int(not totals["passed"])


if __name__ == "__main__":
    sys.exit(main())
