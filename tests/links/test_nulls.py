"""Null distributions: random directions, features turned at random, and peers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_dictionaries import Rectified

from mechcausal.address import Site
from mechcausal.links.candidates import Candidate
from mechcausal.links.nulls import Turned, peers
from mechcausal.models.binding import attach, detach


def test_turned_features_read_the_same_and_write_elsewhere_as_far(hiring):
    dictionary = attach(hiring, Rectified(48, n=64), "L1.resid_post", name="own")
    turned = Turned(dictionary, [3, 9], copies=5, draw=np.random.default_rng(0))
    x = torch.randn(2, 7, 48, generator=torch.Generator().manual_seed(0))
    numbers = turned.encode(x)
    assert numbers.shape == (2, 7, 10)
    assert torch.equal(numbers[..., :5], dictionary.dictionary.encode(x)[..., 3:4].expand(2, 7, 5))
    sizes = dictionary.W_dec.norm(dim=1)
    assert turned.W_dec.norm(dim=1).tolist() == pytest.approx([float(sizes[3])] * 5 + [float(sizes[9])] * 5)
    assert abs(torch.nn.functional.cosine_similarity(turned.W_dec[0], turned.W_dec[1], dim=0)) < 0.6
    assert torch.allclose(turned.decode(numbers), numbers @ turned.W_dec)
    detach(hiring, "own")


def test_peers_are_the_nearest_in_frequency_of_the_same_kind():
    heads = [Candidate(f"h{i}", Site("z", 0, head=i), "head") for i in range(5)]
    made = [*heads, Candidate("m", Site("mlp_out", 0), "activation")]
    frequency = np.array([0.5, 0.4, 0.1, 0.6, 0.9, 0.5])
    share = np.array([0.3, -0.5, 9.0, 0.1, np.nan, 7.0])
    found = peers(made, frequency, share, 0, 2)
    assert (found.low, found.high, found.count) == (-0.5, 0.1, 2)
    assert found.percentile == 50
    assert peers(made, frequency, share, 0, 4).count == 3  # one has no share
    assert peers(made, frequency, share, 5, 4).count == 0  # nothing else is an activation
