"""Controls that questions of fairness share: the embedding alone, random sites, halves."""

import numpy as np
import pytest
from scipy import stats

import mechcausal as mc
from mechcausal import audit
from mechcausal.address import Place
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.controls import (
    cluster_problem,
    detectable,
    drawn_places,
    embedding_alone,
    halves,
    others_like,
    unclear,
)
from mechcausal.models.abilities import abilities


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.contrast("hiring/gender", hiring, n=40)


def desk_of(model, pairs, networks=4):
    plan = audit.Plan([audit.Flips(pairs)], networks=networks)
    return plan.desk(plan.questions[0], model, {"data_1": pairs}, quiet=True)


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
