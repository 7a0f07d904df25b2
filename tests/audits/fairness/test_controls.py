"""Controls that questions of fairness share: random weights on two scales, the embedding alone, random sites."""

import numpy as np
import pytest
from scipy import stats

import mechcausal as mc
from mechcausal import audit
from mechcausal.address import Place
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.controls import (
    beyond_zero,
    cluster_problem,
    detectable,
    drawn_places,
    embedding_alone,
    halves,
    others_like,
    redrawn_effect,
    unclear,
)  # fmt: skip
from mechcausal.models.abilities import abilities
from mechcausal.results.redraws import bound


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.contrast("hiring/gender", hiring, n=40)


def desk_of(model, pairs, networks=4):
    plan = audit.Plan([audit.Flips(pairs)], networks=networks)
    return plan.desk(plan.questions[0], model, {"data_1": pairs}, quiet=True)


def test_a_draw_around_zero_is_judged_as_a_link_judges_it():
    drawn = np.random.default_rng(0).normal(size=16)
    edge = bound(drawn, 0.01)  # of two scales, two-sided: 0.005 each
    assert beyond_zero(edge, drawn) == pytest.approx(0.005)
    assert beyond_zero(-edge, drawn) == pytest.approx(0.005)
    assert beyond_zero(0.0, np.zeros(4)) == 1.0
    assert np.isnan(beyond_zero(1.0, np.array([np.nan, 1.0])))


@pytest.mark.slow
def test_a_trained_network_is_beyond_redrawn_ones_and_they_are_not(hiring, applicants):
    desk = desk_of(hiring, applicants, networks=8)
    before = desk.both(applicants)
    control = redrawn_effect(desk, applicants, *before)
    assert control.holds
    assert control.guards
    assert control.p < 0.01
    nothing = redrawn_effect(desk, applicants, before[1] * 1.001, before[1])
    assert nothing.p > 0.05
    sizes = redrawn_effect(desk, applicants, *before, by_size=True)
    assert sizes.p < 0.05
    again = desk_of(hiring, applicants).both(applicants)
    np.testing.assert_array_equal(before, again)  # the weights are what they were


def test_one_of_twenty_networks_that_have_learned_nothing_is_beyond_the_others():
    """Draws of a number around zero, of sizes of such numbers: about 5 % of them are beyond 16 others."""
    random, beyond = np.random.default_rng(0), {"signed": 0, "mean size": 0}
    for _ in range(1000):
        draws = random.normal(size=(17, 8)) * random.normal(1, 0.3, size=(17, 1))
        for name, values in (("signed", draws[:, 0]), ("mean size", np.abs(draws).mean(1))):
            beyond[name] += beyond_zero(values[0], values[1:]) <= 0.05
    assert 0.03 <= beyond["signed"] / 1000 <= 0.08
    assert beyond["mean size"] / 1000 <= 0.05


def test_without_networks_there_is_no_such_control(hiring, applicants):
    desk = desk_of(hiring, applicants, networks=0)
    assert redrawn_effect(desk, applicants, *desk.both(applicants)).estimate is None


def test_the_embedding_alone_reaches_the_answer_only_from_the_last_word(hiring, by_hand, applicants):
    far = embedding_alone(desk_of(hiring, applicants), applicants)
    assert far.estimate.value == 0.0
    assert far.holds
    pairs = mc.Contrast.from_text(
        by_hand, ["he high"] * 2 + ["she low"], ["he low"] * 2 + ["she high"], answer="yes", foil="no"
    )
    near = embedding_alone(desk_of(by_hand, pairs), pairs)
    assert near.estimate.value == pytest.approx(0.0, abs=1e-6)  # its embedding is read by heads alone
    assert near.says.startswith("the embedding alone")


def test_sites_of_the_same_kind(hiring, applicants):
    able = abilities(hiring)
    head, neuron, layer = (Place.parse(text).site for text in ("L1.z.H2", "L2.mlp_post.N3", "L1.mlp_out"))
    heads = others_like(head, able, hiring)
    assert len(heads) == able.shape.n_layers * able.shape.n_heads - 1
    assert head not in heads
    assert {site.layer for site in others_like(neuron, able, hiring)} == {2}
    assert len(others_like(layer, able, hiring)) == able.shape.n_layers - 1
    drawn = drawn_places(desk_of(hiring, applicants), (Place.parse("L1.z.H1"), Place.parse("L1.z.H2")), 3)
    assert len(drawn) == 3
    for places in drawn:
        assert len({place.site for place in places}) == 2
        assert not {place.site for place in places} & {Place.parse("L1.z.H1").site, Place.parse("L1.z.H2").site}
    whole = tuple(Place(site) for site in (*heads, head))
    assert drawn_places(desk_of(hiring, applicants), whole, 1) == []
    line = Place.parse({"site": "L1.resid_post", "basis": [[1.0] + [0.0] * 47]})
    other = drawn_places(desk_of(hiring, applicants), (line,), 1)[0][0]
    assert other.site == line.site
    assert other.basis != line.basis


def test_halves_share_no_text_and_few_clusters_have_none(hiring, by_hand, applicants):
    first, second = halves(desk_of(hiring, applicants), applicants)
    assert sorted([*first, *second]) == list(range(len(applicants)))
    few = mc.contrast("by_hand/gender", by_hand, n=8)
    assert halves(desk_of(by_hand, few), few) is None


def test_what_can_be_judged_and_what_would_have_been_found(hiring, applicants):
    values = np.random.default_rng(0).normal(0, 1, 30)
    assert "includes 0" in unclear(Estimate.mean(values - values.mean()))
    assert not unclear(Estimate.mean(values + 5))
    estimate = Estimate.mean(values)
    expected = estimate.error * (stats.t.ppf(0.975, 29) + stats.t.ppf(0.8, 29))
    assert detectable(estimate) == pytest.approx(expected)
    assert np.isnan(detectable(Estimate.exact(1.0)))
    assert not cluster_problem(applicants)
