"""Which edges are measured exactly, and what a sample says of the others."""

import numpy as np
import pytest
from small_circuit import scored_circuit

from mechcausal.circuits.certifying.sampled import SAMPLE, TOP, chosen, missed
from mechcausal.errors import ArgumentError


def test_the_best_come_first_and_the_sample_is_of_the_others():
    circuit = scored_circuit()
    edges = chosen(circuit, 5, 10, 0)
    scores = np.abs(circuit.scores[tuple(edges.edges.T)])
    assert edges.roles == [TOP] * 5 + [SAMPLE] * 10
    assert np.array_equal(scores[:5], np.sort(np.abs(circuit.scores[np.isfinite(circuit.scores)]))[::-1][:5])
    assert scores[5:].max() <= scores[4]
    assert edges.weights.sum() == pytest.approx(circuit.wiring.count)
    assert len({tuple(edge) for edge in edges.edges}) == 15
    assert not np.array_equal(chosen(circuit, 5, 10, 1).edges, edges.edges)


def test_too_few_scored_edges_are_refused():
    circuit = scored_circuit()
    with pytest.raises(ArgumentError, match="sample of the rest"):
        chosen(circuit, circuit.wiring.count, 10, 0)


def test_the_false_negative_rate_of_a_census_has_no_uncertainty():
    rate = missed(hits=2, sampled=40, rest=40, found=6)
    assert rate.estimate == rate.low == rate.high == 2 / 8


def test_the_interval_of_the_false_negative_rate_covers():
    draw, rest, sampled, found, mattering = np.random.default_rng(0), 1000, 60, 10, 40
    truth = mattering / (mattering + found)
    covered = 0
    for _ in range(400):
        hits = int(draw.hypergeometric(mattering, rest - mattering, sampled))
        rate = missed(hits, sampled, rest, found)
        covered += rate.low <= truth <= rate.high
    assert covered / 400 >= 0.95


def test_where_nothing_matters_there_is_no_rate():
    rate = missed(hits=0, sampled=20, rest=100, found=0)
    assert np.isnan(rate.estimate)
    assert rate.low == 0
    assert np.isnan(missed(0, 0, 100, 3).estimate)
