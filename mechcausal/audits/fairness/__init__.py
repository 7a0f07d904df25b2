"""Questions of fairness."""

from mechcausal.audits.fairness.flips import Flips as Flips
