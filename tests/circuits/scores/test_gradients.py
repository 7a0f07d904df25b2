"""Gradients along paths: what they add up to is known exactly, and their convergence is told."""

import numpy as np
import pytest
import zoo

import mechcausal as mc
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores import SCORERS, Scoring
from mechcausal.circuits.scores.gradients import weights
from mechcausal.errors import DataError, MechcausalError


@pytest.fixture(scope="module")
def hiring():
    model = mc.load("organism:hiring")
    return Masked(model, mc.contrast("hiring/gender", model, n=16))


def test_the_trapezoid_rule_and_its_half():
    points, whole, half = weights(4)
    assert points == [0, 0.25, 0.5, 0.75, 1]
    assert whole == [0.125, 0.25, 0.25, 0.25, 0.125]
    assert half == [0.25, 0, 0.5, 0, 0.25]
    assert weights(0) == ([0.0], [1.0], [1.0])


def test_edges_of_the_embedding_add_up_to_the_effect_of_the_input(hiring):
    scored = SCORERS["eap-ig"](hiring, Scoring(steps=120))
    total = (hiring.clean - hiring.corrupt).mean()
    assert abs(np.nansum(scored.edges[0]) - total) < 1e-3 * abs(total)
    assert scored.about["convergence"]["edges"] < 1e-3


def test_edges_of_a_sublayer_add_up_to_the_effect_of_replacing_it(hiring):
    scored = SCORERS["eap-ig-activations"](hiring, Scoring(steps=40))
    wiring, clean = hiring.wiring, hiring.clean
    for senders in ([0], list(range(*wiring.senders_of(1).indices(99)))[:4], [wiring.sender("L2.mlp_out")]):
        kept = np.ones(hiring.shape)
        kept[senders] = 0
        exact = (clean - hiring.metric(kept)).mean()
        assert abs(np.nansum(scored.edges[senders]) - exact) < 2e-3 * max(1, abs(exact))


def test_convergence_is_the_change_from_half_the_steps(hiring):
    fine, coarse = (SCORERS["eap-ig"](hiring, Scoring(steps=steps)) for steps in (8, 4))
    change = np.linalg.norm(np.nan_to_num(fine.edges - coarse.edges)) / np.linalg.norm(np.nan_to_num(fine.edges))
    assert fine.about["convergence"]["edges"] == pytest.approx(change, rel=1e-3)
    with pytest.raises(DataError, match="an even number"):
        SCORERS["eap-ig"](hiring, Scoring(steps=5))


def test_senders_are_scored_by_the_sum_of_their_edges(hiring):
    scored = SCORERS["clean-corrupted"](hiring, Scoring())
    assert np.allclose(np.nansum(scored.edges, axis=1), scored.nodes)


def test_a_linear_model_is_scored_exactly_by_one_gradient():
    model = mc.load("organism:by_hand")
    masked = Masked(model, mc.contrast("by_hand/gender", model, n=16))
    exact, estimated = (SCORERS[name](masked, Scoring()) for name in ("exact", "eap"))
    last = masked.wiring.receiver("logits")  # behind which nothing is but one linear map
    assert np.nanmax(np.abs(exact.edges[:, last] - estimated.edges[:, last])) < 1e-4
    assert np.nanmax(np.abs(exact.edges[:, last])) > 1


def test_a_metric_without_a_gradient_is_refused():
    model = zoo.loaded("gpt2")
    with pytest.raises(MechcausalError, match="no gradient"):
        SCORERS["eap"](Masked(model, zoo.make_pairs(), "accuracy"), Scoring())
    with pytest.raises(MechcausalError, match="no slope at the clean run"):
        SCORERS["eap"](Masked(model, zoo.make_pairs(), "kl"), Scoring())
    assert np.isfinite(np.nansum(SCORERS["eap-ig"](Masked(model, zoo.make_pairs(), "kl"), Scoring()).edges))


def test_answers_of_several_tokens_are_differentiated_through_all_their_rows(hiring):
    model = zoo.loaded("llama")
    pairs = zoo.make_pairs(lengths=(6, 5, 6))
    from dataclasses import replace

    import torch

    told = {
        "answers": torch.tensor([[[5, 9]], [[7, 8]], [[4, 11]]]),
        "foils": torch.tensor([[[6, -1]], [[9, -1]], [[5, -1]]]),
    }
    sides = [replace(side, answer=None, foil=None, **told) for side in (pairs.clean, pairs.corrupt)]
    masked = Masked(model, type(pairs)(*sides, "two tokens"))
    scored = SCORERS["eap-ig"](masked, Scoring(steps=100))
    total = (masked.clean - masked.corrupt).mean()
    # The rule's error falls with the square of the steps: 2e-4 of the effect at 100, 5e-5 at 200.
    assert abs(np.nansum(scored.edges[0]) - total) < 1e-3 * abs(total)
