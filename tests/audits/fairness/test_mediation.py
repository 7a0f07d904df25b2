"""Mediation of an audit: the by-hand network in closed form, planted heads, nothing to find, wrong input."""

import numpy as np
import pandas as pd
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.reading import plan_of


@pytest.fixture(scope="module")
def pairs(by_hand):
    return mc.contrast("by_hand/gender", by_hand, n=16)


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.contrast("hiring/gender", hiring, n=48)


def shares(pairs):
    """Return the share of pairs at the high level."""
    return np.mean([group == "high" for group in pairs.clean.groups])


def asked(question, model, networks=4):
    return audit.Plan([question], networks=networks).run(model, quiet=True)["FAIR-1"]


def test_the_effects_of_the_network_by_hand(by_hand, pairs):
    finding = asked(audit.Mediation(pairs, mediators=["z", "mlp_out"], at="end"), by_hand)
    high = shares(pairs)
    total = 2.6 + 0.9 * high  # he against she: 2.6 for low, 3.5 for high
    assert finding.estimate.value == pytest.approx(total, abs=1e-5)
    table = finding.answer.table.set_index("mediator")
    carrier, neuron, placebo = (table.loc[name] for name in ("L0.z.H0@end", "L1.mlp_out@end", "L0.z.H1@end"))
    for name, value in {"te": total, "nde": 0.0, "nie_pure": total, "nie_total": total, "interaction": 0.0}.items():
        assert carrier[name] == pytest.approx(value, abs=1e-5)
    for name, value in {"te": total, "nde": 2.6, "nie_pure": 0.9 * high, "interaction": 0.0}.items():
        assert neuron[name] == pytest.approx(value, abs=1e-5)
    assert placebo["nie_total"] == pytest.approx(0.0, abs=1e-5)
    assert placebo["adjusted"] == 1.0
    assert finding.answer.n_tests == len(table)
    assert finding.scale == "log-odds"


def test_on_the_scale_of_odds_the_parts_of_the_network_by_hand(by_hand, pairs):
    """E1: the odds do not add up although the log-odds do."""
    finding = asked(audit.Mediation(pairs, mediators=["mlp_out"], at="end", units="odds_ratio"), by_hand)
    high = shares(pairs)
    row = finding.answer.table.set_index("mediator").loc["L1.mlp_out@end"]
    total = (1 - high) * np.expm1(2.6) + high * np.expm1(3.5)
    assert finding.estimate.value == pytest.approx(total, rel=1e-5)
    assert row["nie_pure"] == pytest.approx(high * np.expm1(0.9), rel=1e-5)
    assert row["nde"] == pytest.approx(np.expm1(2.6), rel=1e-5)
    assert row["interaction"] == pytest.approx(total - row["nde"] - row["nie_pure"], rel=1e-5)


def test_planted_heads_carry_the_effect_and_are_found_on_one_half(hiring, applicants):
    carriers = ["L1.z.H1", "L1.z.H2"]
    finding = asked(audit.Mediation(applicants, through=carriers, at_most=0.5, units="log_odds"), hiring, networks=8)
    assert finding.status == "fail"
    clean, corrupt = (np.asarray(finding.examples()[f"{side}_log_odds"]) for side in ("clean", "corrupt"))
    patched = mc.causal.mediate(hiring, applicants, {"both": carriers})
    indirect = clean - patched.baselines["reversed"][0]
    assert finding.estimate.value == pytest.approx(indirect.mean() / (clean - corrupt).mean(), rel=1e-5)
    assert finding.answer.controls[0].holds  # random heads carry less
    plain = asked(audit.Mediation(applicants), hiring)
    assert "L1.z.H" in plain.answer.says.split("chosen on one half")[0]
    assert plain.answer.controls[0].holds
    assert plain.answer.smallest_detectable < plain.estimate.value
    assert finding.answer.controls[2].estimate.value == 0.0


def test_a_dictionary_whose_error_carries_much_is_marked(hiring, applicants):
    few = applicants.take(slice(0, 24))
    rows = np.random.default_rng(0).normal(size=(3, 48))
    mc.features.directions(hiring, "L1.resid_post", rows, name="bad")
    finding = asked(
        audit.Mediation(few, mediators="L1.resid_post.sae:bad.F*", through="L1.resid_post.sae:bad.F0", at_most=0.9),
        hiring,
    )
    assert "sae-incomplete" in finding.answer.marks
    assert finding.status == "inconclusive"
    assert "fifth" in finding.answer.cannot_fail
    assert {"error of bad", "L1.resid_post as a whole"} <= {*finding.answer.table["mediator"]}
    mc.features.directions(hiring, "L1.resid_post", np.eye(48), name="good")
    finding = asked(audit.Mediation(few, mediators="L1.resid_post.sae:good.F0"), hiring)
    assert not finding.answer.marks


def test_a_network_with_random_weights_does_not_fail(hiring, applicants):
    empty = mc.causal.untrained(hiring, seed=3)
    questions = [audit.Mediation(applicants, mediators="L1.z.H0", at_most=0.01, at_least=-0.01)]
    report = audit.Plan(questions, networks=8, seed=100).run(empty, quiet=True)
    assert report["FAIR-1"].status != "fail"


def test_what_is_wrong_is_said_before_anything_is_run(hiring, applicants):
    question = audit.Mediation("p")
    bare = mc.Contrast.from_text(hiring, applicants.clean.texts[:4], applicants.corrupt.texts[:4])
    assert "needs the answer" in " ".join(audit.Plan([audit.Mediation(bare)]).problems(hiring))
    lonely = mc.Contrast.from_text(
        hiring, applicants.clean.texts[:4], applicants.corrupt.texts[:4], answer="accept", foil="reject",
        clusters=["one"] * 4,
    )  # fmt: skip
    assert "one cluster" in " ".join(question.problems({"data": lonely}))
    (problem,) = audit.Plan([audit.Mediation(applicants, mediators="L9.z")]).problems(hiring)
    assert problem.startswith("FAIR-1 (mediation): L9.z is not in this model")


def test_a_plan_with_it_is_written_and_read_back():
    table = {"ask": "mediation", "data": "x", "mediators": ["z", "mlp_out"], "through": ["L1.z.H1"], "correction": "bh"}
    plan = plan_of({"data": {"x": {"contrast": "hiring/gender"}}, "question": [table]})
    assert plan_of(plan.to_json()).questions == plan.questions


def test_with_few_clusters_no_mediator_is_chosen(by_hand, pairs):
    finding = asked(audit.Mediation(pairs), by_hand)
    assert any("too few clusters" in limit for limit in finding.limits)
    assert isinstance(finding.answer.table, pd.DataFrame)
    assert finding.answer.controls[0].estimate is None
