"""Ceilings, baselines and counterparts in other dictionaries."""

from __future__ import annotations

import linear
import numpy as np
import planted
import pytest
import torch
from random_dictionaries import Rectified, Turned
from scipy.spatial.transform import Rotation

import mechcausal as mc
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.links.ceilings import DELETION, ERASER, ERROR, FEATURES, MEANS, WHOLE, leace
from mechcausal.links.stability import cosines, matched
from mechcausal.metrics import metric
from mechcausal.models.binding import attach
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.hooked import forward

pytestmark = pytest.mark.slow  # one long measurement that all tests here read


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    network = linear.load(tmp_path_factory.mktemp("linear"))
    pairs = planted.pairs(network)
    sides = (pairs.clean, pairs.corrupt)
    x = torch.cat([forward(network, side, read=[planted.SITE]).read[planted.SITE][:, -1] for side in sides])
    own, other = (attach(network, planted.Split(x, seed), planted.SITE, name=f"seed{seed}") for seed in (0, 1))
    return own, other, mc.link(network, pairs, own, "high", others=[other], redrawn=0, random=2, details=200)


def test_whole_activations_features_and_error(study):
    rows = study[2].ceilings.set_index("what")["share"]
    assert rows[[WHOLE, FEATURES, ERROR]].tolist() == pytest.approx([1, 1, 0], abs=1e-5)
    assert rows[ERASER] > 0.8
    assert rows[MEANS] > 0.5
    assert np.isfinite(rows[DELETION])
    assert study[2].tables["complete"][0]["error"] == pytest.approx(0, abs=1e-5)


def test_planted_features_are_found_again_and_used_again(study):
    own, other, links = study
    rows = links.frame.set_index("feature")
    for number in own.dictionary.used:
        assert rows.loc[number, "matched_cosine"] == pytest.approx(1, abs=1e-5)
        assert rows.loc[number, ["matched_in", "matched_used"]].tolist() == [1, 1]
    for number in own.dictionary.idle:
        assert rows.loc[number, "matched_cosine"] == pytest.approx(1, abs=1e-5)
        assert rows.loc[number, "matched_used"] == 0
    assert links.provenance.arguments["others"] == [other.name]


@pytest.mark.parametrize("kind", ["heads", "transcoder"])
def test_dictionaries_of_heads_and_transcoders(hiring, kind):
    pairs = mc.contrast("hiring/gender", hiring, 48)
    if kind == "heads":
        own = attach(hiring, Turned(48), "L1.z", name="turned")
    else:
        own = attach(hiring, Rectified(48, n=64), "L2.resid_mid", name="coder", site_out="L2.mlp_out")
    links = mc.link(hiring, pairs, own, "gender", redrawn=0, details=3, random=3)
    rows = links.ceilings.set_index("what")["share"]
    # Features and the error make up the whole, whatever the dictionary.
    assert rows[WHOLE] == pytest.approx(1, abs=0.1)
    sites = [own.features, own.error]
    both = Plan(pairs.clean, [tuple(Edit(site, Patch()) for site in sites)], metric("logit_diff"), rows=pairs.corrupt)
    whole = Plan(pairs.clean, [(Edit(own.written, Patch()),)], metric("logit_diff"), rows=pairs.corrupt)
    changed, all_of_it = (evaluate(hiring, plan, batch_size=64).values[0] for plan in (both, whole))
    assert changed == pytest.approx(all_of_it, abs=1e-3)
    incomplete = links.tables["complete"][0]["error"] > 0.2
    assert incomplete == (kind == "transcoder")  # with random weights it reconstructs nothing
    assert (links.frame["verdict"] == "sae-incomplete").all() == incomplete
    assert (MEANS in rows.index) == (kind == "transcoder")


def test_matching_finds_a_permutation():
    draw = np.random.default_rng(0)
    one = draw.normal(size=(12, 20))
    order = draw.permutation(15)
    other = np.concatenate([one + 0.05 * draw.normal(size=one.shape), draw.normal(size=(3, 20))])[order]
    partner, cosine = matched(one, other)
    assert order[partner].tolist() == list(range(12))
    assert (cosine > 0.98).all()
    partner, cosine = matched(other, one)
    assert (partner == -1).sum() == 3
    assert np.isnan(cosine).sum() == 3


def test_matching_is_one_to_one_where_the_nearest_is_not():
    angle = [Rotation.from_euler("z", degrees, degrees=True).apply([1, 0, 0]) for degrees in (0, 10, 12, 40)]
    partner, _ = matched(np.array([angle[0], angle[1]]), np.array([angle[2], angle[3]]))
    assert sorted(partner) == [0, 1]
    assert partner.tolist() == [0, 1]  # cos 12 + cos 30 is more than cos 2 + cos 40
    assert cosines(np.zeros((1, 3)), np.ones((1, 3))).tolist() == [[0]]


def test_the_eraser_is_that_of_concept_erasure():
    concept_erasure = pytest.importorskip("concept_erasure")
    draw = np.random.default_rng(1)
    z = draw.integers(0, 2, 400)
    x = draw.normal(size=(400, 6)) @ draw.normal(size=(6, 8)) + z[:, None] * draw.normal(size=8)
    mine = leace(x, z)
    tensor = torch.as_tensor(x)
    fitter = concept_erasure.LeaceFitter(8, 1, dtype=torch.float64, shrinkage=False, svd_tol=1e-6)
    other = fitter.update(tensor, torch.as_tensor(z)[:, None].double()).eraser.P
    own = torch.eye(8, dtype=torch.float64) - torch.tensor(mine.left).T.double() @ torch.tensor(mine.right).double()
    centred = tensor - tensor.mean(0)
    assert torch.allclose(centred @ own.T, centred @ other.T, atol=1e-6)


def test_what_the_eraser_leaves_has_equal_means():
    draw = np.random.default_rng(2)
    z = draw.random(300) < 0.3
    x = draw.normal(size=(300, 5)) + 2 * z[:, None] * np.array([1, 0.5, 0, 0, -1])
    edit = leace(x, z)
    left, right, bias = (np.array(part) for part in (edit.left, edit.right, edit.bias))
    erased = x - (x - bias) @ right.T @ left
    assert erased[z].mean(0) == pytest.approx(erased[~z].mean(0), abs=1e-9)
    assert (erased - x).std() < x.std()
