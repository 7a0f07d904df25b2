"""Controlled direct effects of an audit: the by-hand network in closed form, what flat curves say, wrong input."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.reading import plan_of
from mechcausal.errors import ArgumentError

LEVEL = {"site": "L0.z.H2", "at": "end", "basis": [[1.0, 0, 0]]}  # the head's first entry is the level, -1 or 1


@pytest.fixture(scope="module")
def pairs(by_hand):
    return mc.contrast("by_hand/gender", by_hand, n=16)


def asked(question, model, networks=4):
    return audit.Plan([question], networks=networks).run(model, quiet=True)["FAIR-1"]


def test_the_curve_of_the_network_by_hand(by_hand, pairs):
    """E1: CDE(m) = 2.6 + 0.9 relu(m) with the level held at m."""
    levels = [-1.0, 0.0, 0.5, 1.0]
    finding = asked(audit.ControlledEffect(pairs, mediator=LEVEL, values=levels), by_hand)
    truth = 2.6 + 0.9 * np.maximum(levels, 0)
    table = finding.answer.table
    assert len(finding.answer.examples) == 16
    held = [row["effect_while_held"] for row in finding.answer.examples]
    assert held == pytest.approx([truth.mean()] * 16, abs=1e-5)
    np.testing.assert_allclose(table["effect"], truth, atol=1e-5)
    assert finding.estimate.value == pytest.approx(truth.mean(), abs=1e-5)
    assert finding.answer.figures[0].series[0].points[0][:2] == pytest.approx((-1.0, 2.6), abs=1e-5)
    at_high = asked(
        audit.ControlledEffect(pairs, mediator=LEVEL, values=levels, judged=3, at_most=3.0), by_hand, networks=8
    )
    assert at_high.estimate.value == pytest.approx(3.5, abs=1e-5)


def test_what_carries_everything_leaves_nothing_and_a_placebo_takes_nothing(by_hand, pairs):
    held = asked(audit.ControlledEffect(pairs, mediator="L0.z.H0@end", points=3, at_most=0.1, at_least=-0.1), by_hand)
    assert held.estimate.value == pytest.approx(0.0, abs=1e-5)
    assert held.status == "pass"
    placebo = asked(audit.ControlledEffect(pairs, mediator="L0.z.H1@end", points=3), by_hand)
    high = np.mean([group == "high" for group in pairs.clean.groups])
    assert placebo.estimate.value == pytest.approx(2.6 + 0.9 * high, abs=1e-5)
    assert [control.kind for control in placebo.answer.controls] == ["random", "no-learning", "trivial-input"]


def test_a_network_with_random_weights_does_not_fail(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=24)
    empty = mc.causal.untrained(hiring, seed=3)
    question = audit.ControlledEffect(pairs, mediator="L1.mlp_out", points=2, at_most=0.01, at_least=-0.01)
    report = audit.Plan([question], networks=8, seed=100).run(empty, quiet=True)
    assert report["FAIR-1"].status in ("inconclusive", "pass")


def test_wrong_levels_are_refused():
    with pytest.raises(ArgumentError, match="no such level"):
        audit.ControlledEffect("p", mediator="L0.z.H2", values=[1.0, 2.0], judged=2)
    with pytest.raises(ArgumentError, match="cannot be held"):
        audit.ControlledEffect("p", mediator="L0.z.H2", values="middle")


def test_prompts_are_refused_and_a_plan_is_read_back(by_hand, pairs):
    question = audit.ControlledEffect("p", mediator=LEVEL)
    assert "asked of pairs" in " ".join(question.problems({"data": pairs.clean}))
    table = {"ask": "controlled_effect", "data": "x", "mediator": LEVEL, "values": [0.5, 1.0], "judged": 1}
    plan = plan_of({"data": {"x": {"contrast": "by_hand/gender"}}, "question": [table]})
    assert plan_of(plan.to_json()).questions == plan.questions
