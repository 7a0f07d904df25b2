"""Ask what a model does to people, and why: questions with controls and thresholds, findings, one report.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mechcausal.face import lazy

if TYPE_CHECKING:
    from mechcausal.audits.accuracy.accuracy import Accuracy as Accuracy
    from mechcausal.audits.accuracy.calibration import Calibration as Calibration
    from mechcausal.audits.behavior.generated import Generated as Generated
    from mechcausal.audits.comparing.models import compare_models as compare_models
    from mechcausal.audits.comparing.reports import Comparison as Comparison
    from mechcausal.audits.comparing.reports import compare as compare
    from mechcausal.audits.comparing.sites import ModelComparison as ModelComparison
    from mechcausal.audits.desk import Desk as Desk
    from mechcausal.audits.estimate import Estimate as Estimate
    from mechcausal.audits.explaining.concept_effect import ConceptEffect as ConceptEffect
    from mechcausal.audits.explaining.faithfulness import Faithfulness as Faithfulness
    from mechcausal.audits.explaining.observational import Observational as Observational
    from mechcausal.audits.explaining.rationale import Rationale as Rationale
    from mechcausal.audits.explaining.restoration import Restoration as Restoration
    from mechcausal.audits.explaining.validity import InterventionalValidity as InterventionalValidity
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
    from mechcausal.audits.linking.links import Links as Links
    from mechcausal.audits.mitigation.ablating import Ablate as Ablate
    from mechcausal.audits.mitigation.ablating import MeanPath as MeanPath
    from mechcausal.audits.mitigation.adapting import Adapter as Adapter
    from mechcausal.audits.mitigation.controls import RandomDirections as RandomDirections
    from mechcausal.audits.mitigation.controls import RandomSites as RandomSites
    from mechcausal.audits.mitigation.controls import Unchanged as Unchanged
    from mechcausal.audits.mitigation.erasing import Erase as Erase
    from mechcausal.audits.mitigation.erasing import Steer as Steer
    from mechcausal.audits.mitigation.prompting import Ask as Ask
    from mechcausal.audits.mitigation.prompting import Delete as Delete
    from mechcausal.audits.mitigation.spec import Mitigation as Mitigation
    from mechcausal.audits.mitigation.sweep import Sweep as Sweep
    from mechcausal.audits.mitigation.sweeping import sweep as sweep
    from mechcausal.audits.plan import Plan as Plan
    from mechcausal.audits.privacy.attribute_inference import AttributeInference as AttributeInference
    from mechcausal.audits.privacy.canaries import Canaries as Canaries
    from mechcausal.audits.privacy.candidates import Candidates as Candidates
    from mechcausal.audits.privacy.exposure import Exposure as Exposure
    from mechcausal.audits.privacy.exposures import exposures as exposures
    from mechcausal.audits.privacy.extraction import Extraction as Extraction
    from mechcausal.audits.privacy.localization import Localization as Localization
    from mechcausal.audits.privacy.members import Members as Members
    from mechcausal.audits.privacy.membership import Membership as Membership
    from mechcausal.audits.privacy.sources import CanariesSource as CanariesSource
    from mechcausal.audits.privacy.sources import TextsSource as TextsSource
    from mechcausal.audits.privacy.written_data import PersonalData as PersonalData
    from mechcausal.audits.question import Question as Question
    from mechcausal.audits.reading import read as read
    from mechcausal.audits.report import Report as Report
    from mechcausal.audits.robustness.environments import Environments as Environments
    from mechcausal.audits.robustness.irrelevant import Irrelevant as Irrelevant
    from mechcausal.audits.robustness.nuisance import NuisanceEffect as NuisanceEffect
    from mechcausal.audits.robustness.stability import Stability as Stability
    from mechcausal.audits.robustness.worst_group import WorstGroup as WorstGroup
    from mechcausal.audits.sources import Source as Source

_HOME = {
    "Ablate": "mechcausal.audits.mitigation.ablating",
    "Accuracy": "mechcausal.audits.accuracy.accuracy",
    "Adapter": "mechcausal.audits.mitigation.adapting",
    "Answer": "mechcausal.audits.finding",
    "Ask": "mechcausal.audits.mitigation.prompting",
    "AttributeInference": "mechcausal.audits.privacy.attribute_inference",
    "Benchmark": "mechcausal.audits.fairness.benchmark",
    "Calibration": "mechcausal.audits.accuracy.calibration",
    "Canaries": "mechcausal.audits.privacy.canaries",
    "CanariesSource": "mechcausal.audits.privacy.sources",
    "Candidates": "mechcausal.audits.privacy.candidates",
    "compare": "mechcausal.audits.comparing.reports",
    "compare_models": "mechcausal.audits.comparing.models",
    "Comparison": "mechcausal.audits.comparing.reports",
    "ConceptEffect": "mechcausal.audits.explaining.concept_effect",
    "Control": "mechcausal.audits.finding",
    "ControlledEffect": "mechcausal.audits.fairness.controlled",
    "Delete": "mechcausal.audits.mitigation.prompting",
    "Desk": "mechcausal.audits.desk",
    "EntitySwaps": "mechcausal.audits.fairness.entity_swaps",
    "Environments": "mechcausal.audits.robustness.environments",
    "Erase": "mechcausal.audits.mitigation.erasing",
    "Estimate": "mechcausal.audits.estimate",
    "Exposure": "mechcausal.audits.privacy.exposure",
    "exposures": "mechcausal.audits.privacy.exposures",
    "Extraction": "mechcausal.audits.privacy.extraction",
    "Faithfulness": "mechcausal.audits.explaining.faithfulness",
    "Finding": "mechcausal.audits.finding",
    "Flips": "mechcausal.audits.fairness.flips",
    "Generated": "mechcausal.audits.behavior.generated",
    "group_metrics": "mechcausal.audits.fairness.group_metrics",
    "GroupGaps": "mechcausal.audits.fairness.group_gaps",
    "InterventionalValidity": "mechcausal.audits.explaining.validity",
    "Irrelevant": "mechcausal.audits.robustness.irrelevant",
    "Links": "mechcausal.audits.linking.links",
    "Localization": "mechcausal.audits.privacy.localization",
    "MeanPath": "mechcausal.audits.mitigation.ablating",
    "Mediation": "mechcausal.audits.fairness.mediation",
    "Members": "mechcausal.audits.privacy.members",
    "Membership": "mechcausal.audits.privacy.membership",
    "Mitigation": "mechcausal.audits.mitigation.spec",
    "ModelComparison": "mechcausal.audits.comparing.sites",
    "NuisanceEffect": "mechcausal.audits.robustness.nuisance",
    "Observational": "mechcausal.audits.explaining.observational",
    "odds_effects": "mechcausal.audits.fairness.stored",
    "PathEffect": "mechcausal.audits.fairness.path_effect",
    "PersonalData": "mechcausal.audits.privacy.written_data",
    "Plan": "mechcausal.audits.plan",
    "Question": "mechcausal.audits.question",
    "RandomDirections": "mechcausal.audits.mitigation.controls",
    "RandomSites": "mechcausal.audits.mitigation.controls",
    "Rationale": "mechcausal.audits.explaining.rationale",
    "read": "mechcausal.audits.reading",
    "Report": "mechcausal.audits.report",
    "Restoration": "mechcausal.audits.explaining.restoration",
    "SelectiveInvariance": "mechcausal.audits.invariance.selective",
    "Source": "mechcausal.audits.sources",
    "Stability": "mechcausal.audits.robustness.stability",
    "Steer": "mechcausal.audits.mitigation.erasing",
    "stored_effects": "mechcausal.audits.fairness.stored",
    "Sweep": "mechcausal.audits.mitigation.sweep",
    "sweep": "mechcausal.audits.mitigation.sweeping",
    "TextsSource": "mechcausal.audits.privacy.sources",
    "Unchanged": "mechcausal.audits.mitigation.controls",
    "WorstGroup": "mechcausal.audits.robustness.worst_group",
}

if not TYPE_CHECKING:  # a checker knows the names from above, and refuses any other
    __getattr__, __dir__ = lazy(__name__, _HOME)
