"""Intervene inside a transformer and measure which mechanism carries which effect.

Names are imported on first use, so that `import mechcausal` loads neither torch nor transformer-lens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mechcausal.face import lazy

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mechcausal import audit as audit
    from mechcausal import causal as causal
    from mechcausal import circuits as circuits
    from mechcausal import claims as claims
    from mechcausal import features as features
    from mechcausal import generation as generation
    from mechcausal import inspection as inspection
    from mechcausal import interventions as interventions
    from mechcausal import methods as methods
    from mechcausal import metrics as metrics
    from mechcausal import patching as patching
    from mechcausal import results as results
    from mechcausal import steering as steering
    from mechcausal.address import Place as Place
    from mechcausal.causal import scrub as scrub
    from mechcausal.circuits import discover as discover
    from mechcausal.data import Contrast as Contrast
    from mechcausal.data import PromptSet as PromptSet
    from mechcausal.data import contrast as contrast
    from mechcausal.data import task as task
    from mechcausal.errors import MechcausalError as MechcausalError
    from mechcausal.generation import generate as generate
    from mechcausal.inspection import attention as attention
    from mechcausal.inspection import lens as lens
    from mechcausal.links import link as link
    from mechcausal.models.abilities import sites as sites
    from mechcausal.models.classifier import outcome as outcome
    from mechcausal.models.load import load as load
    from mechcausal.organisms import truth as truth
    from mechcausal.patching import ablate as ablate
    from mechcausal.patching import attribute as attribute
    from mechcausal.patching import direct_logit_attribution as direct_logit_attribution
    from mechcausal.patching import measure as measure
    from mechcausal.patching import patch as patch
    from mechcausal.patching import path_patch as path_patch
    from mechcausal.patching import read as read
    from mechcausal.results import Result as Result
    from mechcausal.runs import Experiment as Experiment
    from mechcausal.runs import Run as Run
    from mechcausal.steering import steer as steer

_HOME = {
    "load": "mechcausal.models.load",
    "Place": "mechcausal.address",
    "sites": "mechcausal.models.abilities",
    "outcome": "mechcausal.models.classifier",
    "truth": "mechcausal.organisms",
    "contrast": "mechcausal.data",
    "task": "mechcausal.data",
    "Contrast": "mechcausal.data",
    "PromptSet": "mechcausal.data",
    "patch": "mechcausal.patching",
    "ablate": "mechcausal.patching",
    "attribute": "mechcausal.patching",
    "path_patch": "mechcausal.patching",
    "direct_logit_attribution": "mechcausal.patching",
    "read": "mechcausal.patching",
    "measure": "mechcausal.patching",
    "scrub": "mechcausal.causal",
    "discover": "mechcausal.circuits",
    "generate": "mechcausal.generation",
    "attention": "mechcausal.inspection",
    "lens": "mechcausal.inspection",
    "link": "mechcausal.links",
    "steer": "mechcausal.steering",
    "Result": "mechcausal.results",
    "Experiment": "mechcausal.runs",
    "Run": "mechcausal.runs",
    "MechcausalError": "mechcausal.errors",
}
_PACKAGES = (
    "audit",
    "causal",
    "circuits",
    "claims",
    "features",
    "generation",
    "inspection",
    "interventions",
    "methods",
    "metrics",
    "patching",
    "results",
    "steering",
)

if not TYPE_CHECKING:  # a checker knows the names from above, and refuses any other
    __getattr__, __dir__ = lazy(__name__, _HOME | {name: f"mechcausal.{name}" for name in _PACKAGES}, "__version__")
