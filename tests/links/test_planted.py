"""Planted truth: the used direction is causal and the idle one correlate-only, whatever the dictionary's seed."""

from __future__ import annotations

import linear
import numpy as np
import planted
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.causal import untrained
from mechcausal.data.splits import cluster_numbers, split, units
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCOMPLETE, INCONCLUSIVE
from mechcausal.models.binding import attach, detach
from mechcausal.models.hooked import forward
from mechcausal.probes.labels import one_set

QUICK = {"redrawn": 0, "details": 0, "random": 8}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return linear.load(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def contrast(network):
    return planted.pairs(network)


@pytest.fixture(scope="module")
def streams(network, contrast):
    """The stream at the end of both sides, [pair model] each."""
    sides = (contrast.clean, contrast.corrupt)
    return [forward(network, side, read=[planted.SITE]).read[planted.SITE][:, -1] for side in sides]


def rows_of(links, pairs):
    """Return which pairs were estimated on."""
    clusters = [str(i) for i in units(one_set(pairs))[: len(pairs)]]
    return split(cluster_numbers(clusters, len(pairs)), 0.5, links.provenance.seed)[1]


def test_a_used_direction_is_causal_and_an_idle_one_is_not(network, contrast):
    own = mc.features.directions(network, planted.SITE, {"a": planted.A, "e": planted.E0}, name="planted")
    links = mc.link(network, contrast, own, "high")
    assert links.verdict_of("a") == CAUSAL
    assert links.verdict_of("e") == CORRELATE
    rows = links.frame.set_index("candidate")
    assert rows["auc"].tolist() == [1.0, 1.0]  # nothing tells them apart but the effect
    assert rows["share"].tolist() == pytest.approx([1, 0], abs=1e-6)
    # The idle direction does move a readout fitted to the concept: what a probe says is no evidence of use.
    assert rows.loc["e", "on_readout_low"] > 0.1
    assert rows.loc["a", "random_high"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_seed_of_the_dictionary(network, contrast, streams, seed):
    made = planted.Split(torch.cat(streams), seed)
    own = attach(network, made, planted.SITE, name="split")
    links = mc.link(network, contrast, own, "high", seed=seed, **QUICK)
    numbers = links.frame.set_index("feature")
    assert set(numbers.index[numbers["verdict"] == CAUSAL]) >= made.used
    assert {numbers.loc[number, "verdict"] for number in made.idle} == {CORRELATE}
    # Every share is what can be written down for it.
    exact = planted.effects(made, *streams, contrast)
    change = links.examples - links.baselines["base"]
    own_pairs = rows_of(links, contrast)
    for row, number in zip(change, numbers.index, strict=True):
        assert row == pytest.approx(-exact[number][own_pairs], abs=2e-3)
    assert numbers.loc[sorted(made.used), "share"].sum() == pytest.approx(1, abs=1e-5)
    assert links.tables["chosen"]["share"] == pytest.approx(1, abs=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_trained_dictionaries_of_an_organism(hiring, seed):
    pairs = mc.contrast("hiring/gender", hiring, 64)
    site = Site("resid_post", 1)
    x = torch.cat([forward(hiring, side, read=[site]).read[site] for side in (pairs.clean, pairs.corrupt)])
    own = attach(hiring, planted.TopK(x[:, 1:].flatten(0, 1), seed=seed), site, name="trained")
    links = mc.link(hiring, pairs, own, "gender", **QUICK)
    decision = own.encode(x)[:, -1]
    never = (decision == 0).all(0).numpy()  # features that are silent where the decision is read
    rows = links.frame
    silent = rows[never[rows["feature"].astype(int)]]
    # Gender can be read off the pronoun, the name and the hobby long after the heads have taken what is used of it.
    told = silent[silent["available"] == "yes"]
    assert len(told) >= 5
    assert set(told["verdict"]) == {CORRELATE}
    causal = rows[rows["verdict"] == CAUSAL]
    assert 1 <= len(causal) <= 6
    assert links.tables["complete"][0]["error"] < 0.2
    # What they do, they do where the decision is read: elsewhere nobody listens.
    sites = [Site.parse(site) for site in causal["site"]]
    everywhere, before = (
        mc.patch(hiring, pairs, sites=sites, at=at, direction="noise").frame["change"] for at in ("all", "0:7")
    )
    assert (before.abs() < 0.1 * everywhere.abs()).all()


@pytest.mark.slow
def test_an_untrained_model_has_nothing_causal(hiring):
    pairs = mc.contrast("hiring/gender", hiring, 48)
    for seed in range(2):
        model = untrained(hiring, seed + 100)
        links = mc.link(model, pairs, ["L3.z.H*", "L3.resid_post"], "gender", details=0)
        assert set(links.frame["verdict"]) == {INCONCLUSIVE}
        assert "random weights" in links.frame["why"].iloc[0]
        # Without that comparison they would be called causal: all of what little there is goes through the stream.
        bold = mc.link(model, pairs, "L3.resid_post", "gender", **QUICK)
        assert bold.verdict_of("L3.resid_post") == CAUSAL


@pytest.mark.slow
def test_random_directions_pass_for_causal_in_one_of_twenty_cases_at_most(hiring):
    # The stream behind layer 2 holds the score, along which any direction carries some of the effect.
    pairs = mc.contrast("hiring/gender", hiring, 48)
    rates, used = [], 0
    for seed in range(4):
        drawn = np.random.default_rng(100 + seed).normal(size=(40, 48))
        own = mc.features.directions(hiring, "L2.resid_post", drawn, name="drawn")
        links = mc.link(hiring, pairs, own, "gender", redrawn=0, details=0, seed=seed)
        detach(hiring, "drawn")
        used += (links.frame["used"] == "yes").sum()
        rates.append((links.frame["verdict"] == CAUSAL).mean())
    assert used >= 10
    # All directions of a run are compared with the same random ones, so that runs are the unit.
    assert np.mean(rates) <= 0.05 + 2 * np.std(rates, ddof=1) / np.sqrt(4)


@pytest.mark.slow
def test_shuffled_labels_make_nothing_causal(hiring):
    pairs = mc.contrast("hiring/gender", hiring, 64)
    draw = np.random.default_rng(0)
    shuffles = {
        f"shuffle {i}": np.concatenate([side, 1 - side]) for i in range(5) for side in [draw.integers(0, 2, 64)]
    }
    links = mc.link(hiring, pairs, "z", shuffles, at="@decision", **QUICK)
    assert not (links.frame["verdict"] == CAUSAL).any()
    assert (links.frame.loc[links.frame["available"] == "yes"]).empty
    used = links.frame[links.frame["used"] == "yes"]
    assert set(used["candidate"]) == {"L1.z.H1", "L1.z.H2"}


def test_a_dictionary_that_leaves_out_what_is_used_is_not_judged(network, contrast, streams):
    made = planted.Split(torch.cat(streams))
    keep = [i for i in range(96) if i not in made.used]
    made.W_dec = made.W_dec[keep]
    own = attach(network, made, planted.SITE, name="partial")
    links = mc.link(network, contrast, own, "high", **QUICK)
    assert set(links.frame["verdict"]) == {INCOMPLETE}
    assert "not judged: 100% of what goes through this place is in the error" in links.summary()
    assert "trained on text like that of these pairs" in links.summary()
    assert links.tables["complete"][0]["error"] == pytest.approx(1, abs=1e-4)
    detach(network, "partial")


def test_of_many_features_the_likely_and_some_at_random_are_measured(network, contrast, streams):
    made = planted.Split(torch.cat(streams), 3)
    own = attach(network, made, planted.SITE, name="many")
    links = mc.link(network, contrast, own, "high", most=20, **QUICK)
    family = links.tables["family"]
    alive = family["of"]
    assert alive > 60
    assert {name: family[name] for name in ("measured", "by gradient", "by association", "by random", "effects")} == {
        "measured": 20, "by gradient": 12, "by association": 4, "by random": 4, "effects": 20,
    }  # fmt: skip
    assert family["associations"] == 2 * alive  # all were tested, and all are corrected for
    everything = mc.link(network, contrast, own, "high", **QUICK).frame.set_index("feature")
    some = links.frame.set_index("feature")
    same = ["auc", "auc_q", "share"]
    assert np.allclose(everything.loc[some.index, same].astype(float), some[same].astype(float))
    # The network is linear, so that the gradient puts first what does most on the half that was chosen by.
    largest = everything["share_other_half"].abs().sort_values(ascending=False).index[:12]
    assert set(largest) <= set(some.index)
    assert made.used <= set(some.index)
