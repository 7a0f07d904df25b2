"""Path-specific effects of an audit: the by-hand network in closed form, other heads, choices, wrong input."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.reading import plan_of
from mechcausal.errors import ArgumentError

DIRECT, JOINT = "L0.z.H0@end -> logits", "L0.z.H0@end -> L1.mlp_out@end -> logits"


@pytest.fixture(scope="module")
def pairs(by_hand):
    return mc.contrast("by_hand/gender", by_hand, n=16)


def asked(question, model, networks=4):
    return audit.Plan([question], networks=networks).run(model, quiet=True)["FAIR-1"]


def test_the_paths_of_the_network_by_hand(by_hand, pairs):
    """E1: past the neuron 2.6, through it 0.9 where the level is high, so half of it on average."""
    high = np.mean([group == "high" for group in pairs.clean.groups])
    question = audit.PathEffect(
        pairs, unfair={"direct": [DIRECT]}, fair={"joint": [JOINT]}, at_most=0.5, declared_by="the board"
    )
    finding = asked(question, by_hand, networks=8)
    table = finding.answer.table.set_index("paths")
    total = 2.6 + 0.9 * high
    assert table["effect"]["direct"] == pytest.approx(2.6, abs=1e-5)
    assert table["effect"]["joint"] == pytest.approx(0.9 * high, abs=1e-5)
    assert table["effect"]["total effect"] == pytest.approx(total, abs=1e-5)
    assert table["effect"]["rest: neither fair nor unfair"] == pytest.approx(0.0, abs=1e-5)
    assert finding.estimate.value == pytest.approx(2.6 / total, abs=1e-5)
    assert finding.status == "fail"
    assert any("the board" in sentence and DIRECT in sentence for sentence in finding.assumptions)
    rows = finding.answer.examples
    unfair = [row["all unfair paths"] for row in rows]
    assert unfair == pytest.approx([2.6] * 16, abs=1e-5)
    assert np.mean([row["total_effect"] for row in rows]) == pytest.approx(total, abs=1e-5)
    assert {row["clean"] for row in rows} == set(pairs.clean.texts)
    placebo = finding.answer.controls[0]
    assert placebo.estimate.value == pytest.approx(0.0, abs=1e-5)
    assert placebo.holds


def test_a_path_that_carries_nothing_passes(by_hand, pairs):
    finding = asked(audit.PathEffect(pairs, unfair="L0.z.H1@end -> logits", at_most=0.1, judged="effect"), by_hand)
    assert finding.estimate.value == pytest.approx(0.0, abs=1e-5)
    assert finding.status == "pass"


def test_a_share_of_no_effect_is_not_judged(by_hand, pairs):
    """The level's own path carries nothing of the gender where the total effect is unclear."""
    sides = pairs.clean, pairs.corrupt
    n = len(pairs)
    flipped = np.arange(n) % 2 == 0
    texts = [tuple(sides[int(flip) ^ swap].texts[i] for i, flip in enumerate(flipped)) for swap in (0, 1)]
    mixed = mc.Contrast.from_text(by_hand, *texts, answer="yes", foil="no", clusters=[f"unit {i}" for i in range(n)])
    finding = asked(audit.PathEffect(mixed, unfair=["L0.z.H0@-1 -> logits"], at_most=0.1), by_hand)
    assert finding.status == "inconclusive"
    assert "interval of the total effect includes 0" in finding.answer.cannot_fail


def test_a_network_with_random_weights_does_not_fail(by_hand, pairs):
    empty = mc.causal.untrained(by_hand, seed=3)
    question = audit.PathEffect(pairs, unfair=[DIRECT], judged="effect", at_most=0.01, at_least=-0.01)
    assert audit.Plan([question], networks=8, seed=100).run(empty, quiet=True)["FAIR-1"].status != "fail"


def test_what_is_wrong_is_said():
    with pytest.raises(ArgumentError, match="no path is declared"):
        audit.PathEffect("p", unfair=[])
    with pytest.raises(ArgumentError, match="called 'a'"):
        audit.PathEffect("p", unfair={"a": [DIRECT]}, fair={"a": [JOINT]})

    for wrong in (1.5, object(), ()):
        with pytest.raises(ArgumentError):
            audit.PathEffect("p", unfair=wrong)


def test_a_plan_with_it_is_written_and_read_back():
    table = {"ask": "path_effect", "data": "x", "unfair": {"direct": [DIRECT]}, "fair": [JOINT], "declared_by": "me"}
    plan = plan_of({"data": {"x": {"contrast": "by_hand/gender"}}, "question": [table]})
    assert plan_of(plan.to_json()).questions == plan.questions
