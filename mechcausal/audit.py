"""Ask what a model does to people, and why: questions with controls and thresholds, findings, one report.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mechcausal.face import lazy

if TYPE_CHECKING:
    from mechcausal.audits.desk import Desk as Desk
    from mechcausal.audits.estimate import Estimate as Estimate
    from mechcausal.audits.fairness.benchmark import Benchmark as Benchmark
    from mechcausal.audits.fairness.controlled import ControlledEffect as ControlledEffect
    from mechcausal.audits.fairness.entity_swaps import EntitySwaps as EntitySwaps
    from mechcausal.audits.fairness.flips import Flips as Flips
    from mechcausal.audits.fairness.group_gaps import GroupGaps as GroupGaps
    from mechcausal.audits.fairness.group_metrics import group_metrics as group_metrics
    from mechcausal.audits.fairness.mediation import Mediation as Mediation
    from mechcausal.audits.fairness.path_effect import PathEffect as PathEffect
    from mechcausal.audits.fairness.stored import odds_effects as odds_effects
    from mechcausal.audits.fairness.stored import stored_effects as stored_effects
    from mechcausal.audits.finding import Answer as Answer
    from mechcausal.audits.finding import Control as Control
    from mechcausal.audits.finding import Finding as Finding
    from mechcausal.audits.invariance.selective import SelectiveInvariance as SelectiveInvariance
    from mechcausal.audits.plan import Plan as Plan
    from mechcausal.audits.question import Question as Question
    from mechcausal.audits.reading import read as read
    from mechcausal.audits.report import Report as Report
    from mechcausal.audits.sources import Source as Source

_HOME = {
    "Answer": "mechcausal.audits.finding",
    "Benchmark": "mechcausal.audits.fairness.benchmark",
    "Control": "mechcausal.audits.finding",
    "ControlledEffect": "mechcausal.audits.fairness.controlled",
    "Desk": "mechcausal.audits.desk",
    "EntitySwaps": "mechcausal.audits.fairness.entity_swaps",
    "Estimate": "mechcausal.audits.estimate",
    "Finding": "mechcausal.audits.finding",
    "Flips": "mechcausal.audits.fairness.flips",
    "group_metrics": "mechcausal.audits.fairness.group_metrics",
    "GroupGaps": "mechcausal.audits.fairness.group_gaps",
    "Mediation": "mechcausal.audits.fairness.mediation",
    "odds_effects": "mechcausal.audits.fairness.stored",
    "PathEffect": "mechcausal.audits.fairness.path_effect",
    "Plan": "mechcausal.audits.plan",
    "Question": "mechcausal.audits.question",
    "read": "mechcausal.audits.reading",
    "Report": "mechcausal.audits.report",
    "SelectiveInvariance": "mechcausal.audits.invariance.selective",
    "Source": "mechcausal.audits.sources",
    "stored_effects": "mechcausal.audits.fairness.stored",
}

if not TYPE_CHECKING:  # a checker knows the names from above, and refuses any other
    __getattr__, __dir__ = lazy(__name__, _HOME)
