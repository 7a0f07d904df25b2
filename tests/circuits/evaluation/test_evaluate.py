"""Judging a circuit: against the organism whose weights are written down, and against what it must refuse."""

import numpy as np
import pytest
from small_circuit import BY_HAND, WIRING, by_first_order
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.evaluation.evaluate import (
    EvaluatingCircuit,
    evaluate,
    read_circuit,
    require_behavior,
    spread_over,
)
from mechcausal.circuits.held_out import digests
from mechcausal.errors import ArgumentError, DataError, SiteError
from mechcausal.metrics import metric
from mechcausal.models.abilities import abilities


@pytest.fixture(scope="module")
def gender(by_hand):
    return mc.contrast("by_hand/gender", by_hand, n=32)


@pytest.fixture(scope="module")
def known(by_hand):
    return Circuit.of(Wiring.of(abilities(by_hand)), BY_HAND)


@pytest.fixture(scope="module")
def judged(by_hand, gender, known):
    return evaluate(by_hand, gender, known)


def test_the_known_circuit_is_faithful_and_complete(judged):
    assert judged.faithfulness.estimate == pytest.approx(1, abs=1e-4)
    assert judged.completeness.estimate == pytest.approx(0, abs=1e-4)
    assert "does not say which pairs" in judged.summary()


def test_what_an_edge_loses_is_what_the_formula_says(judged, gender):
    """log-odds = 1.3 g + .4 s + .9 relu(g + s - 1), so that gender is worth 1.3 by itself and .9 s with the level."""
    signs = [side.variables["g"].float().numpy() for side in (gender.clean, gender.corrupt)]
    level = gender.clean.variables["s"].float().numpy()
    alone = 1.3 * (signs[0] - signs[1])
    joint = [0.9 * np.maximum(0, sign + level - 1) for sign in signs]
    direct = alone.mean() / (alone + joint[0] - joint[1]).mean()
    removed = judged.minimality.set_index(["sender", "receiver"])["loss"]
    assert removed["L0.z.H0", "logits"] == pytest.approx(direct, abs=2e-3)
    assert removed["L1.mlp_out", "logits"] == pytest.approx(1 - direct, abs=2e-3)
    assert removed["embed", "L0.v.H0"] == pytest.approx(1, abs=1e-3)


def test_without_a_part_the_circuit_is_as_the_model(judged):
    """Nothing in the organism stands in for an edge that is lost."""
    assert np.abs(judged.incompleteness["difference"]).max() < 1e-3
    assert len(judged.incompleteness) == 3


def test_random_circuits_keep_nothing(judged):
    assert max(np.abs(judged.of_random)) < 0.2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_number_is_that_of_the_circuit_run_by_itself(name):
    model, pairs = loaded(name), make_pairs(lengths=(7,) * 8)
    circuit = by_first_order(model, pairs, 30)
    result = evaluate(model, pairs, circuit, random=1, sizes=(0.05, 0.5), minimality=4)
    masked = Masked(model, pairs)
    clean, corrupt = masked.clean.mean(), masked.corrupt.mean()

    def share(kept):
        return (masked.metric(kept).mean() - corrupt) / (clean - corrupt)

    assert result.faithfulness.estimate == pytest.approx(share(circuit.kept), abs=1e-4)
    assert result.completeness.estimate == pytest.approx(share(~circuit.kept), abs=1e-4)
    assert result.curve["share"].tolist() == [0.05, 0.5]
    kept = circuit.kept.copy()
    row = result.minimality.iloc[0]
    kept[circuit.wiring.sender(row["sender"]), circuit.wiring.receiver(row["receiver"])] = False
    assert row["loss"] == pytest.approx(share(circuit.kept) - share(kept), abs=1e-4)


def test_pairs_of_the_search_are_left_out(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=48)
    circuit = by_first_order(hiring, pairs.take(slice(0, 16)), 10, found_on=digests(pairs.take(slice(0, 16))))
    result = evaluate(hiring, pairs, circuit, random=2, minimality=3)
    used = sum(digest in set(circuit.about["found_on"]) for digest in digests(pairs))
    assert result.examples.shape[1] == 48 - used
    assert f"{used} pairs were left out" in result.summary()
    assert result.faithfulness.estimate > 0.9 > 0.3 > result.of_random[0]
    assert result.cmd.estimate < 0.1 < result.cmd_of_random[0]
    assert "CMD" in result.summary()
    with pytest.raises(DataError, match="too few pairs are left"):
        evaluate(hiring, pairs.take(slice(0, 16)), circuit)
    both = evaluate(hiring, pairs.take(slice(0, 16)), circuit, shared=True, random=0, minimality=0)
    assert "no test on held-out pairs" in both.summary()


