"""MIB's protocol: the truth of an organism is near the model, chance is not, and a file is gone on with."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.circuits.benchmark.protocol import Curves
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.known.truth import truth
from mechcausal.errors import UnsupportedError


def oracle(model, pairs, seed):
    known = truth(model, pairs)
    scores = np.where(known.true, 1.0, 1e-3)[..., None]
    return Circuit(known.wiring, known.true[..., None], scores)


def cannot(model, pairs, seed):
    raise UnsupportedError("this model is too large")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model, path = mc.load("organism:ioi"), tmp_path_factory.mktemp("curves") / "curves.json"
    options = {"n": 16, "random": 2, "progress": False}
    methods = {"oracle": oracle, "again": oracle, "mine": cannot}
    mc.circuits.bench_model(model, "ioi/answer", methods={"oracle": oracle}, out=path, **options)
    return mc.circuits.bench_model(model, "ioi/answer", methods=methods, out=path, **options), path


def test_the_truth_is_near_the_model(made):
    curves, path = made
    row = curves.frame.iloc[0]
    assert row["method"] == "oracle"
    assert row["cmd"] < 0.1
    assert row["cmd_low"] <= row["cmd"] <= row["cmd_high"]
    assert row["cmd"] < curves.rows[0]["random_cmd"][0] / 3
    first, again = curves.rows[:2]
    assert again["cmd"] == first["cmd"]
    assert again["random_cmd"] is None  # one null for all
    assert [point["share"] for point in again["curve"]] == [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    assert Curves.load(path).rows == curves.rows


def test_the_table_the_picture_and_the_page(made):
    curves, path = made
    text = curves.summary()
    assert "262 edges, scored on 16 pairs, judged on 16 others" in text
    assert "not run: this model is too large" in text
    assert "oracle from" in curves.plot().still
    page = path.with_suffix(".html").read_text()
    assert "<script" not in page
    assert "oracle" in page
