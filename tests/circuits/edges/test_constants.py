"""Optimal constants: no loss is larger than that of means, and where the optimum is known it is found."""

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.circuits.edges.alternatives import Alternative, means
from mechcausal.circuits.edges.constants import learned_alternative, optimal, weights_of
from mechcausal.circuits.edges.masked import Masked


def cut_one_by_one(masked, constants):
    """Return the mean divergence with each sender replaced, [sender]."""
    masked.alternative, masked._tiles = Alternative("optimal", constants=constants), None
    kept = np.ones((len(masked.wiring.senders), *masked.shape))
    kept[np.arange(len(kept)), np.arange(len(kept))] = 0
    return masked.metric(kept).mean(1)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_no_sender_loses_more_than_under_its_mean(name):
    masked = Masked(loaded(name), make_pairs(lengths=(5, 6, 5, 6)), "kl", "zero")
    constants, about = optimal(masked.inputs, masked.wiring, masked.pairs.clean, steps=15)
    by_mean = cut_one_by_one(masked, means(masked.inputs, [masked.pairs.clean], per_position=False))
    by_constant = cut_one_by_one(masked, constants)
    assert (by_constant <= by_mean + 1e-4).all()
    assert by_constant.sum() < 0.8 * by_mean.sum()
    assert about["divergence_of_means"] == pytest.approx(by_mean.mean(), rel=1e-3)
    assert about["divergence_of_constants"] == pytest.approx(by_constant.mean(), rel=1e-2)


@pytest.mark.slow
def test_at_the_optimum_the_mean_probabilities_are_those_of_the_clean_run(by_hand):
    """What a constant of a head can move in the logits is settled where the mean of q is the mean of p."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    masked = Masked(by_hand, pairs, "prob", "zero")
    constants, _ = optimal(masked.inputs, masked.wiring, pairs.clean, steps=150)
    head = masked.wiring.sender("L0.z.H0")
    masked.alternative, masked._tiles = Alternative("optimal", constants=constants), None
    kept = np.ones(masked.shape)
    kept[head] = 0
    assert masked.metric(kept).mean() == pytest.approx(masked.clean.mean(), abs=5e-3)


@pytest.mark.slow
def test_it_is_an_ablation_like_the_others_and_learned_once(by_hand, monkeypatch):
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    first = Masked(by_hand, pairs, ablation="optimal")
    assert first.alternative.kind == "optimal"
    assert set(first.alternative.about) == {"optimal_constants"}
    second = learned_alternative(first.inputs, first.wiring, pairs, None, 0)
    assert second.constants is first.alternative.constants
    other = learned_alternative(first.inputs, first.wiring, pairs, pairs.corrupt, 0)
    assert other.constants is not first.alternative.constants
    assert not torch.equal(other.constants, first.alternative.constants)


def test_other_weights_are_other_constants(by_hand):
    before = weights_of(Masked(by_hand, mc.contrast("by_hand/gender", by_hand, n=4)).inputs)
    model = mc.causal.untrained(by_hand)
    assert weights_of(Masked(model, mc.contrast("by_hand/gender", by_hand, n=4)).inputs) != before
