"""The self-test of audits: each acceptance check of known truth, measured here and now."""

from __future__ import annotations

from mechcausal.audits.selftest import (
    known_effects,
    observed,
    organisms,
    privacy,
    rewarded,
    running,
    statistics,
    stored,
)
from mechcausal.audits.selftest.checks import GROUPS, NOT_SHIPPED, Check, columns_of, ids, run_checks

THEMES = (known_effects, stored, organisms, observed, privacy, rewarded, statistics, running)
TITLES = {group.id: group.what for group in GROUPS}

__all__ = ["NOT_SHIPPED", "THEMES", "TITLES", "Check", "columns_of", "ids", "run_checks"]
