"""Attribution is exact where the metric is linear, and integrated gradients converge to the exact effect."""

import numpy as np
import pytest
import torch
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import DataError, MechcausalError, NumericsError


@pytest.mark.parametrize("sites", ["embed", "resid_pre", "attn_out", "z", "v", "resid_post"])
@pytest.mark.parametrize("direction", ["noise", "denoise"])
def test_exact_on_a_linear_model(linear, sites, direction, pairs):
    exact = mc.patch(linear, pairs, sites=sites, direction=direction)
    estimate = mc.attribute(linear, pairs, sites=sites, direction=direction)
    if direction == "denoise":
        assert mc.attribute(linear, pairs, sites=sites).examples.tolist() == estimate.examples.tolist()
    np.testing.assert_allclose(estimate.examples, exact.examples, atol=1e-5)
    assert np.abs(exact.frame["change"]).max() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "bert", "hiring"])
def test_the_estimate_and_the_patch_of_the_same_arguments_agree_in_sign(name, pairs):
    """No argument but the sites: one default direction, one scale."""
    model = mc.load("organism:hiring") if name == "hiring" else loaded(name)
    pairs = mc.contrast("hiring/gender", model, n=16) if name == "hiring" else pairs
    exact, estimate = (method(model, pairs, sites="resid_post") for method in (mc.patch, mc.attribute))
    np.testing.assert_allclose(estimate.baselines["base"], exact.baselines["base"], atol=1e-5)
    assert np.corrcoef(exact.frame["change"], estimate.frame["change"])[0, 1] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", pytest.param("llama", marks=pytest.mark.slow), "gemma2"])
@pytest.mark.parametrize("sites", ["attn_out", "mlp_post", "L*.z.H*", "resid_mid", "L1.mlp_post.N3"])
def test_integrated_gradients_converge_to_the_exact_cell(name, sites):
    model, pairs = loaded(name), make_pairs((7,) * 4)
    exact = mc.patch(model, pairs, sites=sites, at="all", direction="noise").examples
    gap = {}
    for steps in (1, 4, 24):
        found = mc.attribute(model, pairs, sites=sites, at="all", direction="noise", steps=steps, path="cell").examples
        gap[steps] = np.abs(found - exact).max()
    scale = np.abs(exact - mc.patch(model, pairs, sites=sites, at="all").baselines["clean"]).max()
    assert gap[24] < gap[1]
    assert gap[24] < 0.02 * scale


def test_the_joint_path_shares_out_the_exact_whole():
    model, pairs = loaded("gpt2"), make_pairs((7,) * 4)
    whole = mc.patch(model, pairs, sites="attn_out", at="all", direction="noise")
    shares = mc.attribute(model, pairs, sites="attn_out", at="each", direction="noise", steps=32)
    changes = (shares.examples - shares.baselines["base"]).reshape(3, 7, 4).sum(1)
    np.testing.assert_allclose(changes, whole.examples - whole.baselines["base"], atol=5e-3)


def test_the_gradient_of_resid_mid_includes_the_stream():
    """Where a change is tiny, first order is exact; a gradient of one branch alone would miss most of it."""
    model, pairs = loaded("gpt2"), make_pairs((6,) * 3)
    small = mc.attribute(model, pairs, sites="resid_mid", at="each", direction="noise", steps=64, path="cell")
    exact = mc.patch(model, pairs, sites="resid_mid", at="each", direction="noise")
    np.testing.assert_allclose(small.examples, exact.examples, atol=0.02 * np.abs(exact.frame["change"]).max() + 1e-4)


def test_closed_form(by_hand):
    """At he and high the neuron is on: slope 1.3 + 0.9, step -2; along the path it is on for half of it."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=12)
    plain = mc.attribute(by_hand, pairs, sites="L0.z.H0", direction="noise", steps=0).by_group().set_index("group")
    path = mc.attribute(by_hand, pairs, sites="L0.z.H0", direction="noise", steps=10).by_group().set_index("group")
    assert plain.loc["high", "change"] == pytest.approx(-4.4, abs=1e-5)
    assert path.loc["high", "change"] == pytest.approx(-3.5, abs=1e-5)
    assert path.loc["low", "change"] == pytest.approx(-2.6, abs=1e-5)


def test_one_forward_and_one_forward_backward(gpt2, pairs):
    # Two readings of the runs and one differentiated run; the rest are the two baselines, counted apart.
    assert mc.attribute(gpt2, pairs, sites="z").provenance.compute["forwards"] == 3


def test_a_gradient_that_is_no_number_is_said(gpt2, pairs):
    def root(logits, batch):
        return torch.sqrt(logits[:, -1, 0] * 0)

    with pytest.raises(NumericsError, match=r"the gradient at L2\.mlp_out holds NaN or infinity"):
        mc.attribute(gpt2, pairs, sites="L2.mlp_out", metric=root)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_where_the_caller_has_switched_them_off(mode, gpt2, pairs):
    expected = mc.attribute(gpt2, pairs, sites="z", steps=2).examples
    with mode():
        found = mc.attribute(gpt2, pairs, sites="z", steps=2).examples
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(found, expected)


def test_the_divergence_from_the_clean_run_has_no_slope_there(gpt2, pairs):
    with pytest.raises(DataError, match="no slope at the clean run"):
        mc.attribute(gpt2, pairs, metric="kl", direction="noise")
    along = mc.attribute(gpt2, pairs, metric="kl", sites="attn_out", at="all", direction="noise", steps=24)
    exact = mc.patch(gpt2, pairs, metric="kl", sites="attn_out", at="all", direction="noise")
    np.testing.assert_allclose(along.examples, exact.examples, atol=0.02 * exact.examples.max())


def test_the_weights_gather_no_gradient(pairs):
    model = mc.load(build("gpt2"))
    for parameter in model.original_model.parameters():
        parameter.requires_grad_(True)
    free = mc.attribute(model, pairs, sites="z", steps=2)
    assert all(parameter.grad is None for parameter in model.original_model.parameters())
    frozen = mc.attribute(loaded("gpt2"), pairs, sites="z", steps=2)
    np.testing.assert_allclose(free.examples, frozen.examples, atol=1e-5)


def test_bad_input(gpt2, pairs):
    with pytest.raises(DataError, match="no gradient"):
        mc.attribute(gpt2, pairs, metric="accuracy")
    with pytest.raises(MechcausalError, match="at least 0"):
        mc.attribute(gpt2, pairs, steps=-1)
