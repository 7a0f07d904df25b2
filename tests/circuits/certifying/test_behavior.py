"""The total effect against networks that have learned nothing."""

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.circuits.certifying.behavior import behavior, sides
from mechcausal.metrics import metric
from mechcausal.models import bridge


@pytest.fixture(scope="module")
def gender(by_hand):
    return mc.contrast("by_hand/gender", by_hand, n=24)


def test_both_sides_are_the_unedited_runs(by_hand, gender):
    corrupt, clean = sides(by_hand, gender, metric("logit_diff"), 7)
    assert np.allclose(clean, mc.measure(by_hand, gender.clean, metric="logit_diff").examples[0], atol=1e-5)
    assert np.allclose(corrupt, mc.measure(by_hand, gender.corrupt, metric="logit_diff").examples[0], atol=1e-5)


def test_the_organism_has_the_behavior_and_its_weights_are_restored(by_hand, gender):
    before = [weight.clone() for weight in bridge.underlying(by_hand).parameters()]
    corrupt, clean = sides(by_hand, gender, metric("logit_diff"), 32)
    total, forwards = behavior(
        by_hand, gender, metric("logit_diff"), clean, corrupt, redrawn=8, seed=0, batch_size=32
    )  # fmt: skip
    assert total.reason == ""
    assert total.networks == 8
    assert forwards == 2 * 24 * 9
    assert all(torch.equal(a, b) for a, b in zip(before, bridge.underlying(by_hand).parameters(), strict=True))


def test_a_network_with_random_weights_has_none(by_hand, gender):
    model = mc.causal.untrained(by_hand, seed=1)
    corrupt, clean = sides(model, gender, metric("logit_diff"), 32)
    total, _ = behavior(model, gender, metric("logit_diff"), clean, corrupt, redrawn=8, seed=0, batch_size=32)
    assert total.reason


def test_without_networks_only_zero_is_asked(by_hand, gender):
    values = np.linspace(-1, 1, 24)
    total, _ = behavior(by_hand, gender, metric("logit_diff"), values, 0 * values, redrawn=0, seed=0, batch_size=32)
    assert "includes 0" in total.reason
    total, _ = behavior(by_hand, gender, metric("logit_diff"), values + 3, 0 * values, redrawn=0, seed=0, batch_size=32)
    assert total.reason == ""
