"""Ablation against hand computations."""

import numpy as np
import pytest
import torch
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.data import PromptSet, pad
from mechcausal.errors import MechcausalError
from mechcausal.interventions import Mean, Patch, Set
from mechcausal.patching.ablation import draw


def with_head(tokens, layer, head, change):
    """Run the bare GPT-2 with one head's output changed by a plain torch hook."""

    def hook(_module, args):
        z = args[0].clone()
        z[..., 8 * head : 8 * head + 8] = change(z[..., 8 * head : 8 * head + 8])
        return (z,)

    handle = bare("gpt2").transformer.h[layer].attn.c_proj.register_forward_pre_hook(hook)
    try:
        return bare("gpt2")(tokens).logits
    finally:
        handle.remove()


def logit_diff(logits, prompts):
    rows = torch.arange(len(prompts))
    return (logits[rows, -1, prompts.answer] - logits[rows, -1, prompts.foil]).numpy()


def head_values(tokens, layer, head):
    kept = []
    with_head(tokens, layer, head, lambda z: kept.append(z.clone()) or z)
    return kept[0]


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (2, 3)])
def test_zero_and_mean_by_hand(layer, head, pairs):
    clean = pairs.clean
    site = f"L{layer}.z.H{head}"
    zero = mc.ablate(loaded("gpt2"), clean, sites=site, do="zero")
    np.testing.assert_allclose(
        zero.examples[0], logit_diff(with_head(clean.tokens, layer, head, torch.zeros_like), clean), atol=1e-5
    )
    pool = torch.cat([clean.tokens, pairs.corrupt.tokens])
    mean = head_values(pool, layer, head).mean(0)
    found = mc.ablate(loaded("gpt2"), pairs, sites=site, do="mean")
    expected = logit_diff(with_head(clean.tokens, layer, head, lambda z: mean.expand_as(z)), clean)
    np.testing.assert_allclose(found.examples[0], expected, atol=1e-5)
    assert found.provenance.arguments["mean"] == "per position"
    assert np.abs(found.frame["change"]).item() > 1e-3


def test_unequal_prompts_share_one_mean_over_positions():
    pairs = make_pairs((5, 7))
    found = mc.ablate(loaded("gpt2"), pairs.clean, sites="L1.z.H2", do="mean")
    assert found.provenance.arguments["mean"] == "over positions"
    values = torch.cat([head_values(torch.tensor([row]), 1, 2)[0] for row in pairs.clean.real_tokens])
    mean = values.mean(0)
    for row, tokens in enumerate(pairs.clean.real_tokens):
        alone = pairs.clean.take([row])
        logits = with_head(torch.tensor([tokens]), 1, 2, lambda z: mean.expand_as(z))
        assert found.examples[0, row] == pytest.approx(
            float(logits[0, -1, alone.answer] - logits[0, -1, alone.foil]), abs=1e-5
        )


@pytest.mark.parametrize("sites", ["L1.pattern.H2", "L1.k.H0", "L1.mlp_post", "L1.resid_mid", "embed"])
def test_every_kind_of_site_has_a_mean(sites, pairs):
    found = mc.ablate(loaded("gpt2"), pairs, sites=sites, do=Mean())
    assert np.isfinite(found.examples).all()
    assert np.abs(found.frame["change"]).item() > 1e-5


def test_resampling_takes_other_prompts_of_the_same_length():
    pairs = make_pairs((5, 7, 5, 7, 5))
    picked, _ = draw(pairs.clean, pairs.clean, seed=3)
    assert picked.lengths.tolist() == pairs.clean.lengths.tolist()
    assert all(a != b for a, b in zip(picked.real_tokens, pairs.clean.real_tokens, strict=True))
    one = mc.ablate(loaded("gpt2"), pairs, do="resample", seed=1)
    again = mc.ablate(loaded("gpt2"), pairs, do="resample", seed=1)
    other = mc.ablate(loaded("gpt2"), pairs, do="resample", seed=2)
    assert np.array_equal(one.examples, again.examples)
    assert not np.array_equal(one.examples, other.examples)


def test_resampling_is_patching_from_what_was_drawn(pairs):
    from dataclasses import replace

    from mechcausal.data import Contrast

    drawn, _ = draw(pairs.clean, pairs.clean, seed=5)
    drawn = replace(drawn, answer=pairs.clean.answer, foil=pairs.clean.foil)
    expected = mc.patch(loaded("gpt2"), Contrast(pairs.clean, drawn, "drawn"), sites="z", direction="noise")
    found = mc.ablate(loaded("gpt2"), pairs.clean, sites="z", do="resample", seed=5)
    np.testing.assert_allclose(found.examples, expected.examples, atol=1e-6)


