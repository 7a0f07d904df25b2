"""A circuit found again: on disjoint halves, by other methods, and without its own edges."""

import numpy as np
import pytest
from small_circuit import circuit_of
from zoo import make_pairs

import mechcausal as mc
from mechcausal.circuits.held_out import digests
from mechcausal.circuits.unique.rediscover import Rediscovering, rediscover
from mechcausal.errors import ArgumentError, DataError, SiteError


@pytest.fixture(scope="module")
def gender(hiring):
    return mc.contrast("hiring/gender", hiring, n=32)


@pytest.fixture(scope="module")
def circuit(hiring, gender):
    return mc.circuits.discover(hiring, gender, method="eap-ig", steps=4, edges=8)


@pytest.fixture(scope="module")
def found(hiring, gender, circuit):
    return rediscover(hiring, gender, circuit, splits=2, methods=["eap", "random", "eap-ig"], steps=40)


def test_the_circuit_of_the_organism_is_always_found_again(found):
    assert found.between_halves.estimate > 0.6 > 0.05 > found.by_chance
    assert found.nodes_between_halves.estimate > 0.6
    assert found.faithfulness == pytest.approx(1, abs=0.1)


def test_each_is_judged_on_pairs_that_it_was_not_found_on(found, hiring, gender):
    frame = found.frame
    assert frame["role"].tolist() == ["given", *["half"] * 4, *["method"] * 2, "rival"]  # not its own method
    seen = np.isfinite(found.examples)
    assert seen[0].all()  # of its own pairs none are left, which the note says
    assert "no test on held-out pairs" in found.summary()
    for first, second in ((1, 2), (3, 4)):  # the halves of a split judge each other
        assert np.array_equal(seen[first], ~seen[second])
    assert not set(digests(gender.take(np.flatnonzero(seen[1]).tolist()))) & set(
        digests(gender.take(np.flatnonzero(seen[2]).tolist()))
    )


def test_the_core_is_what_all_have(hiring, gender, circuit, found):
    again = rediscover(hiring, gender, circuit, splits=1, methods=[], rival=None)
    kept = {(str(sender.site), str(receiver.site)) for sender, receiver in circuit.edges}
    core = {(row["sender"], row["receiver"]) for _, row in again.core.iterrows()}
    assert core <= kept
    assert ("L2.mlp_out", "logits") in core
    assert np.isnan(again.rival)
    assert len(found.core) < len(core)  # one of its methods is chance


def test_the_only_circuit_has_no_rival(found):
    assert found.rival == pytest.approx(0, abs=0.1)
    assert "the best rival without any of its edges keeps" in found.sentence
    assert found.frame.iloc[-1]["jaccard_edges"] == 0


def test_what_cannot_be_found_again_is_refused(hiring, gender, circuit, gpt2):
    with pytest.raises(ArgumentError, match="does not say how it was found"):
        rediscover(hiring, gender, circuit_of())
    with pytest.raises(SiteError, match="of another model"):
        rediscover(gpt2, make_pairs(), circuit)
    with pytest.raises(DataError, match="too few independent pairs"):
        rediscover(hiring, gender.take(list(range(5))), circuit)


def test_seeds_count_where_a_method_draws(hiring, gender, circuit):
    spec = Rediscovering(circuit, splits=1, seeds=3, methods=[], rival=None)
    assert spec.cost(hiring, gender).forwards > 0
    drawn = mc.circuits.discover(hiring, gender, method="random", edges=4)
    result = rediscover(hiring, gender, drawn, splits=1, seeds=2, methods=[], rival=None)
    assert result.frame["role"].tolist() == ["given", "half", "half", "seed", "seed"]
    assert result.overlap_with("seed") < 0.5


def test_a_specification_is_written_and_read(circuit):
    spec = Rediscovering(circuit, splits=2)
    assert mc.method.read(spec.to_json()) == spec
