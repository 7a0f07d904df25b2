"""Every architecture: loads with its own logits, lists its sites truthfully, patches, ablates, attributes, refuses by name."""

import numpy as np
import pytest
import torch
from zoo import EXPERTS, bare, loaded, make_pairs, references

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.errors import UnsupportedError
from mechcausal.interventions.specs import AddDelta, Edit, Zero
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import forward

OUTPUT_PROJECTION = {
    "gpt2": lambda m, layer: m.transformer.h[layer].attn.c_proj,
    "neox": lambda m, layer: m.gpt_neox.layers[layer].attention.dense,
    "llama": lambda m, layer: m.model.layers[layer].self_attn.o_proj,
    "mistral": lambda m, layer: m.model.layers[layer].self_attn.o_proj,
    "qwen3": lambda m, layer: m.model.layers[layer].self_attn.o_proj,
    "gemma2": lambda m, layer: m.model.layers[layer].self_attn.o_proj,
    "opt": lambda m, layer: m.model.decoder.layers[layer].self_attn.out_proj,
    "mixtral": lambda m, layer: m.model.layers[layer].self_attn.o_proj,
    "qwen3_moe": lambda m, layer: m.model.layers[layer].self_attn.o_proj,
    "bert": lambda m, layer: m.bert.encoder.layer[layer].attention.output.dense,
}


def test_logits_are_those_of_the_bare_model(architecture, pairs):
    expected = references()[architecture]
    torch.testing.assert_close(forward(loaded(architecture), pairs.clean).logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bare(architecture)(pairs.clean.tokens).logits, expected, atol=1e-6, rtol=1e-6)


