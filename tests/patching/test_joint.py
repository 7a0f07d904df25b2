"""Joint cells: several sites edited together as one row."""

import numpy as np
import pytest
import torch
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError

JOINT = [("L0.z.H1", "L2.z.H0")]


def by_hand(pairs):
    """Run the bare GPT-2 on the corrupt side with two heads of the clean side."""
    model, kept, handles = bare("gpt2"), {}, []

    def keep(layer):
        return lambda _module, args: kept.__setitem__(layer, args[0].clone())

    for layer in (0, 2):
        handles.append(model.transformer.h[layer].attn.c_proj.register_forward_pre_hook(keep(layer)))
    model(pairs.clean.tokens)
    while handles:
        handles.pop().remove()

    def put(layer, head):
        def hook(_module, args):
            z = args[0].clone()
            z[..., 8 * head : 8 * head + 8] = kept[layer][..., 8 * head : 8 * head + 8]
            return (z,)

        return hook

    for layer, number in ((0, 1), (2, 0)):
        handles.append(model.transformer.h[layer].attn.c_proj.register_forward_pre_hook(put(layer, number)))
    logits = model(pairs.corrupt.tokens).logits[:, -1]
    while handles:
        handles.pop().remove()
    rows = torch.arange(len(pairs))
    return (logits[rows, pairs.clean.answer] - logits[rows, pairs.clean.foil]).numpy()


@pytest.mark.parametrize("exact", ["replay", "naive"])
def test_two_heads_together_by_hand(pairs, exact):
    result = mc.patch(loaded("gpt2"), pairs, sites=[*JOINT, "L0.z.H1"], exact=exact)
    np.testing.assert_allclose(result.examples[0], by_hand(pairs), atol=1e-5)
    assert result.frame["site"].tolist() == ["L0.z.H1 + L2.z.H0", "L0.z.H1"]
    assert result.frame["component"].tolist() == ["z", "z"]
    assert result.frame["layer"].isna().tolist() == [True, False]
    assert result.provenance.compute["engine"] == exact


@pytest.mark.parametrize("do", ["zero", "mean", "resample"])
def test_ablating_together_is_the_loop_too(gpt2, do):
    pairs = make_pairs((7, 5, 7, 5))
    sites = [("L0.z.H1", "L1.mlp_out"), "L0.z.H1", ("L1.z.H*",)]
    fast, slow = (mc.ablate(gpt2, pairs, sites=sites, do=do, exact=exact, seed=1) for exact in ("replay", "naive"))
    np.testing.assert_allclose(fast.examples, slow.examples, atol=1e-5)
    assert len(fast) == 3
    assert np.abs(fast.examples[0] - fast.examples[1]).max() > 1e-3


def test_all_heads_of_a_layer_together_are_the_whole_of_it(gpt2, pairs):
    result = mc.patch(gpt2, pairs, sites=[("L1.z.H*",), "L1.z"])
    np.testing.assert_allclose(result.examples[0], result.examples[1], atol=1e-5)


def test_to_first_order_they_add_up(gpt2, pairs):
    result = mc.attribute(gpt2, pairs, sites=[("L0.z.H1", "L2.mlp_out"), "L0.z.H1", "L2.mlp_out"], at="all")
    change = result.examples - result.baselines["base"]
    np.testing.assert_allclose(change[0], change[1] + change[2], atol=1e-5)


def test_streams_alone_are_swept_over_positions_and_mixed_cells_are_not(gpt2, pairs):
    assert len(mc.patch(gpt2, pairs, sites=[("L0.resid_pre", "L1.resid_pre")])) == 7
    assert mc.patch(gpt2, pairs, sites=[("L0.resid_pre", "L1.z.H0")]).frame["at"].tolist() == ["@all"]


def test_a_joint_sweep_is_drawn_saved_and_costed(gpt2, pairs, tmp_path):
    result = mc.patch(gpt2, pairs, sites=[*JOINT, "z"])
    assert "L0.z.H1 + L2.z.H0" in result.summary(20)
    result.plot()
    again = mc.results.load(result.save(tmp_path / "joint.parquet"))
    assert again.frame["site"].tolist() == result.frame["site"].tolist()
    cost = mc.patch.cost(gpt2, pairs, sites=[*JOINT, "z"])
    assert (cost.cells, cost.token_layers) == (13, result.provenance.compute["token_layers"])


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        (mc.patch, {"sites": [("L0.z", "L0.z.H1")]}, "cannot hold both"),
        (mc.patch, {"sites": [()]}, "empty"),
        (mc.attribute, {"sites": JOINT, "steps": 2, "path": "cell"}, "moves one site at a time"),
        (mc.path_patch, {"senders": JOINT}, "a site such as"),
    ],
)
def test_bad_cells(gpt2, pairs, method, options, said):
    with pytest.raises(MechcausalError, match=said):
        method(gpt2, pairs, **options)
