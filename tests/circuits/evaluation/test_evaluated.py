"""What judging gives can be saved, read and drawn."""

import numpy as np
import pytest
from small_circuit import by_first_order

import mechcausal as mc
from mechcausal.circuits.evaluation.evaluate import evaluate
from mechcausal.circuits.evaluation.evaluated import Evaluation, losses


@pytest.fixture(scope="module")
def result(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    return evaluate(by_hand, pairs, by_first_order(by_hand, pairs, 8), random=2, minimality=4)


def test_it_is_saved_and_read_as_what_it_is(result, tmp_path):
    again = mc.results.load(result.save(tmp_path / "judged.parquet"))
    assert isinstance(again, Evaluation)
    assert again.summary() == result.summary()
    assert again.curve.equals(result.curve)


def test_the_curve_is_drawn_over_the_sizes(result):
    chart = result.chart()
    assert [line.name for line in chart.series] == ["circuit", "random"]
    picture = result._repr_html_()
    assert "0.1 %" in picture
    assert "50 %" in picture
    assert result.plot().layout.xaxis.ticktext[0] == "0.1 %"


def test_without_scores_there_are_bars(by_hand, result):
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    circuit = by_first_order(by_hand, pairs, 8)
    bare = mc.circuits.circuit.Circuit(circuit.wiring, circuit.kept, np.full(circuit.kept.shape, np.nan))
    judged = evaluate(by_hand, pairs, bare, random=2, minimality=0)
    assert judged.cmd is None
    assert judged.cpr is None
    assert "no scores" in judged.summary()
    assert "random circuits" in judged.chart().describe()
    assert judged.minimality.empty


def test_losses_are_rows():
    assert losses([{"edge": "a"}], {"loss": np.array([1.0])}) == [{"edge": "a", "loss": 1.0}]
