"""Questions of robustness: the worst group, environments, invariance, what must not matter, and what is rewarded all the same."""

from mechcausal.audits.robustness.environments import Environments as Environments
from mechcausal.audits.robustness.irrelevant import Irrelevant as Irrelevant
from mechcausal.audits.robustness.nuisance import NuisanceEffect as NuisanceEffect
from mechcausal.audits.robustness.stability import Stability as Stability
from mechcausal.audits.robustness.worst_group import WorstGroup as WorstGroup
