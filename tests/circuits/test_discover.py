"""Discovery as users ask for it: the known circuit comes out, sizes are those asked for, and bad questions are refused."""

import numpy as np
import pytest
import torch
import zoo

import mechcausal as mc
from mechcausal.circuits.held_out import digests
from mechcausal.errors import MechcausalError


@pytest.fixture(scope="module")
def hiring():
    model = mc.load("organism:hiring")
    return model, mc.contrast("hiring/gender", model, n=32)


@pytest.mark.parametrize("method", ["eap", "eap-ig", "exact", "atp*", "clean-corrupted"])
def test_the_two_ways_of_gender_come_out(hiring, method):
    """The organism was trained to carry gender through the hobby (head 1) and by itself (head 2) into one MLP."""
    found = mc.discover(*hiring, method=method, edges=10, steps=4)
    edges = {(str(a.site), str(b.site)) for a, b in found.edges}
    assert {("L1.z.H1", "L2.mlp_out"), ("L1.z.H2", "L2.mlp_out"), ("L2.mlp_out", "logits")} <= edges
    assert {("embed", "L1.v.H1"), ("embed", "L1.v.H2")} <= edges
    assert not any(sender in ("L1.z.H0", "L1.z.H3", "L2.z.H3") for sender, _ in edges)


def test_what_is_asked_is_told(hiring):
    model, pairs = hiring
    found = mc.discover(model, pairs, edges=10, steps=4, ablation="mean", seed=3)
    about = found.about
    assert (about["method"], about["ablation"], about["n"]) == ("eap-ig", "mean", 32)
    assert about["found_on"] == digests(pairs)
    assert (
        about["provenance"]["model"]["weights"]
        == mc.measure(model, pairs.clean, "logit_diff").provenance.model["weights"]
    )
    assert 0 <= about["convergence"]["edges"] < 0.2
    assert about["mean_per_position"] is True


def test_sizes_and_ways_to_keep(hiring):
    assert len(mc.discover(*hiring, method="eap")) == 24  # a twentieth of 479
    assert len(mc.discover(*hiring, method="eap", share=0.1, search="top")) == 48
    kept = mc.discover(*hiring, method="eap", search="threshold", threshold=1.0)
    assert np.array_equal(kept.kept, np.nan_to_num(np.abs(kept.scores)) >= 1.0)
    grown = mc.discover(*hiring, method="random", edges=30, seed=1)
    assert np.isfinite(grown.scores[grown.kept]).all()


def test_positions_are_those_of_the_receivers(hiring):
    found = mc.discover(*hiring, method="eap", at=["@hobby", "@gender", "@decision"], edges=12, search="top")
    whole = mc.discover(*hiring, method="eap")
    frame = found.frame[found.frame["kept"]]
    assert set(frame.loc[frame["receiver"] == "logits", "at"]) == {"@decision"}
    assert set(frame.loc[frame["receiver"] == "L1.v.H1", "at"]) <= {"@hobby"}
    assert np.nansum(found.scores) == pytest.approx(np.nansum(whole.scores), rel=0.05)


def test_an_exact_effect_that_nothing_carries_is_zero():
    model = mc.load("organism:by_hand")
    found = mc.discover(model, mc.contrast("by_hand/gender", model, n=16), method="exact")
    frame = found.frame.set_index(["sender", "receiver"])["score"]
    assert frame["L0.z.H0", "logits"] == pytest.approx(2.6, abs=1e-3)  # as it was built
    assert abs(frame["L0.z.H1", "logits"]) < 1e-5  # holds the gender, and nothing reads it


def test_a_question_without_an_answer_is_refused(hiring):
    model, pairs = hiring

    def constant(logits, batch):
        return logits[:, 0, 0] * 0

    with pytest.raises(MechcausalError, match="the same with every edge and with none"):
        mc.discover(model, pairs, metric=constant)
    with pytest.raises(MechcausalError, match="eap-ig"):
        mc.discover(model, pairs, method="eapig")
    with pytest.raises(MechcausalError, match="threshold"):
        mc.discover(model, pairs, method="eap", search="threshold")
    with pytest.raises(MechcausalError, match="overlap"):
        mc.discover(model, pairs, method="eap", at=["@-1", "@decision"])


def test_the_cost_is_told_before(hiring):
    cost = mc.discover.cost(*hiring, method="eap-ig", steps=10)
    assert cost.cells == 479
    assert cost.forwards == 32 * (2 + 33)
    found = mc.discover(*hiring, method="eap-ig", steps=10)
    assert found.about["provenance"]["compute"]["forwards"] == pytest.approx(cost.forwards, rel=0.1)


def test_a_metric_of_ones_own():
    def of_one_token(logits, batch):
        return logits[torch.arange(len(batch)), batch.read_columns, 5]

    found = mc.discover(zoo.loaded("neox"), zoo.make_pairs(), method="eap", metric=of_one_token, edges=5)
    assert found.about["metric"] == "of_one_token"


def test_certifying_holds_one_half_of_the_clusters_out(hiring):
    model, pairs = hiring
    found = mc.discover(model, pairs, method="eap", edges=8, certify=5)
    told = found.about["certified"]
    assert told["k"] == 5
    assert len(told["edges"]) > 0
    assert f"certified: {told['sentence']}" in found.summary()
    assert len(found.about["found_on"]) < 32
    before = mc.discover(model, pairs.take([digests(pairs).index(d) for d in found.about["found_on"]]), method="eap")
    assert np.allclose(found.scores, before.scores, equal_nan=True, atol=1e-4)


def test_with_few_clusters_both_halves_hold_pairs_of_each(hiring):
    from dataclasses import replace

    model, pairs = hiring
    clusters = tuple(f"template {number % 5}" for number in range(len(pairs)))
    few = type(pairs)(*(replace(side, clusters=clusters) for side in (pairs.clean, pairs.corrupt)), "gender")
    found = mc.discover(model, few, method="eap", certify=3, edges=10)
    assert "other pairs of the same" in found.about["certified"]["sentence"]
    assert len(found.about["found_on"]) < len(pairs)
    whole = mc.discover(model, pairs, method="eap", certify=3, edges=10)
    assert "the same" not in whole.about["certified"]["sentence"]


def test_circuits_of_features_are_found_elsewhere():
    with pytest.raises(MechcausalError, match=r"one of heads and MLPs.*mc\.features\.circuit") as refused:
        mc.discover(zoo.loaded("gpt2"), zoo.make_pairs(), dictionaries=["mine"])
    assert len(str(refused.value)) < 400


def test_the_cost_of_a_learned_mask_is_that_of_its_steps():
    pairs = zoo.make_pairs()
    cost = mc.discover.cost(zoo.loaded("gpt2"), pairs, method="edge-pruning", batch_size=2)
    assert cost.forwards == 2 * len(pairs) + 3 * 300 * 2
