"""All questions that ship: importing this module registers them, as the reading of a plan needs it."""

from __future__ import annotations

from mechcausal.audits import accuracy, behavior, explaining, fairness, invariance, linking, privacy, robustness
from mechcausal.audits.question import QUESTIONS

FAMILIES = (fairness, behavior, linking, privacy, robustness, explaining, accuracy, invariance)

__all__ = ["FAMILIES", "QUESTIONS"]
