"""Selective invariance: what must stay when it is perturbed, and what must change."""

from mechcausal.audits.invariance.selective import SelectiveInvariance as SelectiveInvariance
