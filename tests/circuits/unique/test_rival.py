"""The best circuit that has none of another's edges."""

import numpy as np
import pytest
from small_circuit import BY_HAND, by_first_order

import mechcausal as mc
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.search.damage import whole
from mechcausal.circuits.unique.rival import rival


@pytest.fixture(scope="module")
def masked(by_hand):
    return Masked(by_hand, mc.contrast("by_hand/gender", by_hand, n=8))


def test_without_the_only_way_nothing_is_kept(masked):
    known = Circuit.of(masked.wiring, BY_HAND)
    best = rival(masked, known, steps=10)
    assert best.by == "mask"  # it has no scores
    assert not (best.circuit.kept & known.kept).any()
    assert len(best.circuit) == len(known)
    assert best.damage == pytest.approx(whole(masked), rel=1e-3)


def test_a_circuit_of_idle_edges_has_a_better_rival(masked, by_hand):
    scored = by_first_order(by_hand, masked.pairs, 4)
    idle = scored.keep(np.nan_to_num(np.abs(scored.scores), nan=1.0) < 1e-9)
    few = idle.keep(idle.kept & (np.cumsum(idle.kept.ravel()).reshape(idle.kept.shape) <= 4))
    best = rival(masked, few, by="scores")
    assert best.by == "scores"
    assert best.damage < 0.01 * whole(masked)
    assert np.array_equal(best.circuit.kept, scored.kept)
