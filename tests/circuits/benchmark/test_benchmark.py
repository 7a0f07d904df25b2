"""The table of a benchmark: means with intervals, medians by kind, a picture that says its numbers, a page."""

import math

import numpy as np
import pytest

from mechcausal.circuits.benchmark.benchmark import Benchmark

AREAS = {"exact": (1.0, 1.0, 1.0), "eap": (0.6, 0.7, 0.8)}


def row(method, draw, area, question="ioi/answer", kind="trained"):
    return {
        "question": question, "kind": kind, "method": method, "draw": draw, "edge_auc": area, "node_auc": area / 2,
        "cmd": None, "seconds": float(draw), "forwards": 10 * draw, "true": 5, "edges": 118,
    }  # fmt: skip


@pytest.fixture
def made():
    rows = [row(method, draw, area) for method, areas in AREAS.items() for draw, area in enumerate(areas)]
    rows += [row("eap", 0, 0.9, "fraction/answer", "compiled")]
    rows += [
        {
            **row("exact", 0, 0.0, "fraction/answer", "compiled"),
            "edge_auc": None,
            "node_auc": None,
            "not_run": "no time",
        }
    ]
    return Benchmark.made(rows, {"n": 8, "draws": 3, "seed": 0})


def test_means_and_intervals_over_draws(made):
    frame = made.frame.set_index(["question", "method"])
    eap = frame.loc["ioi/answer", "eap"]
    assert eap["edge_auc"] == pytest.approx(0.7)
    reach = 4.302653 * np.std([0.6, 0.7, 0.8], ddof=1) / math.sqrt(3)  # t with two degrees of freedom
    assert eap["edge_auc_low"] == pytest.approx(0.7 - reach, abs=1e-5)
    assert eap["edge_auc_high"] == pytest.approx(0.7 + reach, abs=1e-5)
    assert (eap["seconds"], eap["forwards"], eap["draws"]) == (1, 10, 3)
    exact = frame.loc["ioi/answer", "exact"]
    assert exact["edge_auc_low"] == exact["edge_auc_high"] == 1
    assert math.isnan(frame.loc[("fraction/answer", "eap"), "edge_auc_low"])  # one draw has no interval
    assert math.isnan(exact["cmd"])


def test_medians_by_kind_and_what_was_not_run(made):
    table = made.medians.set_index(["kind", "method"])
    assert table.loc[("trained", "eap"), "edge_auc"] == pytest.approx(0.7)
    assert ("compiled", "exact") not in table.index
    text = made.summary()
    assert "not run: exact on fraction/answer: no time" in text
    assert "trained (1 questions)" in text


def test_the_picture_and_the_page_say_the_numbers(made, tmp_path):
    figure = made.plot()
    assert "eap on ioi/answer: 0.700" in figure.still
    assert figure.data[0].z.shape == (2, 2)
    page = made.page()
    assert "<script" not in page
    assert "0.700" in page
    assert "5 of 118" in page
    path = made.save(tmp_path / "bench.json")
    again = Benchmark.load(path)
    assert again.rows == made.rows
    assert again.frame.equals(made.frame)
    assert made._repr_html_().startswith("<svg")
