"""Questions of fairness."""

from mechcausal.audits.fairness.controlled import ControlledEffect as ControlledEffect
from mechcausal.audits.fairness.flips import Flips as Flips
from mechcausal.audits.fairness.mediation import Mediation as Mediation
from mechcausal.audits.fairness.path_effect import PathEffect as PathEffect
