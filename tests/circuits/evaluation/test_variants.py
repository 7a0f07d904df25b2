"""Which circuits are run to judge one."""

import numpy as np
from small_circuit import circuit_of, scored_circuit

from mechcausal.circuits.edges.ways import connected
from mechcausal.circuits.evaluation.areas import SIZES
from mechcausal.circuits.evaluation.variants import drawn, grid, parts, without


def test_sizes_are_shares_of_all_edges():
    circuit = scored_circuit()
    for share, variant in zip(SIZES, grid(circuit, SIZES, "top"), strict=True):
        largest = circuit.top(int(share * circuit.wiring.count))
        assert np.array_equal(variant.kept, connected(circuit.wiring, largest.kept))


def test_without_scores_there_is_no_curve():
    assert grid(circuit_of(), SIZES, "top") == []


def test_random_circuits_have_the_size_of_the_circuit():
    circuit = scored_circuit()
    variants = drawn(circuit, (), "greedy", 3, 0)
    assert len(variants) == 3
    assert all(0 <= variant.kept.sum() <= len(circuit) for variant in variants)
    assert not np.array_equal(variants[0].kept, variants[1].kept)
    again = drawn(circuit, (), "greedy", 3, 0)
    assert all(np.array_equal(a.kept, b.kept) for a, b in zip(variants, again, strict=True))


def test_each_edge_is_removed_once():
    circuit = scored_circuit()
    variants = without(circuit, 100, 0)
    assert len(variants) == len(circuit)
    for variant in variants:
        removed = circuit.kept & ~variant.kept
        assert removed.sum() == 1
        assert str(circuit.wiring.senders[np.argwhere(removed)[0, 0]]) == variant.facts["sender"]
        assert not variant.facts["sampled"]


def test_of_a_large_circuit_the_lowest_and_a_sample_are_removed():
    circuit = scored_circuit()
    variants = without(circuit, 6, 0)
    sampled = [variant for variant in variants if variant.facts["sampled"]]
    lowest = [abs(variant.facts["score"]) for variant in variants if not variant.facts["sampled"]]
    assert (len(sampled), len(lowest)) == (3, 3)
    assert sorted(lowest) == sorted(np.abs(circuit.scores[circuit.kept]))[:3]


def test_a_part_is_taken_out_of_both():
    circuit = scored_circuit()
    variants = parts(circuit, 3, 0)
    assert len(variants) == 6
    for inside, outside in zip(variants[::2], variants[1::2], strict=True):
        assert inside.kept.sum() == len(circuit) - len(circuit) // 2
        assert np.array_equal(outside.kept & circuit.kept, inside.kept)
        assert outside.kept.sum() == circuit.wiring.count - len(circuit) // 2
    assert parts(circuit_of([("embed", "logits")]), 3, 0) == []
