"""Certifying both ways: the edges of an organism are certified, those of random weights are not."""

import numpy as np
import pytest
from small_circuit import BY_HAND, by_first_order
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.circuits.certifying.certify import CertifyingCircuit, certify
from mechcausal.circuits.held_out import digests
from mechcausal.errors import DataError, SiteError


@pytest.fixture(scope="module")
def gender(by_hand):
    return mc.contrast("by_hand/gender", by_hand, n=32)


@pytest.fixture(scope="module")
def known(by_hand, gender):
    return certify(by_hand, gender, by_first_order(by_hand, gender, 8), k=6, sample=200, redrawn=8)


def test_the_edges_of_the_organism_are_certified_and_no_others(known):
    assert {(row["sender"], row["receiver"]) for _, row in known.certified.iterrows()} == set(BY_HAND)
    assert known.blocked == ""
    assert known.precision == pytest.approx(4 / 6)
    assert known.false_negatives.estimate == known.false_negatives.high == 0  # the sample is all there is
    assert known.flips == 0


def test_shares_are_effects_of_the_edge_over_the_total(known):
    share = known.frame.set_index(["sender", "receiver"])["share"]
    assert share["embed", "L0.v.H0"] == pytest.approx(1, abs=1e-3)
    assert share["L0.z.H0", "logits"] + share["L1.mlp_out", "logits"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("seed", [0, 3])
def test_nothing_is_certified_on_random_weights(by_hand, gender, seed):
    model = mc.causal.untrained(by_hand, seed=seed)
    result = certify(model, gender, by_first_order(model, gender, 8), k=6, sample=10)
    assert not result.frame["certified"].any()
    assert result.frame["exact"].abs().max() > 0  # its edges do have effects
    assert "nothing is certified" in result.summary()
    assert "0 of the 6 best edges" in result.sentence


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_nothing_is_certified_where_the_answers_are_drawn(name):
    model, pairs = loaded(name), make_pairs(lengths=(7,) * 12)
    result = certify(model, pairs, by_first_order(model, pairs, 20), k=10, sample=20, redrawn=8)
    assert not result.frame["certified"].any()


def test_an_edge_below_the_smallest_share_is_not_certified(by_hand, gender):
    circuit = by_first_order(by_hand, gender, 8)
    strict = certify(by_hand, gender, circuit, k=6, sample=0, least=0.5, redrawn=8)
    assert {row["receiver"] for _, row in strict.certified.iterrows()} == {"L0.v.H0", "logits"}
    assert np.isnan(strict.false_negatives.estimate)


def test_a_wrong_sign_is_counted(by_hand, gender):
    circuit = by_first_order(by_hand, gender, 8)
    turned = mc.circuits.circuit.Circuit(circuit.wiring, circuit.kept, -circuit.scores, about=circuit.about)
    assert certify(by_hand, gender, turned, k=6, sample=5, redrawn=0).flips == 4


def test_pairs_of_the_search_do_not_certify(by_hand, gender, gpt2):
    circuit = by_first_order(by_hand, gender, 8, found_on=digests(gender))
    with pytest.raises(DataError, match="too few pairs are left to certify"):
        certify(by_hand, gender, circuit, k=4)
    with pytest.raises(DataError, match="no useful bound"):
        certify(by_hand, gender, circuit, k=4, redrawn=3)
    with pytest.raises(SiteError, match="of another model"):
        certify(gpt2, make_pairs(), circuit, k=4)


def test_a_specification_is_written_and_its_cost_is_known(by_hand, gender):
    spec = CertifyingCircuit(by_first_order(by_hand, gender, 8), k=4, sample=6)
    assert mc.method.read(spec.to_json()) == spec
    assert spec.cost(by_hand, gender).cells == 10