def test_padding_changes_nothing(architecture):
    lengths = (5, 8, 6)
    prompts = make_pairs(lengths).clean
    model = loaded(architecture)
    alone = [forward(model, prompts.take([row]).padded(n)).logits[0] for row, n in enumerate(lengths)]
    for side in ("left", "right"):
        padded = prompts.padded(10, side)
        logits = forward(model, padded).logits
        for row, expected in enumerate(alone):
            torch.testing.assert_close(logits[row][padded.mask[row]], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("do", ["patch", "ablate", "attribute"])
def test_sweeps_do_not_depend_on_the_padding_side(architecture, do):
    model = loaded(architecture)
    run = {
        "patch": lambda pairs: mc.patch(model, pairs, sites=["L1.resid_pre", "L2.v"], at=[0, 3, -1]),
        "ablate": lambda pairs: mc.ablate(model, pairs, sites=["L0.z.H1", "L1.k.H0", "L1.mlp_out"], do="mean"),
        "attribute": lambda pairs: mc.attribute(model, pairs, sites=["L0.mlp_out", "L1.z.H3"], at=[2, "all"]),
    }[do]
    right, left = (run(make_pairs((5, 8, 6), side=side)).examples for side in ("right", "left"))
    np.testing.assert_allclose(left, right, atol=1e-5, rtol=1e-5)
    assert np.ptp(right) > 1e-3


def test_the_table_of_sites(architecture):
    table = mc.sites(loaded(architecture)).set_index("component")
    always = ["embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z"]
    assert table.loc[always, "writes"].all()
    assert table.loc["z", "heads"] == 4
    assert table.loc["k", "heads"] == (4 if architecture in ("gpt2", "neox", "opt", "bert") else 2)
    assert bool(table.loc["mlp_post", "writes"]) == (architecture not in EXPERTS)
    assert bool(table.loc["resid_mid", "writes"]) == (architecture not in ("neox", "bert"))
    assert bool(table.loc["pattern", "writes"]) == (architecture not in ("opt", "bert"))
    refused = table[~table["writes"]]
    assert (refused["note"] != "").all()


@pytest.mark.parametrize("name", EXPERTS)
def test_neurons_of_experts_are_refused_by_name(name, pairs):
    """What bears the name of their hook point is the output of the MLP."""
    with pytest.raises(UnsupportedError, match=r"mlp_post\.N1 cannot be written on .*a mixture of experts"):
        mc.patch(loaded(name), pairs, sites="L1.mlp_post.N1")


@pytest.mark.parametrize("name", EXPERTS)
def test_tokens_go_to_other_experts_under_an_edit(name):
    """The engine runs the router again: its numbers are the loop's where an edit changes who is chosen."""
    model, pairs = loaded(name), make_pairs((7, 5, 7), changed=(1, 2, 3))
    router = next(module for _, module in bare(name).named_modules() if type(module).__name__.endswith("TopKRouter"))
    chosen = []
    handle = router.register_forward_hook(lambda _, args, out: chosen.append(out[-1].sort(-1).values))
    for side in (pairs.clean, pairs.corrupt):
        bare(name)(side.tokens)
    handle.remove()
    assert not torch.equal(*chosen)
    fast, slow = (
        mc.patch(model, pairs, sites=["resid_pre", "z"], at=[1, -1, "all"], exact=way) for way in ("replay", "naive")
    )
    assert fast.provenance.compute["engine"] == "replay"
    np.testing.assert_allclose(fast.examples, slow.examples, atol=1e-5, rtol=1e-5)


def test_methods_run(architecture):
    model, pairs = loaded(architecture), make_pairs((5, 7, 7))
    stream = mc.patch(model, pairs)
    assert len(stream) == 3 * 7
    np.testing.assert_allclose(
        mc.patch(model, pairs, sites="L0.resid_pre", at="all").examples[0], stream.baselines["clean"], atol=1e-5
    )
    for sites in ("z", "k", *(() if architecture in EXPERTS else ("mlp_post", "L1.mlp_post.N4"))):
        assert np.abs(mc.patch(model, pairs, sites=sites, at="all").frame["change"]).max() > 1e-6
    for do in ("zero", "mean", "resample"):
        assert np.abs(mc.ablate(model, pairs, do=do, sites=["L1.z.H0", "L2.mlp_out"]).frame["change"]).min() > 1e-6
    estimate = mc.attribute(model, pairs, sites=["L2.mlp_out"], at="all", steps=16, direction="denoise")
    exact = mc.patch(model, pairs, sites=["L2.mlp_out"], at="all")
    spread = np.abs(exact.examples - exact.baselines["base"]).max()
    assert np.abs(estimate.examples - exact.examples).max() < 0.1 * spread + 1e-5


@pytest.mark.parametrize(("layer", "head"), [(0, 2), (2, 1)])
def test_a_head_edit_is_the_same_edit_on_the_bare_model(architecture, layer, head, pairs):
    def hook(_module, args):
        z = args[0].clone()
        z[..., 8 * head : 8 * head + 8] = 0
        return (z, *args[1:])

    handle = OUTPUT_PROJECTION[architecture](bare(architecture), layer).register_forward_pre_hook(hook)
    try:
        expected = bare(architecture)(pairs.clean.tokens).logits
    finally:
        handle.remove()
    run = forward(loaded(architecture), pairs.clean, [Edit.of(f"L{layer}.z.H{head}", "zero")])
    torch.testing.assert_close(run.logits, expected, atol=1e-5, rtol=1e-5)
    assert (expected - bare(architecture)(pairs.clean.tokens).logits).abs().max() > 1e-3


def test_patching_a_head_is_the_same_patch_on_the_bare_model(architecture, pairs):
    model, part = OUTPUT_PROJECTION[architecture](bare(architecture), 1), slice(8, 16)
    kept = {}

    def run(tokens, hook):
        handle = model.register_forward_pre_hook(hook)
        try:
            return bare(architecture)(tokens).logits
        finally:
            handle.remove()

    def keep(_module, args):
        kept["z"] = args[0][..., part].clone()

    def put(_module, args):
        z = args[0].clone()
        z[..., part] = kept["z"]
        return (z, *args[1:])

    run(pairs.clean.tokens, keep)
    logits, rows = run(pairs.corrupt.tokens, put), torch.arange(len(pairs))
    expected = logits[rows, -1, pairs.clean.answer] - logits[rows, -1, pairs.clean.foil]
    found = mc.patch(loaded(architecture), pairs, sites="L1.z.H1")
    np.testing.assert_allclose(found.examples[0], expected.numpy(), atol=1e-5)
    assert np.abs(found.examples[0] - found.baselines["base"]).max() > 1e-3


def test_what_it_says_it_can_write_it_does_write(architecture, pairs):
    """An all-zero pattern attends to nothing, so on a model without value biases it is a silenced head."""
    able = abilities(loaded(architecture))
    if not able.components["pattern"].writes:
        with pytest.raises(UnsupportedError, match=r"pattern\.H1 cannot be written on"):
            mc.patch(loaded(architecture), pairs, sites="L1.pattern.H1")
        return
    pattern = forward(loaded(architecture), pairs.clean, [Edit.of("L1.pattern.H1", "zero")]).logits
    silent = forward(loaded(architecture), pairs.clean, [Edit.of("L1.z.H1", "zero")]).logits
    torch.testing.assert_close(pattern, silent, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gemma2", "qwen3"])
def test_resid_mid_edits_the_stream_and_not_one_branch(name, pairs):
    """An addition to resid_mid must be carried past the MLP and felt by it."""
    model, site = loaded(name), Site("resid_mid", 1)
    delta = torch.randn(6, 7, 32, generator=torch.Generator().manual_seed(0))
    read = [site, Site("mlp_out", 1), Site("resid_post", 1), Site("resid_pre", 2)]
    before = forward(model, pairs.clean, read=read).read
    after = forward(model, pairs.clean, [Edit(site, AddDelta())], read=read, sources=[delta]).read
    torch.testing.assert_close(after[site], before[site] + delta, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after[read[2]], before[site] + delta + after[read[1]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after[read[3]], after[read[2]])
    assert (after[read[1]] - before[read[1]]).abs().max() > 1e-3


def test_resid_mid_by_hand_on_gpt2(pairs):
    block = bare("gpt2").transformer.h[1]
    delta = torch.randn(6, 7, 32, generator=torch.Generator().manual_seed(0))
    handle = block.attn.register_forward_hook(lambda _m, _a, out: (out[0] + delta, *out[1:]))
    try:
        expected = bare("gpt2")(pairs.clean.tokens).logits
    finally:
        handle.remove()
    found = forward(loaded("gpt2"), pairs.clean, [Edit(Site("resid_mid", 1), AddDelta())], sources=[delta]).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "said"), [("neox", "parallel blocks"), ("bert", "post-norm")])
def test_resid_mid_is_refused_where_there_is_none(name, said, pairs):
    with pytest.raises(UnsupportedError, match=said):
        mc.patch(loaded(name), pairs, sites="resid_mid")


def test_native_patterns_do_what_their_table_says(by_hand):
    """transformer-lens 3.9 discards what is written to a native pattern, 4.x does not; either way the table is true."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    if abilities(by_hand).components["pattern"].writes:
        edits = [Edit(Site("pattern", 0, head=0), Zero())]
        silent = [Edit(Site("z", 0, head=0), Zero())]
        torch.testing.assert_close(
            forward(by_hand, pairs.clean, edits).logits, forward(by_hand, pairs.clean, silent).logits
        )
    else:
        with pytest.raises(UnsupportedError, match="discards what is written"):
            mc.patch(by_hand, pairs, sites="pattern")
