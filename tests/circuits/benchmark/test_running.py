"""Running the benchmark: perfect scores are found perfect, chance is chance, and a file is gone on with."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.circuits.benchmark import running
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.known.truth import truth
from mechcausal.errors import ArgumentError, UnsupportedError

SMALL = {"n": 8, "draws": 2, "progress": False}


def scored(model, pairs, sign):
    """Return the truth as scores, or its opposite."""
    known = truth(model, pairs)
    scores = np.where(known.true, 1.0 + sign, 1.0)[..., None]
    nodes = np.where(known.nodes, 1.0 + sign, 1.0)[:, None]
    return Circuit(known.wiring, np.zeros(scores.shape, dtype=bool), scores, nodes)


OWN = {
    "oracle": lambda model, pairs, seed: scored(model, pairs, 1),
    "foe": lambda model, pairs, seed: scored(model, pairs, -1),
}


def test_an_oracle_is_perfect_and_its_opposite_the_worst():
    made = mc.circuits.bench(methods=OWN, organisms=["by_hand", "induction"], **SMALL)
    by_method = made.frame.groupby("method")[["edge_auc", "node_auc"]]
    assert (by_method.min().loc["oracle"] == 1).all()
    assert (by_method.max().loc["foe"] == 0).all()
    assert set(made.frame["kind"]) == {"compiled", "trained"}
    assert len(made.rows) == 2 * (2 + 1) * 2


def test_chance_is_chance():
    made = mc.circuits.bench(
        methods=["random"], organisms=["by_hand", "fraction"], quick=True, n=4, draws=16, progress=False
    )
    areas = [row["edge_auc"] for row in made.rows]
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 32**0.5)


def test_methods_that_gradients_suit_find_the_copied_letter():
    made = mc.circuits.bench(methods=["eap", "exact"], organisms=["reverse"], quick=True, n=12, draws=1, progress=False)
    assert made.frame["edge_auc"].min() == 1  # without a norm the MLP reads the stream itself, not a copy


def test_what_is_in_the_file_is_not_run_again(tmp_path, monkeypatch):
    path, ran = tmp_path / "bench.json", []

    def own(model, pairs, seed):
        ran.append(seed)
        return scored(model, pairs, 1)

    first = mc.circuits.bench(methods={"own": own}, organisms=["by_hand"], quick=True, out=path, **SMALL)
    assert len(ran) == 2
    again = mc.circuits.bench(methods={"own": own}, organisms=["by_hand", "induction"], quick=True, out=path, **SMALL)
    assert len(ran) == 4
    assert again.rows[:2] == first.rows
    assert "own" in path.with_suffix(".html").read_text()
    with pytest.raises(ArgumentError, match="holds a benchmark with other settings"):
        mc.circuits.bench(methods={"own": own}, organisms=["by_hand"], out=path, n=9, draws=2, progress=False)


def test_a_method_that_cannot_run_says_why():
    def cannot(model, pairs, seed):
        raise UnsupportedError("this model is too small")

    made = mc.circuits.bench(methods={"mine": cannot, **OWN}, organisms=["by_hand"], quick=True, **SMALL)
    assert "not run: mine on by_hand/gender: this model is too small" in made.summary()


def test_refusals():
    with pytest.raises(ArgumentError, match="there is nothing to run"):
        mc.circuits.bench(methods=[])
    with pytest.raises(ArgumentError, match="did you mean 'exact'"):
        mc.circuits.bench(methods=["exat"])
    with pytest.raises(ArgumentError, match=r"ends in \.json"):
        mc.circuits.bench(methods=["random"], out="bench.csv")


def test_distance_is_left_out_where_there_is_no_curve():
    model = mc.load("organism:by_hand")
    pairs = mc.contrast("by_hand/gender", model, n=8)
    empty = scored(model, pairs, 1)
    without = Circuit(empty.wiring, empty.kept, np.full(empty.scores.shape, np.nan))
    assert running.distance(model, without, pairs) is None
