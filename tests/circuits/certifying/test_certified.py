"""What certifying gives can be saved, drawn, and written into the circuit."""

import numpy as np
import pytest
from small_circuit import by_first_order

import mechcausal as mc
from mechcausal.circuits.certifying.certified import Certificate, rows_of
from mechcausal.circuits.certifying.certify import certify


@pytest.fixture(scope="module")
def found(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    circuit = by_first_order(by_hand, pairs, 8)
    return circuit, certify(by_hand, pairs, circuit, k=5, sample=10, redrawn=8)


def test_it_is_saved_and_read_as_what_it_is(found, tmp_path):
    again = mc.results.load(found[1].save(tmp_path / "certified.parquet"))
    assert isinstance(again, Certificate)
    assert again.summary() == found[1].summary()


def test_the_scatter_has_a_dot_for_each_edge(found):
    _, result = found
    assert len(result.scatter().points) == 15
    assert result.scatter().groups[0] == "certified"
    assert "sign flips" in result._repr_html_()
    assert len(result.plot().data) == 1 + len(result.scatter().groups)


def test_calibration_is_that_of_a_line_through_zero(found):
    _, result = found
    score, exact = result.frame["score"], result.frame["exact"]
    assert result.calibration["slope"] == pytest.approx((score * exact).sum() / (score**2).sum())
    assert result.calibration["r"] == pytest.approx(np.corrcoef(score, exact)[0, 1])


def test_the_circuit_says_what_is_certified(found, tmp_path):
    circuit, result = found
    marked = result.mark(circuit)
    told = marked.about["certified"]
    assert told["k"] == 5
    assert ["embed", "L0.v.H0", "@all"] in told["edges"]
    assert mc.circuits.circuit.Circuit.load(marked.save(tmp_path / "c.json")).about["certified"] == told


def test_rows_name_the_edge(found):
    circuit, _ = found
    row = rows_of(circuit, np.array([[0, circuit.wiring.receiver("logits"), 0]]), ["top"], [-1])[0]
    assert (row["sender"], row["receiver"], row["site"]) == ("embed", "logits", "embed -> logits")
