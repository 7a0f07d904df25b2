"""A2 and A3: published numbers are recomputed, from what ships and from the files themselves."""

import os
from pathlib import Path

import numpy as np
import pytest

from mechcausal import audit
from mechcausal.audits.selftest import run_checks, stored

RESULTS = Path(os.environ.get("MECHCAUSAL_DATA", "no-such-folder")) / "vig2020" / "results"


@pytest.mark.parametrize("name", ["A2", "A3"])
def test_published_numbers_are_recomputed(name):
    found = list(run_checks([name]))
    assert len(found) == 9
    assert all(check.passed for check in found), [str(check) for check in found if not check.passed]


def test_other_counts_do_not_pass(monkeypatch):
    monkeypatch.setitem(stored.COMPAS, "Caucasian", (1139, 349, 461, 515))
    assert any(not check.passed for check in run_checks(["A3"]))


@pytest.mark.skipif(not RESULTS.is_dir(), reason="MECHCAUSAL_DATA does not name the folder of the public data sets")
def test_what_ships_is_the_file_rounded():
    whole = audit.stored_effects(RESULTS / "winobias_gpt2_unfiltered_dev.json")
    kept = stored.stored_heads()
    np.testing.assert_allclose(kept.nie_by_head, whole.nie_by_head, atol=0.5001e-4)
    np.testing.assert_allclose(kept.te, whole.te, atol=1e-12)


def test_units_have_the_counts():
    true, decided, group = map(np.array, stored.units({"a": (1, 2, 3, 4), "b": (0, 0, 0, 1)}))
    assert (group == "a").sum() == 10
    assert ((true == 0) & (decided == 1)).sum() == 2
    assert ((true == 1) & (decided == 0)).sum() == 3
