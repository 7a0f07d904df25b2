"""Shared keys and values, told apart and joined again."""

from dataclasses import replace

import numpy as np
import pytest
from random_circuits import WIRINGS, random_circuit

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.grouped import grouped, ungrouped


@pytest.mark.parametrize("shared", [2, 3, 5, 7])
def test_there_and_back_is_equal_to_the_last_digit(shared):
    circuit = random_circuit(Wiring(2, 2 * shared, 2), seed=shared)
    assert grouped(ungrouped(circuit)) == circuit


def test_standard_errors_go_with_the_scores():
    circuit = random_circuit(WIRINGS["grouped"])
    spread = np.where(np.isnan(circuit.scores), np.nan, 0.3)
    again = grouped(ungrouped(replace(circuit, spread=spread)))
    np.testing.assert_allclose(again.spread, spread)


def test_what_is_shared_is_divided_and_what_is_not_stays():
    circuit = Circuit.of(WIRINGS["grouped"], [("embed", "L0.k.H1"), ("embed", "L1.q.H4")])
    circuit.scores[0, circuit.wiring.receiver("L0.k.H1"), 0] = 0.6
    apart = ungrouped(circuit)
    assert {str(b) for _, b in apart.edges} == {"L0.k.H3", "L0.k.H4", "L0.k.H5", "L1.q.H4"}
    parts = [apart.scores[0, apart.wiring.receiver(f"L0.k.H{head}"), 0] for head in range(6)]
    np.testing.assert_allclose(parts, [np.nan, np.nan, np.nan, 0.2, 0.2, 0.2])


def test_an_edge_is_kept_where_it_is_kept_for_any_query_head():
    joined = grouped(Circuit.of(WIRINGS["split"], [("L0.z.H0", "L1.v.H5"), ("L0.z.H1", "L1.v.H0")]))
    assert {(str(a), str(b)) for a, b in joined.edges} == {("L0.z.H0", "L1.v.H1"), ("L0.z.H1", "L1.v.H0")}


@pytest.mark.parametrize("kind", ["gpt2", "parallel", "attention only"])
def test_what_is_not_shared_is_returned_as_it_is(kind):
    circuit = random_circuit(WIRINGS[kind])
    assert grouped(circuit) is circuit
    assert ungrouped(circuit) is circuit
