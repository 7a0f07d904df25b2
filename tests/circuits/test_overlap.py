"""What circuits have in common, by sets counted by hand."""

import math

import numpy as np
import pytest
from random_circuits import WIRINGS, random_circuit

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.overlap import overlaps
from mechcausal.errors import SiteError

EDGES = [("embed", "L0.q.H0"), ("L0.z.H0", "logits"), ("L0.z.H0", "L1.mlp_out"), ("L1.mlp_out", "logits")]


def test_by_hand():
    first, second = (Circuit.of(WIRINGS["gpt2"], edges) for edges in (EDGES[:3], EDGES[1:]))
    (row,) = overlaps({"a": first, "b": second}).to_dict("records")
    assert (row["first"], row["second"], row["edges_shared"]) == ("a", "b", 2)
    assert row["edges"] == 2 / 4
    assert row["nodes"] == 1 / 3  # embed and the head; the head and the MLP
    expected = 9 / first.wiring.count
    assert row["by_chance"] == pytest.approx(expected / (6 - expected))
    assert math.isnan(row["scores"])


def test_chance_is_what_random_circuits_share():
    shared = [
        overlaps({str(seed): random_circuit(WIRINGS["gpt2"], seed=seed) for seed in pair}).iloc[0]
        for pair in ((2 * i, 2 * i + 1) for i in range(60))
    ]
    assert np.mean([row["edges"] for row in shared]) == pytest.approx(
        np.mean([row["by_chance"] for row in shared]), abs=0.02
    )


def test_three_circuits_and_the_rank_of_scores():
    circuit = random_circuit(WIRINGS["split"])
    other = Circuit(circuit.wiring, ~circuit.kept, -3 * circuit.scores)
    table = overlaps({"a": circuit, "b": other, "c": random_circuit(WIRINGS["grouped"])})
    assert len(table) == 3
    assert table["scores"][0] == pytest.approx(1)
    with pytest.raises(SiteError, match="of another model"):
        overlaps({"a": circuit, "b": random_circuit(WIRINGS["gpt2"])})