def test_what_cannot_be_judged_is_refused(by_hand, gender, known, gpt2):
    with pytest.raises(SiteError, match="of another model"):
        evaluate(gpt2, make_pairs(), known)
    with pytest.raises(ArgumentError, match="keeps no edge"):
        evaluate(by_hand, gender, known.keep(np.zeros_like(known.kept)))
    with pytest.raises(ArgumentError, match="ascending"):
        evaluate(by_hand, gender, known, sizes=(0.5, 0.1))
    with pytest.raises(DataError, match=r"'mine' is the same with every edge and with none.*no share"):
        evaluate(by_hand, gender, known, metric=mine)
    require_behavior(np.ones(3), np.zeros(3), metric("logit_diff"))


def mine(logits, batch):
    return logits[:, 0, 0] * 0 + 2


def test_other_weights_are_noted(by_hand, gender, known):
    other = known.keep(known.kept, provenance={"model": {"weights": "0" * 16}})
    assert "other weights" in evaluate(by_hand, gender, other, random=0, minimality=0).summary()


def test_a_specification_is_written_and_read(known, tmp_path):
    spec = EvaluatingCircuit(known, random=2)
    assert mc.method.read(spec.to_json()) == spec
    assert read_circuit(str(known.save(tmp_path / "c.json"))) == known
    assert read_circuit("x") == "x"


def test_the_cost_counts_circuits(by_hand, gender, known):
    cost = evaluate.cost(by_hand, gender, known, random=3)
    assert cost.cells == 2 + 3 + 2 * 3 + len(known)


def test_the_wiring_of_the_tests_is_another(known):
    assert known.wiring != WIRING


def test_comparisons_may_be_run_on_a_sample_of_the_pairs(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    circuit = by_first_order(hiring, pairs, 30)
    whole, some = (evaluate(hiring, pairs, circuit, random=2, minimality=3, sampled=n) for n in (None, 12))
    assert "sample of 12 of the 40 pairs" in some.summary()
    assert "sample" not in whole.summary().replace("a random sample", "")
    compared = some.frame["role"].isin(["random", "circuit without a part", "model without a part"]).to_numpy()
    run = np.isfinite(some.examples)
    assert run[~compared].all()
    assert (run[compared].sum(1) == 12).all()
    assert (run[compared] == run[compared][0]).all()
    np.testing.assert_allclose(some.examples[run], whole.examples[run], atol=1e-4)
    assert some.faithfulness == whole.faithfulness
    assert some.cmd == whole.cmd
    rows = np.flatnonzero(run[compared][0])
    alone = evaluate(hiring, pairs.take(rows.tolist()), circuit, random=2, minimality=3)
    assert some.cmd_of_random == pytest.approx(alone.cmd_of_random, abs=1e-4)
    assert some.of_random == pytest.approx(alone.of_random, abs=1e-4)
    for column in ("loss", "low", "high"):
        np.testing.assert_allclose(some.minimality[column], alone.minimality[column], atol=1e-4)
    np.testing.assert_allclose(some.incompleteness["difference"], alone.incompleteness["difference"], atol=1e-4)
    cost = evaluate.cost(hiring, pairs, circuit, random=2, minimality=3, sampled=12)
    assert cost.forwards < cost.naive_forwards


def test_a_sample_has_as_many_pairs_of_each_cluster():
    clusters = ["a"] * 50 + ["b"] * 5 + ["c"] * 20
    rows = spread_over(clusters, 75, 18, 0)
    counts = [sum(clusters[row] == name for row in rows) for name in "abc"]
    assert counts in ([7, 5, 6], [6, 5, 7])
    assert list(rows) == sorted(set(rows))
    assert spread_over(clusters, 75, 80, 0).tolist() == list(range(75))
    assert len(spread_over((), 75, 18, 0)) == 18


def test_how_long_it_would_take(by_hand, gender, known):
    assert 0 < EvaluatingCircuit(known).seconds(by_hand, gender) < 60
