"""What rediscovery gives can be saved, drawn, and written into the circuit."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.circuits.unique.rediscover import rediscover
from mechcausal.circuits.unique.uniqueness import Uniqueness, spread


@pytest.fixture(scope="module")
def found(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=24)
    circuit = mc.circuits.discover(hiring, pairs, method="eap", edges=6)
    return circuit, rediscover(hiring, pairs, circuit, splits=2, methods=["clean-corrupted"], rival="scores")


def test_it_is_saved_and_read_as_what_it_is(found, tmp_path):
    again = mc.results.load(found[1].save(tmp_path / "unique.parquet"))
    assert isinstance(again, Uniqueness)
    assert again.summary() == found[1].summary()


def test_the_circuit_says_it_in_one_line(found):
    circuit, result = found
    marked = result.mark(circuit)
    assert f"unique: {result.sentence}" in marked.summary()
    assert len(result.sentence.splitlines()) == 1
    assert marked.about["unique"]["core"] == result.core.to_numpy().tolist()


def test_the_chart_has_edges_and_nodes_of_each(found):
    _, result = found
    assert len(result.chart().rows) == 2 * (len(result) - 1)
    assert "Jaccard" in result._repr_html_()


def test_an_overlap_lies_between_zero_and_one():
    fields = spread([0.9, 1.0, 0.95, 1.0])
    assert fields["high"] == 1.0
    assert fields["estimate"] == pytest.approx(np.mean([0.9, 1.0, 0.95, 1.0]))
