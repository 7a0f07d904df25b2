"""A mask over edges that is learned."""

import numpy as np
import pytest
import torch
from small_circuit import BY_HAND
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.search import pruning
from mechcausal.circuits.search.damage import whole
from mechcausal.circuits.search.pruning import _Mask, _target, prune
from mechcausal.errors import ArgumentError


@pytest.fixture(scope="module")
def of_organism(by_hand):
    return Masked(by_hand, mc.contrast("by_hand/gender", by_hand, n=8))


@pytest.fixture(scope="module")
def learned(of_organism):
    return prune(of_organism, 4, steps=150, rate=0.3)


def test_the_circuit_of_the_organism_is_learned(of_organism, learned):
    wiring = of_organism.wiring
    listed = {(str(wiring.senders[s]), str(wiring.receivers[r])) for s, r, _ in np.argwhere(learned.kept)}
    assert listed == set(BY_HAND)
    assert learned.damage == pytest.approx(0, abs=1e-3 * whole(of_organism))
    assert learned.scores[learned.kept].min() > np.nanmax(np.where(learned.kept, np.nan, learned.scores))


def test_the_target_falls_rests_and_falls_on():
    assert [round(_target(0.2, time), 3) for time in (0, 0.25, 0.5, 0.75, 1)] == [1, 0.6, 0.2, 0.2, 0.02]


def test_a_circuit_larger_than_needed_still_ranks_what_matters_first(of_organism):
    found = prune(of_organism, 20, steps=150, rate=0.3)
    wiring = of_organism.wiring
    best = np.argsort(-np.nan_to_num(found.scores.ravel(), nan=-1))[:4]
    sender, receiver, _ = np.unravel_index(best, found.scores.shape)
    listed = {(str(wiring.senders[s]), str(wiring.receivers[r])) for s, r in zip(sender, receiver, strict=True)}
    assert listed == set(BY_HAND)


def test_the_expected_share_comes_near_its_target(learned):
    assert learned.shares[0] > 0.9
    assert abs(learned.convergence["share_gap"]) < 0.06
    assert abs(learned.convergence["loss_change"]) < 0.1


@pytest.mark.slow
def test_prices_rise_faster_where_there_are_many_edges(hiring, monkeypatch):
    pairs = mc.contrast("hiring/gender", hiring, n=8)
    each = [Selection.parse(f"@{number}") for number in range(pairs.clean.tokens.shape[1])]
    masked = Masked(hiring, pairs, positions=each)
    gap = prune(masked, 30, steps=80).convergence["share_gap"]
    monkeypatch.setattr(pruning, "_FEW", 10**9)
    assert 0 < gap < 0.7 * prune(masked, 30, steps=80).convergence["share_gap"]


def test_a_seed_gives_the_same_mask_again(of_organism):
    first, second, other = (prune(of_organism, 4, steps=4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.scores, second.scores, equal_nan=True)
    assert not np.array_equal(first.scores, other.scores, equal_nan=True)
    assert set(first.convergence) == {"loss", "loss_change", "share_gap", "undecided"}


def test_shares_are_zero_or_one_as_often_as_the_distribution_says():
    possible = torch.ones(200, 200, 1, dtype=torch.bool)
    possible[0] = False
    mask = _Mask(possible, 0)
    with torch.no_grad():
        mask.raw.fill_(0.7)
    shares = mask.sampled()[0].detach()
    assert (shares[0] == 1).all()
    assert (shares[1:] > 0).float().mean().item() == pytest.approx(mask.chance()[1:].mean().item(), abs=0.01)
    exactly_one = 1 / (1 + np.exp(2 / 3 * np.log(1.1 / 0.1) - 0.7))  # as often as the stretched share is above 1
    assert (shares[1:] == 1).float().mean().item() == pytest.approx(exactly_one, abs=0.01)
    assert mask.chance()[0].sum() == 0


def test_a_circuit_on_another_architecture_loses_less_than_a_random_one():
    masked = Masked(loaded("llama"), make_pairs(lengths=(6,) * 4), "kl")
    found = prune(masked, masked.wiring.count // 2, steps=40, rate=0.3)
    draw = np.random.default_rng(0)
    possible = np.broadcast_to(masked.wiring.possible[..., None], masked.shape)
    chance = possible & (draw.random(masked.shape) < 0.5)
    assert found.damage < 0.7 * masked.metric(chance).mean()


def test_all_edges_are_no_circuit(of_organism):
    with pytest.raises(ArgumentError, match="some edges and not all"):
        prune(of_organism, of_organism.wiring.count)


def test_discover_takes_it_by_name(by_hand, monkeypatch):
    from mechcausal.circuits.search import pruning

    monkeypatch.setattr(pruning, "prune", lambda *args, **options: prune(*args, **{**options, "steps": 20}))
    found = mc.circuits.discover(by_hand, mc.contrast("by_hand/gender", by_hand, n=8), method="edge-pruning")
    assert len(found) == 20
    assert found.about["mask"]["steps"] == 15  # of 20 steps those up to the circuit
