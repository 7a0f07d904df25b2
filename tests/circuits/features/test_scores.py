"""Scores of nodes and edges share out exact effects, position by position."""

import numpy as np
import pytest
from random_dictionaries import Rectified, TopK, Turned
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import ALL, Place, Selection
from mechcausal.circuits.features.kept import in_turn
from mechcausal.circuits.features.scores import OUTPUT, Scorer
from mechcausal.errors import SiteError
from mechcausal.interventions import Edit, Patch
from mechcausal.metrics import metric
from mechcausal.models.hooked import forward


def scorer(model, *known, steps=1, at=(ALL,)):
    return Scorer(model, in_turn(model, known), metric("logit_diff"), at, steps, 64)


def value(model, base, edits=(), sources=()):
    return metric("logit_diff")(forward(model, base, list(edits), sources=list(sources)).logits, base)


def all_nodes(*known, at=ALL):
    features = [Place(one.feature(number), at) for one in known for number in range(one.n_features)]
    return [*features, *(Place(one.error, at) for one in known)]


@pytest.mark.parametrize("site", ["L0.resid_post", "L1.attn_out", "L1.mlp_out", "L1.resid_mid"])
def test_the_nodes_of_a_dictionary_sum_to_the_exact_effect_of_its_activation(site, bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 4)
    known = bind(model, TopK(32), site, "d")
    job = scorer(model, known, steps=24)
    scores = job.nodes(pairs)
    total = scores["d"].sum()
    exact = mc.patch(model, pairs, sites=site, at="all", direction="noise").frame["change"][0]
    assert job.effects["d"] == pytest.approx(exact, abs=1e-5)
    rough = scorer(model, known, steps=1).nodes(pairs)["d"].sum()
    assert abs(total - exact) < max(0.05 * abs(rough - exact), 2e-3)
    assert job.coverage(scores)[0]["sum"] == pytest.approx(total)


def test_positions_are_told_apart(bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 4)
    known = bind(model, Turned(32), "L0.resid_post", "d")
    at = (Selection.parse("@1"), Selection.parse("@3"))
    job = scorer(model, known, steps=24, at=at)
    scores = job.nodes(pairs)["d"]
    assert scores.shape == (2, 33)
    source = forward(model, pairs.corrupt, read=[known.site]).read[known.site]
    both = [Edit(known.site, Patch(), place) for place in at]
    exact = (value(model, pairs.clean, both, [source, source]) - value(model, pairs.clean)).mean()
    assert scores.sum() == pytest.approx(float(exact), abs=5e-3)
    with pytest.raises(SiteError, match="overlap"):
        scorer(model, known, at=(ALL, Selection.parse("@-1"))).nodes(pairs)


@pytest.mark.slow
def test_into_each_node_come_edges_that_sum_to_its_score(bind):
    """Between two layers of the stream nothing else comes in, so the edges share out all that the receiver does."""
    model, pairs = loaded("gpt2"), make_pairs((7,) * 4)
    early = bind(model, Rectified(32, n=12, seed=1, bias=2.0), "L0.resid_post", "early")
    late = bind(model, Rectified(32, n=12, seed=2, bias=2.0), "L1.resid_post", "late")
    job = scorer(model, early, late, steps=32)
    scores = job.nodes(pairs)["late"][0]
    edges = job.edges(pairs, all_nodes(early, late))
    for number in range(13):
        node = Place(late.error if number == 12 else late.feature(number))
        total = sum(score for (_, receiver), score in edges.items() if receiver == node)
        assert total == pytest.approx(scores[number], abs=0.02 * np.abs(scores).max())
    assert np.abs(scores[:-1]).max() > 0.05
    last = {sender: score for (sender, receiver), score in edges.items() if receiver == OUTPUT}
    for number in range(12):  # behind the last dictionary an edge is all that its node does
        assert last.get(Place(late.feature(number)), 0.0) == pytest.approx(scores[number], abs=1e-5)
