"""Patching and ablating from another model, against plain hooks on the bare models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from zoo import bare, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError


@pytest.fixture(scope="module")
def twin():
    """The same architecture with other weights, as a bare model and as a bridge."""
    torch.manual_seed(5)
    plain = build("gpt2")
    for parameter in plain.parameters():
        parameter.copy_(parameter * (1 + 0.2 * torch.randn(parameter.shape)))
    return plain, mc.load(plain)


def head(model, tokens, change):
    """Run a bare GPT-2 with head 2 of layer 1 changed by a function of its output."""

    def hook(_module, args):
        z = args[0].clone()
        z[..., 16:24] = change(z[..., 16:24])
        return (z,)

    handle = model.transformer.h[1].attn.c_proj.register_forward_pre_hook(hook)
    try:
        return model(tokens).logits
    finally:
        handle.remove()


def values_of(model, tokens):
    kept = []
    head(model, tokens, lambda z: kept.append(z.clone()) or z)
    return kept[0]


def logit_diff(logits, prompts):
    rows = torch.arange(len(prompts))
    return (logits[rows, -1, prompts.answer] - logits[rows, -1, prompts.foil]).numpy()


@pytest.mark.parametrize("exact", ["replay", "naive"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_head_of_another_model_by_hand(twin, pairs, exact, direction):
    plain, other = twin
    base, source = (pairs.corrupt, pairs.clean) if direction == "denoise" else (pairs.clean, pairs.corrupt)
    taken = values_of(plain, source.tokens)
    expected = logit_diff(head(bare("gpt2"), base.tokens, lambda z: taken), base)
    options = {"sites": "L1.z.H2", "direction": direction, "exact": exact}
    result = mc.patch(loaded("gpt2"), pairs, source_model=other, **options)
    np.testing.assert_allclose(result.examples[0], expected, atol=1e-5)
    assert result.provenance.compute["engine"] == exact
    assert result.provenance.arguments["source_model"]["weights"]
    sides = ("corrupt", "clean") if direction == "denoise" else ("clean", "corrupt")
    np.testing.assert_allclose(
        result.baselines[sides[0]], logit_diff(bare("gpt2")(base.tokens).logits, base), atol=1e-5
    )
    np.testing.assert_allclose(result.baselines[sides[1]], logit_diff(plain(source.tokens).logits, source), atol=1e-5)
    own = mc.patch(loaded("gpt2"), pairs, **options)
    assert np.abs(own.examples - result.examples).max() > 1e-3


def test_the_model_itself_as_source_changes_nothing(gpt2, pairs):
    usual = mc.patch(gpt2, pairs, sites=["z", "mlp_out"])
    result = mc.patch(gpt2, pairs, sites=["z", "mlp_out"], source_model=gpt2)
    np.testing.assert_allclose(result.examples, usual.examples, atol=1e-5)


def test_prompts_alone_compare_the_models(twin, gpt2, pairs):
    """The last stream of the other model decides as the other model where both unembed alike."""
    plain, other = twin
    prompts = pairs.clean
    result = mc.patch(gpt2, prompts, sites=["L1.z.H2", "L2.resid_post"], at="all", source_model=other)
    taken = values_of(plain, prompts.tokens)
    expected = logit_diff(head(bare("gpt2"), prompts.tokens, lambda z: taken), prompts)
    np.testing.assert_allclose(result.examples[0], expected, atol=1e-5)
    np.testing.assert_allclose(result.baselines["clean"], logit_diff(plain(prompts.tokens).logits, prompts), atol=1e-5)
    assert result.normalized
    same = mc.patch(gpt2, prompts, sites="z", source_model=gpt2)
    np.testing.assert_allclose(same.frame["change"], 0, atol=1e-6)


@pytest.mark.parametrize("exact", ["replay", "naive"])
def test_means_of_another_model_by_hand(twin, pairs, exact):
    plain, other = twin
    mean = values_of(plain, torch.cat([pairs.clean.tokens, pairs.corrupt.tokens])).mean(0)
    expected = logit_diff(head(bare("gpt2"), pairs.clean.tokens, lambda z: mean.expand_as(z)), pairs.clean)
    result = mc.ablate(loaded("gpt2"), pairs, sites="L1.z.H2", do="mean", source_model=other, exact=exact)
    np.testing.assert_allclose(result.examples[0], expected, atol=1e-5)


def test_resamples_of_another_model(twin, gpt2, pairs):
    own, other = (
        mc.ablate(gpt2, pairs, sites="z", do="resample", source_model=model, seed=2).examples
        for model in (gpt2, twin[1])
    )
    np.testing.assert_allclose(own, mc.ablate(gpt2, pairs, sites="z", do="resample", seed=2).examples, atol=1e-5)
    assert np.abs(own - other).max() > 1e-3


def test_it_costs_no_more_and_says_so(twin, gpt2, pairs):
    cost = mc.patch.cost(gpt2, pairs, sites="z", source_model=twin[1])
    told = mc.patch(gpt2, pairs, sites="z", source_model=twin[1]).provenance.compute
    assert (cost.token_layers, cost.skipped) == (told["token_layers"], told["skipped"])


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        (mc.patch, {"sites": "v", "source_model": "llama"}, "another shape"),
        (mc.patch, {"source_model": 3}, "a model from mc.load"),
        (mc.ablate, {"do": "zero", "source_model": "gpt2"}, "zero takes nothing from another model"),
    ],
)
def test_what_does_not_fit_is_refused(gpt2, pairs, method, options, said):
    other = options["source_model"]
    options = options | {"source_model": loaded(other) if isinstance(other, str) else other}
    with pytest.raises(MechcausalError, match=said):
        method(gpt2, pairs, **options)


def test_a_specification_with_a_model_stays_in_python(gpt2):
    with pytest.raises(MechcausalError, match="'source_model' of patch cannot be written"):
        mc.methods.Patching(source_model=gpt2).to_json()


def test_prompts_of_other_lengths_give_what_they_have_at_matching_positions(gpt2):
    """The last position of a longer prompt, by hand; at all positions there is nothing to match."""
    base, reference = make_pairs((5, 5)).clean, make_pairs((8, 8), seed=4).clean
    result = mc.ablate(gpt2, base, sites=["L1.z.H2", "L0.mlp_out"], do="resample", at="@-1", reference=reference)
    assert "other lengths" in result.provenance.arguments["resample"]
    from mechcausal.address import Selection
    from mechcausal.patching.ablation import draw

    rows, same_length = draw(reference, base, 0, [Selection.parse("@-1")])
    assert not same_length
    taken = values_of(bare("gpt2"), rows.tokens)[:, -1]

    def last(z):
        z = z.clone()
        z[:, -1] = taken
        return z

    np.testing.assert_allclose(result.examples[0], logit_diff(head(bare("gpt2"), base.tokens, last), base), atol=1e-5)
    slow = mc.ablate(
        gpt2, base, sites=["L1.z.H2", "L0.mlp_out"], do="resample", at="@-1", reference=reference, exact="naive"
    )
    np.testing.assert_allclose(result.examples, slow.examples, atol=1e-5)
    with pytest.raises(MechcausalError, match="no other reference prompt"):
        mc.ablate(gpt2, base, do="resample", reference=reference)


def test_two_selections_across_lengths_are_two_plans(gpt2):
    base, reference = make_pairs((5, 6)).clean, make_pairs((8, 9), seed=4).clean
    both = mc.ablate(gpt2, base, sites="z", do="resample", at=["@-1", "@0:2"], reference=reference)
    rows = replace(reference, positions={})
    for number, at in enumerate(("@-1", "@0:2")):
        alone = mc.ablate(gpt2, base, sites="z", do="resample", at=at, reference=rows)
        np.testing.assert_allclose(both.examples[number::2], alone.examples, atol=1e-5)
    cost = mc.ablate.cost(gpt2, base, sites="z", do="resample", at=["@-1", "@0:2"], reference=reference)
    assert (cost.cells, cost.token_layers) == (24, both.provenance.compute["token_layers"])
