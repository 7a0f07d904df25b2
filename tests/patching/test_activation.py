"""`mc.patch` against transformer-lens's own loops, and properties that any exact patching must have."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformer_lens import patching as lens
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.data import Contrast
from mechcausal.errors import MechcausalError
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities

PEERS = {
    "resid_pre": lens.get_act_patch_resid_pre,
    "attn_out": lens.get_act_patch_attn_out,
    "mlp_out": lens.get_act_patch_mlp_out,
    "z": lens.get_act_patch_attn_head_out_all_pos,
}


def lens_metric(pairs):
    rows = torch.arange(len(pairs))

    def mean_logit_diff(logits):
        last = logits[:, -1]
        return (last[rows, pairs.clean.answer] - last[rows, pairs.clean.foil]).mean()

    return mean_logit_diff


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("sites", PEERS)
def test_equal_to_transformer_lens(name, sites, pairs):
    model = loaded(name)
    with torch.no_grad():
        _, cache = model.run_with_cache(pairs.clean.tokens)
        theirs = PEERS[sites](model, pairs.corrupt.tokens, cache, lens_metric(pairs))
    ours = mc.patch(model, pairs, sites=sites)
    mine = ours.frame["value"].to_numpy().reshape(theirs.shape)
    np.testing.assert_allclose(mine, theirs.cpu().numpy(), atol=1e-4)
    assert np.ptp(mine) > 1e-2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_whole_stream_is_the_whole_run(name, direction, pairs):
    sweep = mc.patch(loaded(name), pairs, sites=["L0.resid_pre", "embed"], at="all", direction=direction)
    goal = "clean" if direction == "denoise" else "corrupt"
    for row in sweep.examples:
        np.testing.assert_allclose(row, sweep.baselines[goal], atol=1e-5)
    expected = 1.0 if direction == "denoise" else 0.0
    np.testing.assert_allclose(sweep.frame["effect"], expected, atol=1e-5)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_divergence_is_from_the_clean_run_in_both_directions(direction, pairs):
    new, old = (bare("gpt2")(side.tokens).logits[:, -1].log_softmax(-1) for side in (pairs.corrupt, pairs.clean))
    apart = F.kl_div(new, old, log_target=True, reduction="none").sum(-1).numpy()
    sweep = mc.patch(loaded("gpt2"), pairs, sites=["embed"], at="all", metric="kl", direction=direction)
    np.testing.assert_allclose(sweep.baselines["corrupt"], apart, atol=1e-5)
    np.testing.assert_allclose(sweep.baselines["clean"], 0, atol=1e-6)
    np.testing.assert_allclose(sweep.examples[0], 0 if direction == "denoise" else apart, atol=1e-5)
    part = mc.path_patch(loaded("gpt2"), pairs, senders="embed", metric="kl", direction=direction)
    assert part.examples.min() >= -1e-6


@pytest.mark.parametrize("sites", ["resid_pre", "resid_mid", "mlp_post", "z", "k", "pattern"])
def test_patching_a_run_into_itself_changes_nothing(sites, pairs):
    # One pair must differ for a contrast to be one; the others are equal on both sides.
    corrupt = replace(pairs.clean, tokens=pairs.clean.tokens.clone())
    corrupt.tokens[0] = pairs.corrupt.tokens[0]
    same = Contrast(pairs.clean, corrupt, "nothing, but for the first pair")
    sweep = mc.patch(loaded("gpt2"), same, sites=sites)
    assert np.array_equal(
        sweep.examples[:, 1:], np.broadcast_to(sweep.baselines["base"][1:], sweep.examples[:, 1:].shape)
    )


def test_nothing_left_of_the_change_matters(pairs):
    """Pairs differ at tokens 1 and 3, so patching token 0, or token 2 in layer 0, is patching nothing."""
    sweep = mc.patch(loaded("llama"), pairs, sites="resid_pre")
    frame = sweep.frame
    still = frame[(frame["position"] == 0) | ((frame["position"] == 2) & (frame["layer"] == 0))]
    np.testing.assert_allclose(still["change"], 0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("do", ["patch", "heads", "ablate", "attribute", "path"])
def test_padding_side_batches_order_and_threads_do_not_matter(name, do):
    model, lengths = loaded(name), (5, 8, 6, 8, 5)
    calls = {
        "patch": lambda pairs, size: mc.patch(model, pairs, batch_size=size),
        "heads": lambda pairs, size: mc.patch(model, pairs, sites=["z", "k"], at="@-1", batch_size=size),
        "ablate": lambda pairs, size: mc.ablate(model, pairs, do="zero", batch_size=size),
        "attribute": lambda pairs, size: mc.attribute(model, pairs, sites="attn_out", batch_size=size),
        "path": lambda pairs, size: mc.path_patch(
            model, pairs, senders="L0.z.H*", receivers="L2.v.H1", batch_size=size
        ),
    }
    run = calls[do]
    right, left = make_pairs(lengths), make_pairs(lengths, side="left")
    expected = run(right, 64).examples
    assert np.nanstd(expected) > 1e-3
    close = {"atol": 1e-5, "rtol": 1e-5}
    np.testing.assert_allclose(run(left, 64).examples, expected, **close)
    np.testing.assert_allclose(run(right, 2).examples, expected, **close)
    backwards = [4, 3, 2, 1, 0]
    np.testing.assert_allclose(run(right.take(backwards), 64).examples[:, backwards], expected, **close)
    torch.set_num_threads(2)
    try:
        np.testing.assert_allclose(run(right, 64).examples, expected, **close)
    finally:
        torch.set_num_threads(1)
    for row in range(len(lengths)):
        width = lengths[row]
        alone = right.take([row])
        alone = Contrast(alone.clean.padded(width), alone.corrupt.padded(width), alone.factor)
        found = run(alone, 1).examples[:, 0]
        cells = expected if len(found) == len(expected) else None
        if cells is None:  # a sweep over positions is as wide as its longest prompt
            layers = len(found) // width
            np.testing.assert_allclose(
                found.reshape(layers, width), expected[:, row].reshape(layers, -1)[:, :width], **close
            )
        else:
            np.testing.assert_allclose(found, expected[:, row], **close)


def test_positions_a_prompt_does_not_have_count_nothing():
    sweep = mc.patch(loaded("gpt2"), make_pairs((5, 8)), sites="resid_pre")
    beyond = sweep.frame["position"].to_numpy() >= 5
    assert np.isnan(sweep.examples[beyond, 0]).all()
    assert np.isfinite(sweep.examples[:, 1]).all()
    assert set(sweep.frame.loc[beyond, "n"]) == {1}


def test_heads_by_position_neurons_and_named_positions(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    sweep = mc.patch(by_hand, pairs, sites="z", at="each")
    assert len(sweep) == 2 * 4 * 4
    assert sweep.frame["label"].tolist()[:4] == ["0", "1 gender", "2 level", "3 end"]
    neurons = mc.patch(by_hand, pairs, sites="L*.mlp_post.N*")
    assert len(neurons) == 2 * 4
    assert neurons.top(1)["site"].item() == "L1.mlp_post.N0"
    named = mc.patch(by_hand, pairs, sites="resid_pre", at=["@gender", "@end"])
    assert named.frame["at"].tolist() == ["@gender", "@end"] * 2


def test_provenance_tells_what_ran(pairs, gpt2):
    sweep = mc.patch(gpt2, pairs, sites="z", batch_size=4)
    told = sweep.provenance
    assert told.method == "patch"
    assert (told.compute["engine"], told.compute["forwards"]) == ("replay", 2 * 2)  # both sides of both batches
    slow = mc.patch(gpt2, pairs, sites="z", batch_size=4, exact="naive").provenance.compute
    assert (slow["engine"], slow["forwards"]) == ("naive", 2 * (2 + 12))
    assert (told.compute["batch_size"], told.compute["dtype"], told.compute["device"]) == (4, "float32", "cpu")
    assert told.prompts["hash"] == pairs.hash
    assert told.prompts["factor"] == "two tokens"
    assert len(told.model["weights"]) == 16
    assert told.packages["torch"].startswith("2.")
    assert told.arguments["direction"] == "denoise"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sites": "resid_pots"}, "did you mean 'resid_post'"),
        ({"sites": "blocks.0.hook_resid_pree"}, "did you mean 'resid_pre'"),
        ({"sites": "L7.resid_pre"}, "layer 7; expected 0 to 2"),
        ({"sites": "L0.z.H9"}, "head 9; expected 0 to 3"),
        ({"sites": "logits"}, "cannot be written"),
        ({"at": "@subject"}, "no position called 'subject'"),
        ({"at": 99}, "no prompt has the position @99"),
        ({"at": []}, "list of positions is empty"),
        ({"metric": "logit_dif"}, "did you mean 'logit_diff'"),
        ({"metric": 3}, "the name of a metric"),
        ({"metric": lambda logits, batch: logits.mean()}, "one number per example"),
        ({"direction": "sideways"}, "'denoise' or 'noise'"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_bad_input_is_one_sentence(gpt2, pairs, options, said):
    with pytest.raises(MechcausalError, match=said) as caught:
        mc.patch(gpt2, pairs, **options)
    assert "\n" not in str(caught.value)


REFUSED = {
    "site": (mc.patch, {"sites": "resid_pots"}, "did you mean"),
    "layer": (mc.patch, {"sites": "L7.resid_pre"}, "layer 7"),
    "neuron": (mc.patch, {"sites": "L0.mlp_post.N128"}, "neuron 128; expected 0 to 127"),
    "key-value head": (mc.patch, {"sites": "L0.k.H2", "model": "llama"}, "key-value head 2; expected 0 to 1"),
    "pattern": (mc.patch, {"sites": "pattern", "model": "opt"}, "cannot be written on"),
    "one bad site of many": (mc.patch, {"sites": ["L0.z.H0", "L2.z.H4"]}, "head 4"),
    "position": (mc.patch, {"at": "@subject"}, "no position called"),
    "metric": (mc.patch, {"metric": "logit_dif"}, "did you mean"),
    "direction": (mc.patch, {"direction": "up"}, "denoise"),
    "ablation": (mc.ablate, {"do": "zreo"}, "did you mean 'zero'"),
    "ablated site": (mc.ablate, {"sites": "L0.zz.H0"}, "no component called 'zz'"),
    "reference": (mc.ablate, {"do": "resample", "reference": make_pairs((4, 4)).clean}, "no other reference prompt"),
    "gradient": (mc.attribute, {"metric": "accuracy"}, "no gradient"),
    "attributed site": (mc.attribute, {"sites": "L3.z"}, "layer 3"),
    "steps": (mc.attribute, {"steps": -1}, "at least 0"),
    "sender": (mc.path_patch, {"senders": "L9.z.H0"}, "layer 9"),
    "receiver": (mc.path_patch, {"receivers": "L1.q.H9"}, "head 9"),
    "path": (mc.path_patch, {"senders": "L2.z.H0", "receivers": "L1.q.H0"}, "no path leads"),
    "post-norm": (mc.path_patch, {"model": "bert"}, "no direct paths"),
    "too long": (mc.patch, {"pairs": make_pairs((33, 7))}, "prompt 0 is longer than .*33 tokens; expected at most 32"),
    "tokens": (mc.patch, {"pairs": make_pairs((4, 4), vocab=90)}, "tokens of these prompts are not in"),
    "answer": (
        mc.ablate,
        {"pairs": replace(make_pairs((4,)).clean, answer=torch.tensor([60]))},
        "answer of these prompts are not in",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_come_before_any_compute(case, pairs, monkeypatch):
    method, options, said = REFUSED[case]
    options = dict(options)
    model = loaded(options.pop("model", "gpt2"))
    abilities(model)

    def never(*args):
        raise AssertionError("a forward was run")

    monkeypatch.setattr(bridge, "run", never)
    with pytest.raises(MechcausalError, match=said) as caught:
        method(model, options.pop("pairs", pairs), **options)
    assert "\n" not in str(caught.value)


def test_prompts_are_not_pairs(gpt2, pairs):
    with pytest.raises(MechcausalError, match="a Contrast"):
        mc.patch(gpt2, pairs.clean)


def test_not_a_model(pairs):
    with pytest.raises(MechcausalError, match=r"mc\.load"):
        mc.patch(torch.nn.Linear(2, 2), pairs)
