"""How much circuits share."""

import itertools

import numpy as np
import pytest
from small_circuit import circuit_of, scored_circuit

from mechcausal.address import Selection
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.unique.overlap import (
    by_chance,
    jaccard,
    mean_overlap,
    nodes,
    of_edges,
    of_nodes,
    require_alike,
)
from mechcausal.errors import ArgumentError, SiteError


def test_an_overlap_is_what_both_have_over_what_either_has():
    first = circuit_of([("embed", "L0.v.H0"), ("L0.z.H0", "logits")])
    second = circuit_of([("embed", "L0.v.H0"), ("embed", "L0.mlp_out"), ("L0.mlp_out", "logits")])
    assert of_edges(first, second) == pytest.approx(1 / 4)
    assert of_edges(first, first) == 1
    # The key-value head is shared, so both query heads read what embed -> L0.v.H0 brings.
    assert {str(first.wiring.senders[i]) for i in np.flatnonzero(nodes(first))} == {"embed", "L0.z.H0", "L0.z.H1"}
    assert of_nodes(first, second) == pytest.approx(3 / 4)
    assert np.isnan(jaccard(np.zeros(3, bool), np.zeros(3, bool)))


def test_chance_agrees_with_drawing():
    draw = np.random.default_rng(0)
    seen = []
    for _ in range(2000):
        sets = [np.isin(np.arange(200), draw.choice(200, n, replace=False)) for n in (20, 50)]
        seen.append(jaccard(*sets))
    assert by_chance(20, 50, 200) == pytest.approx(np.mean(seen), rel=0.03)


def test_the_interval_leaves_out_whole_circuits():
    draw = np.random.default_rng(1)
    circuits = [scored_circuit(seed=seed) for seed in range(8)]
    table = np.array([[of_edges(a, b) for b in circuits] for a in circuits])
    found = mean_overlap(table)
    assert found.estimate == pytest.approx(np.mean([table[pair] for pair in itertools.combinations(range(8), 2)]))
    assert 0 <= found.low < found.estimate < found.high <= 1
    assert np.isnan(mean_overlap(table[:3, :3]).low)
    ones = mean_overlap(np.ones((5, 5)))
    assert (ones.low, ones.high) == (1, 1)
    with pytest.raises(ArgumentError, match="at least two"):
        mean_overlap(draw.random((1, 1)))


def test_circuits_of_other_models_are_refused():
    first = circuit_of()
    with pytest.raises(SiteError, match="circuit 1 is of another model"):
        require_alike([first, Circuit.of(Wiring(2, 2, 1), [("embed", "logits")])])
    apart = Circuit(first.wiring, first.kept, first.scores, positions=(Selection(-1),))
    with pytest.raises(SiteError, match="other positions"):
        require_alike([first, apart])
