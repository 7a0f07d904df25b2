"""Attributions of known worth: the heads of organism:hiring that carry gender are two, and random rankings miss them."""

from __future__ import annotations

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.explaining.rationale import _sides
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of


@pytest.fixture(scope="module")
def hiring():
    return mc.load("organism:hiring")


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, n=40)


@pytest.mark.slow
def test_the_sites_that_carry_it_are_named_first(hiring, pairs):
    plan = audit.Plan([audit.Rationale(pairs, random=3, at_least=0.5)])
    finding = plan.run(hiring, quiet=True).findings[0]
    assert {row["site"] for row in finding.answer.examples[:2]} == {"L1.z.H1", "L1.z.H2"}
    table = finding.answer.table.set_index(["measure", "sites"])["value"]
    assert table["comprehensiveness", 2] == pytest.approx(1, abs=0.05)  # without both nothing is left
    assert table["sufficiency", 2] == pytest.approx(0, abs=0.05)  # and both alone keep all
    assert finding.status == "pass"
    assert finding.answer.controls[0].holds


def test_it_is_what_patching_the_same_sites_gives(hiring, pairs):
    """Against mc.patch of both heads at once, on the pairs that were judged."""
    desk = audit.Desk(hiring, {"data": pairs}, networks=0, quiet=True)
    answer = audit.Rationale(pairs, measure="sufficiency", shares=(0.125,), random=1).answer(desk)
    from mechcausal.data.splits import split, units

    judged = pairs.take(split(units(pairs), 0.5, seed=[0, 59], fewest=4)[1].tolist())
    swept = mc.patch(hiring, judged, sites=[("L1.z.H1", "L1.z.H2"), tuple(f"L{layer}.z.H{head}" for layer in range(4) for head in range(4))], at="all", direction="noise")  # fmt: skip
    lost = swept.baselines["clean"] - swept.examples
    table = answer.table.set_index(["measure", "sites"])["value"]
    assert table["comprehensiveness", 2] == pytest.approx(lost[0].mean() / lost[1].mean(), abs=1e-6)
    assert answer.estimate.value == pytest.approx(table["sufficiency", 2])


def test_the_two_sides_of_a_ranking():
    assert _sides(["a", "b", "c"], np.array([2, 0, 1]), 2) == (("a", "c"), ("b",))


def test_what_is_wrong_is_said_before_the_run(hiring, pairs):
    with pytest.raises(PlanError, match="half of them rank"):
        audit.Plan([audit.Rationale(pairs.take([0, 1, 2]))]).run(hiring)
    assert "names no shares" in audit.Plan([audit.Rationale(pairs, shares=())]).problems(hiring)[0]
    plan = plan_of(
        {"data": {"x": {"contrast": "hiring/gender"}}, "question": [{"ask": "rationale", "data": "x", "steps": 0}]}
    )
    assert plan.questions[0].steps == 0
