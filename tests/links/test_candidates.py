"""Candidates: which sites a caller may name, and which numbers of an activation are theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.errors import SiteError
from mechcausal.links.candidates import Candidate, Directions, candidates_of, named
from mechcausal.models.abilities import abilities
from mechcausal.models.binding import detach


def test_a_pattern_names_heads_and_a_site_one_activation(hiring):
    made = candidates_of(hiring, ["L1.z.H*", "L2.mlp_out", "L1.z.H0"], abilities(hiring))
    assert [candidate.name for candidate in made] == ["L1.z.H0", "L1.z.H1", "L1.z.H2", "L1.z.H3", "L2.mlp_out"]
    assert [candidate.kind for candidate in made] == ["head"] * 4 + ["activation"]
    assert named(made, "L1.z.H2").site == Site("z", 1, head=2)
    with pytest.raises(SiteError, match=r"no candidate 'L1.z.H9'.*L1\.z\.H"):
        named(made, "L1.z.H9")


def test_a_head_owns_its_columns_and_a_neuron_one():
    whole = np.arange(24.0).reshape(2, 12)
    assert Candidate("h", Site("z", 0, head=1), "head").of(whole, 3).tolist() == whole[:, 4:8].tolist()
    assert Candidate("n", Site("mlp_post", 0, neuron=5), "neuron").of(whole, 3).tolist() == [[5.0], [17.0]]
    assert Candidate("a", Site("mlp_out", 0), "activation").of(whole, 3) is whole


def test_a_direction_moves_the_activation_by_the_difference_of_projections():
    direction = Directions({"d": np.array([3.0, 4.0])})
    x, source = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, -1.0]])
    moved = x + direction.decode(direction.encode(source) - direction.encode(x))
    assert float(direction.encode(moved)) == pytest.approx(float(direction.encode(source)))
    across = torch.tensor([-0.8, 0.6])
    assert float(moved[0] @ across) == pytest.approx(float(x[0] @ across), abs=1e-6)


def test_directions_bear_their_names(hiring):
    attached = mc.features.directions(
        hiring, "L1.resid_post", {"up": np.eye(48)[0], "down": -np.eye(48)[0]}, name="two"
    )
    made = candidates_of(hiring, attached, abilities(hiring))
    assert [(candidate.name, candidate.kind) for candidate in made] == [("up", "direction"), ("down", "direction")]
    assert made[0].family == made[1].family == "L1.resid_post.sae:two"
    detach(hiring, "two")
