"""Ask what a model does to people, and why: questions with controls and thresholds, findings, one report.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mechcausal.face import lazy

if TYPE_CHECKING:
    from mechcausal.audits.accuracy.accuracy import Accuracy as Accuracy
    from mechcausal.audits.accuracy.calibration import Calibration as Calibration
    from mechcausal.audits.desk import Desk as Desk
    from mechcausal.audits.estimate import Estimate as Estimate
    from mechcausal.audits.explaining.faithfulness import Faithfulness as Faithfulness
    from mechcausal.audits.explaining.observational import Observational as Observational
    from mechcausal.audits.explaining.rationale import Rationale as Rationale
    from mechcausal.audits.explaining.validity import InterventionalValidity as InterventionalValidity
    from mechcausal.audits.fairness.flips import Flips as Flips
    from mechcausal.audits.finding import Answer as Answer
    from mechcausal.audits.finding import Control as Control
    from mechcausal.audits.finding import Finding as Finding
    from mechcausal.audits.invariance.selective import SelectiveInvariance as SelectiveInvariance
    from mechcausal.audits.linking.links import Links as Links
    from mechcausal.audits.plan import Plan as Plan
    from mechcausal.audits.plan import read as read
    from mechcausal.audits.question import Question as Question
    from mechcausal.audits.report import Report as Report
    from mechcausal.audits.robustness.environments import Environments as Environments
    from mechcausal.audits.robustness.irrelevant import Irrelevant as Irrelevant
    from mechcausal.audits.robustness.stability import Stability as Stability
    from mechcausal.audits.robustness.worst_group import WorstGroup as WorstGroup
    from mechcausal.audits.sources import Source as Source

_HOME = {
    "Accuracy": "mechcausal.audits.accuracy.accuracy",
    "Answer": "mechcausal.audits.finding",
    "Calibration": "mechcausal.audits.accuracy.calibration",
    "Control": "mechcausal.audits.finding",
    "Desk": "mechcausal.audits.desk",
    "Environments": "mechcausal.audits.robustness.environments",
    "Estimate": "mechcausal.audits.estimate",
    "Faithfulness": "mechcausal.audits.explaining.faithfulness",
    "Finding": "mechcausal.audits.finding",
    "Flips": "mechcausal.audits.fairness.flips",
    "InterventionalValidity": "mechcausal.audits.explaining.validity",
    "Irrelevant": "mechcausal.audits.robustness.irrelevant",
    "Links": "mechcausal.audits.linking.links",
    "Observational": "mechcausal.audits.explaining.observational",
    "Plan": "mechcausal.audits.plan",
    "Question": "mechcausal.audits.question",
    "Rationale": "mechcausal.audits.explaining.rationale",
    "Report": "mechcausal.audits.report",
    "SelectiveInvariance": "mechcausal.audits.invariance.selective",
    "Source": "mechcausal.audits.sources",
    "Stability": "mechcausal.audits.robustness.stability",
    "WorstGroup": "mechcausal.audits.robustness.worst_group",
    "read": "mechcausal.audits.plan",
}

if not TYPE_CHECKING:  # a checker knows the names from above, and refuses any other
    __getattr__, __dir__ = lazy(__name__, _HOME)