def test_closed_form(by_hand):
    """Without H0 the gender is 0: 1.3 are lost, and 0.9 more where the neuron was on."""
    lost = mc.truth("by_hand")["ablation_of_H0_from_he"]
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    for do in ("zero", "mean"):
        groups = mc.ablate(by_hand, pairs, sites="L0.z.H0", do=do).by_group().set_index("group")
        for level in ("low", "high"):
            assert groups.loc[level, "change"] == pytest.approx(lost[level], abs=1e-5)


def test_a_set_value_and_one_neuron(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    found = mc.ablate(by_hand, pairs.clean, sites="L1.mlp_post.N0", do=Set(2.0), at="@end")
    active = np.array([level == "high" for level in pairs.clean.groups])
    np.testing.assert_allclose(found.examples[0] - found.baselines["base"], 0.9 * (2.0 - active), atol=1e-5)


def test_a_neuron_sweep_by_hand(pairs):
    clean, prompts = pairs.clean, torch.arange(len(pairs))
    sweep = mc.ablate(loaded("gpt2"), clean, sites="L1.mlp_post.N*", do="zero", at="@2:5")
    assert len(sweep) == 128
    for neuron in (0, 77, 127):

        def hook(_module, args, neuron=neuron):
            hidden = args[0].clone()
            hidden[:, 2:5, neuron] = 0
            return (hidden,)

        handle = bare("gpt2").transformer.h[1].mlp.c_proj.register_forward_pre_hook(hook)
        try:
            logits = bare("gpt2")(clean.tokens).logits[prompts, -1]
        finally:
            handle.remove()
        expected = logits[prompts, clean.answer] - logits[prompts, clean.foil]
        row = sweep.frame.index[sweep.frame["neuron"] == neuron].item()
        np.testing.assert_allclose(sweep.examples[row], expected.numpy(), atol=1e-5)
    assert np.abs(sweep.frame["change"]).max() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("do", ["mean", "resample"])
def test_means_and_resamples_do_not_depend_on_padding_or_batches(name, do):
    lengths = (5, 8, 5, 8, 8)
    reference = make_pairs((8, 5, 8, 5), seed=7).clean

    def run(prompts, size=64):
        sites = ["L0.z.H1", "L1.v.H0", "L1.mlp_out", "resid_mid"]
        found = mc.ablate(loaded(name), prompts, sites=sites, do=do, reference=reference, batch_size=size)
        return found.examples

    right, left = make_pairs(lengths).clean, make_pairs(lengths, side="left").clean
    expected = run(right)
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(run(left), expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(run(right, 2), expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(run(right.padded(12)), expected, atol=1e-5, rtol=1e-5)
    if do == "mean":  # a resample is drawn by row
        for row, length in enumerate(lengths):
            alone = run(right.take([row]).padded(length))
            np.testing.assert_allclose(alone[:, 0], expected[:, row], atol=1e-5, rtol=1e-5)
        order = [3, 1, 4, 0, 2]
        np.testing.assert_allclose(run(right.take(order)), expected[:, order], atol=1e-5, rtol=1e-5)


def test_a_mean_pattern_needs_keys_that_line_up():
    with pytest.raises(MechcausalError, match="prompts of one length"):
        mc.ablate(loaded("gpt2"), make_pairs((5, 7)).clean, sites="L1.pattern.H2", do="mean")


def test_pairs_as_reference_are_both_sides(pairs):
    by_pairs = mc.ablate(loaded("gpt2"), pairs.clean, sites="z", do="mean", reference=pairs)
    by_default = mc.ablate(loaded("gpt2"), pairs, sites="z", do="mean")
    np.testing.assert_array_equal(by_pairs.examples, by_default.examples)
    clean_only = mc.ablate(loaded("gpt2"), pairs, sites="z", do="mean", reference=pairs.clean)
    assert np.abs(clean_only.examples - by_default.examples).max() > 1e-3


def test_without_a_contrast_there_is_no_effect_but_a_change(pairs, gpt2):
    found = mc.ablate(gpt2, pairs.clean, do="zero", metric="loss")
    assert found.frame["effect"].isna().all()
    assert not found.normalized
    assert list(found.baselines) == ["base"]
    assert found.frame["change"].notna().all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"do": "mear"}, "did you mean 'mean'"),
        ({"do": Patch()}, "not an ablation"),
        ({"sites": "L0.z.H7"}, "head 7"),
        ({"do": "resample", "reference": PromptSet(*pad([[5, 6, 7]]))}, "no other reference prompt"),
    ],
)
def test_bad_input(gpt2, pairs, options, said):
    with pytest.raises(MechcausalError, match=said):
        mc.ablate(gpt2, pairs, **options)
