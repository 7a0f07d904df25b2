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
    picked = draw(pairs.clean, pairs.clean, seed=3)
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

    drawn = draw(pairs.clean, pairs.clean, seed=5)
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
    found = mc.ablate(by_hand, pairs.clean, sites="L1.mlp_post.N0", do=Set(2.0), positions="@end")
    active = np.array([level == "high" for level in pairs.clean.groups])
    np.testing.assert_allclose(found.examples[0] - found.baselines["base"], 0.9 * (2.0 - active), atol=1e-5)


def test_without_a_contrast_there_is_no_effect_but_a_change(pairs, gpt2):
    found = mc.ablate(gpt2, pairs.clean, do="zero", metric="loss")
    assert found.frame["effect"].isna().all()
    assert not found.normalised
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
