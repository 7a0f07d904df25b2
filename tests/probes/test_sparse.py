import numpy as np
import pytest
import torch
from saved import assert_kept

import mechcausal as mc
from mechcausal.errors import ArgumentError
from mechcausal.features import attach, detach, probe, sparse_probes


class Turned:
    """A dictionary whose features are the coordinates in a basis that begins with a given direction."""

    def __init__(self, first, rest=1.0):
        basis = torch.eye(len(first))
        basis[0] = first / first.norm()
        q, r = torch.linalg.qr(basis.T)
        self.W_dec = (q * r.diagonal().sign()).T
        self.keep = rest

    def encode(self, x):
        f = x @ self.W_dec.T
        return torch.cat([f[..., :1], self.keep * f[..., 1:]], dim=-1)

    def decode(self, f):
        return f @ self.W_dec


@pytest.fixture
def prompts(hiring):
    return mc.task("hiring").prompts(hiring, 300)


@pytest.mark.slow
def test_a_feature_that_is_the_concept_is_enough(hiring, prompts, tmp_path):
    dense = probe(hiring, prompts, "gender", "L2.resid_post", at="@decision", control=False, mdl=False)
    attach(hiring, Turned(dense.direction.float()), "L2.resid_post", name="turned")
    try:
        found = sparse_probes(hiring, prompts, "gender", "L2.resid_post.sae:turned", at="@decision", ks=(1, 3, 100))
    finally:
        detach(hiring, "turned")
    told = found.frame.set_index("role")
    assert list(told["reads"]) == [1, 3, 48, 48, 48]
    assert told.loc["1 sparse", "value"] > 0.97
    # All coordinates of a turned basis are all coordinates.
    assert told.loc["48 sparse", "value"] == pytest.approx(told["value"].iloc[-1], abs=0.03)
    assert told["site"].tolist()[-2:] == ["L2.resid_post.sae:turned", "L2.resid_post"]
    picture = found.plot().still
    for word in ("coordinates read", "dense, L2.resid_post", "guessing"):
        assert word in picture
    assert "1 of L2.resid_post.sae:turned" in repr(found)
    assert found.plot("value").still
    assert_kept(found, tmp_path / "sparse.parquet")
    assert "<svg" in found._repr_html_()


def test_what_a_dictionary_lost_is_seen_beside_the_activation(hiring, prompts):
    attach(hiring, Turned(torch.ones(48), rest=0.0), "L2.resid_post", name="poor")
    try:
        found = sparse_probes(hiring, prompts, "degree", "L2.resid_post.sae:poor", at="@decision", ks=(1,)).frame
    finally:
        detach(hiring, "poor")
    assert found["value"].iloc[-1] > found["value"].iloc[-2] + 0.2


def test_a_concept_that_is_spread_rises_slowly(hiring, prompts):
    found = sparse_probes(hiring, prompts, "gender", "L2.resid_post", at="@decision", ks=(1, 16)).frame
    assert found["value"].iloc[0] < found["value"].iloc[1] <= found["value"].iloc[2] + 0.02
    assert np.isnan(found["bayes"]).all()
    with pytest.raises(ArgumentError, match="whole number of at least 1"):
        sparse_probes(hiring, prompts, "gender", "L2.resid_post", ks=(0,))
