"""Which edges are measured exactly, and what a sample says of the others."""

import numpy as np
import pytest
from small_circuit import scored_circuit

from mechcausal.circuits.certifying.sampled import SAMPLE, TOP, chosen, missed, shared, strata
from mechcausal.errors import ArgumentError


def test_the_best_come_first_and_the_sample_is_of_the_others():
    circuit = scored_circuit()
    edges = chosen(circuit, 5, 10, 0)
    scores = np.abs(circuit.scores[tuple(edges.edges.T)])
    assert edges.roles == [TOP] * 5 + [SAMPLE] * 10
    assert np.array_equal(scores[:5], np.sort(np.abs(circuit.scores[np.isfinite(circuit.scores)]))[::-1][:5])
    assert scores[5:].max() <= scores[4]
    assert sum(edges.sizes) == circuit.wiring.count - 5
    ranks = [np.sum(np.abs(circuit.scores[np.isfinite(circuit.scores)]) > score) for score in scores[5:]]
    assert [int(np.searchsorted(np.cumsum((5, *edges.sizes)), rank, "right")) - 1 for rank in ranks] == edges.strata[
        5:
    ].tolist()
    assert len({tuple(edge) for edge in edges.edges}) == 15
    assert not np.array_equal(chosen(circuit, 5, 10, 1).edges, edges.edges)


def test_too_few_scored_edges_are_refused():
    circuit = scored_circuit()
    with pytest.raises(ArgumentError, match="sample of the rest"):
        chosen(circuit, circuit.wiring.count, 10, 0)


def test_strata_grow_and_share_the_draws():
    parts = strata(1000, 10)
    assert [(part[0], part[-1]) for part in parts] == [(10, 39), (40, 159), (160, 639), (640, 999)]
    assert shared(40, [30, 120, 480, 360]) == [10, 10, 10, 10]
    assert shared(200, [30, 120, 480, 360]) == [30, 56, 57, 57] or sum(shared(200, [30, 120, 480, 360])) == 200
    assert shared(99, [5, 7]) == [5, 7]
    assert shared(0, [5, 7]) == [0, 0]
    assert strata(5, 5) == []


def test_the_false_negative_rate_of_a_census_has_no_uncertainty():
    rate = missed([2, 0], [30, 10], [30, 10], top_hits=6)
    assert rate.estimate == rate.low == rate.high == 2 / 8


def test_the_interval_of_the_false_negative_rate_covers():
    draw, sizes, mattering, drawn, found = np.random.default_rng(0), (60, 240, 700), (20, 15, 5), (30, 30, 30), 10
    truth = sum(mattering) / (sum(mattering) + found)
    rates = []
    for _ in range(400):
        hits = [int(draw.hypergeometric(m, size - m, n)) for m, size, n in zip(mattering, sizes, drawn, strict=True)]
        rates.append(missed(hits, drawn, sizes, found))
    assert np.mean([rate.low <= truth <= rate.high for rate in rates]) >= 0.95
    assert np.mean([rate.estimate for rate in rates]) == pytest.approx(truth, abs=0.03)


def test_where_nothing_matters_there_is_no_rate():
    rate = missed([0], [20], [100], top_hits=0)
    assert np.isnan(rate.estimate)
    assert rate.low == 0
    assert np.isnan(missed([0], [0], [100], 3).estimate)
