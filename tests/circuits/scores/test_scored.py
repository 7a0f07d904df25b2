"""Sums over pairs: the mean and its standard error over clusters, tile by tile."""

import numpy as np
import pytest
import zoo

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores import SCORERS
from mechcausal.circuits.scores.scored import Sums
from mechcausal.errors import ArgumentError


def test_mean_and_spread_are_those_of_clusters():
    from dataclasses import replace

    import torch

    pairs = zoo.make_pairs(lengths=(7,) * 9)
    clusters = tuple("aaabbbccc")
    sides = [replace(side, clusters=clusters) for side in (pairs.clean, pairs.corrupt)]
    masked = Masked(zoo.loaded("gpt2"), type(pairs)(*sides, "two tokens"), batch_size=4)
    values = np.random.default_rng(0).normal(size=(9, 2))
    sums = Sums(masked, (2,))
    for tile in masked.tiles:
        sums.add(tile, torch.as_tensor(values[tile.index]))
    means = values.reshape(3, 3, 2).mean(1)
    assert np.allclose(sums.mean(), values.mean(0), atol=1e-6)
    assert np.allclose(sums.spread(), means.std(0, ddof=1) / 3**0.5, atol=1e-6)


def test_an_unknown_scorer_is_refused_by_name():
    with pytest.raises(ArgumentError, match="eap-ig"):
        SCORERS["eap-gi"]
