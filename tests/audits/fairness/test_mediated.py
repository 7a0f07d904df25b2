"""The runs behind mediation: the same as the method's own, surviving, and on two scales."""

import json

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.address import Place
from mechcausal.audits.fairness.mediated import incomplete, mediated, ratio_effects
from mechcausal.audits.journal import Rows
from mechcausal.causal.mediation.mediators import Mediator


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.contrast("hiring/gender", hiring, n=24)


def desk_of(model, pairs, **fields):
    plan = audit.Plan([audit.Flips(pairs)], networks=0)
    return plan.desk(plan.questions[0], model, {"data_1": pairs}, quiet=True, **fields)


def test_they_are_those_of_the_method(hiring, applicants):
    measured = mediated(desk_of(hiring, applicants), applicants, "L1.z.H*", None, "heads")
    expected = mc.causal.mediate(hiring, applicants, "L1.z.H*")
    for name, values in expected.parts.items():
        np.testing.assert_allclose(measured.effects[name], values, atol=1e-12)
    rows = measured.rows()
    assert [row["mediator"] for row in rows] == expected.frame["mediator"].tolist()
    for name in ("nde", "nde_low", "nie_total_high", "proportion"):
        np.testing.assert_allclose([row[name] for row in rows], expected.frame[name], rtol=1e-9)
    for name, values in measured.tested(0).items():
        np.testing.assert_allclose(values, expected.frame[name], rtol=1e-9)


def test_what_was_measured_is_not_measured_again(hiring, applicants, monkeypatch, tmp_path):
    path = tmp_path / "rows.jsonl"
    first = mediated(desk_of(hiring, applicants, rows=Rows.at(path)), applicants, "L1.z.H*", None, "heads")
    monkeypatch.setattr("mechcausal.audits.fairness.mediated.mediate", None)
    again = mediated(desk_of(hiring, applicants, rows=Rows.at(path)), applicants, "L1.z.H*", None, "heads")
    np.testing.assert_array_equal(first.through, again.through)
    assert json.dumps(first.rows()) == json.dumps(again.rows())


def test_on_the_scale_of_odds_by_their_definitions():
    odds = np.random.default_rng(0).uniform(0.1, 5, size=(4, 6))
    high, low, through, past = np.log(odds)
    effects = ratio_effects(high, low, through[None], past[None])
    np.testing.assert_allclose(effects["te"][0], odds[0] / odds[1] - 1)
    np.testing.assert_allclose(effects["nie_pure"][0], odds[2] / odds[1] - 1)
    np.testing.assert_allclose(effects["nde"][0], odds[3] / odds[1] - 1)
    np.testing.assert_allclose(effects["te"], effects["nde"] + effects["nie_pure"] + effects["interaction"])


def test_what_a_dictionary_leaves_out(hiring, applicants):
    directions = {"first": np.eye(48)[0], "second": np.eye(48)[1]}
    site = mc.features.directions(hiring, "L1.resid_post", directions, name="two").feature(0)
    desk = desk_of(hiring, applicants)
    (left_out,) = incomplete(desk, applicants, [Mediator("first", (Place(site),))], "log_odds")
    both = mc.causal.mediate(hiring, applicants, {"error": "L1.resid_post.sae:two.error", "whole": "L1.resid_post"})
    expected = both.frame["nie_total"][0] / both.frame["nie_total"][1]
    assert left_out.share.value == pytest.approx(expected, rel=1e-6)
    assert left_out.carries_much
    assert f"{expected:.0%}" in left_out.says
    assert incomplete(desk, applicants, [Mediator("head", (Place.parse("L1.z.H1"),))], "log_odds") == []
