"""Patching, ablation, attribution and path patching agree with hooks on plain transformers, to 1e-4 of the metric's range."""

import numpy as np
import pytest
import torch
from plain_llama import at_head, at_position, log_odds, run

import mechcausal as mc

pytestmark = pytest.mark.real
WIDTH = 64  # of a head
HEADS = ((23, 3), (20, 0), (29, 0), (17, 4), (0, 8))


@pytest.fixture(scope="module")
def sides(plain, pairs):
    """Return the metric of both sides, and the range that a tolerance is taken of."""
    clean, corrupt = (log_odds(run(plain, side.tokens)[0], pairs) for side in (pairs.clean, pairs.corrupt))
    return clean, corrupt, float((clean - corrupt).abs().max())


def close(ours, expected, sides):
    assert np.asarray(ours).shape == tuple(expected.shape)
    assert np.abs(np.asarray(ours) - expected.numpy()).max() <= 1e-4 * sides[2]


@pytest.mark.parametrize("exact", ["replay", "naive"])
@pytest.mark.parametrize(("word", "layers"), [("resid_pre", (3, 17, 25)), ("attn_out", (14, 25)), ("mlp_out", (0, 28))])
def test_patching_the_stream(smollm2, plain, pairs, sides, word, layers, exact):
    at = [4, 10, -1]
    ours = mc.patch(smollm2, pairs, sites=[f"L{layer}.{word}" for layer in layers], at=at, exact=exact)
    _, clean = run(plain, pairs.clean.tokens, keep=[(layer, word) for layer in layers])
    expected = [
        log_odds(run(plain, pairs.corrupt.tokens, {key: at_position(p, clean[key][:, p])})[0], pairs)
        for key in clean
        for p in at
    ]
    close(ours.examples, torch.stack(expected), sides)
    close(ours.baselines["clean"], sides[0], sides)
    close(ours.baselines["corrupt"], sides[1], sides)
    assert ours.provenance.compute["engine"] == exact


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_patching_heads(smollm2, plain, pairs, sides, direction):
    ours = mc.patch(smollm2, pairs, sites=[f"L{layer}.z.H{head}" for layer, head in HEADS], direction=direction)
    base, source = (pairs.corrupt, pairs.clean) if direction == "denoise" else (pairs.clean, pairs.corrupt)
    _, kept = run(plain, source.tokens, keep=[(layer, "z") for layer, _ in HEADS])
    expected = []
    for layer, head in HEADS:
        new = kept[layer, "z"][..., head * WIDTH : (head + 1) * WIDTH]
        expected.append(log_odds(run(plain, base.tokens, {(layer, "z"): at_head(head, WIDTH, new)})[0], pairs))
    close(ours.examples, torch.stack(expected), sides)


@pytest.mark.parametrize("do", ["zero", "mean"])
def test_ablating_heads(smollm2, plain, pairs, sides, do):
    ours = mc.ablate(smollm2, pairs, sites=[f"L{layer}.z.H{head}" for layer, head in HEADS], do=do)
    kept = [
        run(plain, side.tokens, keep=[(layer, "z") for layer, _ in HEADS])[1] for side in (pairs.clean, pairs.corrupt)
    ]
    expected = []
    for layer, head in HEADS:
        both = torch.cat([side[layer, "z"] for side in kept])[..., head * WIDTH : (head + 1) * WIDTH]
        new = both.mean(0, keepdim=True) if do == "mean" else torch.zeros(())
        expected.append(log_odds(run(plain, pairs.clean.tokens, {(layer, "z"): at_head(head, WIDTH, new)})[0], pairs))
    close(ours.examples, torch.stack(expected), sides)


def test_attribution_along_the_path_of_each_cell(smollm2, plain, pairs, sides):
    """32 points of the midpoint rule, each with its own gradient, and nothing but the cell on its way."""
    heads, steps = HEADS[:2], 32
    ours = mc.attribute(
        smollm2, pairs, sites=[f"L{layer}.z.H{head}" for layer, head in heads], steps=steps, path="cell"
    )
    keys = [(layer, "z") for layer, _ in heads]
    (_, clean), (_, corrupt) = (run(plain, side.tokens, keep=keys) for side in (pairs.clean, pairs.corrupt))
    expected = []
    for (_, head), key in zip(heads, keys, strict=True):
        columns = slice(head * WIDTH, (head + 1) * WIDTH)
        base, change = corrupt[key], (clean[key] - corrupt[key])[..., columns]
        total = torch.zeros(len(pairs))
        for step in range(steps):
            cell = (base[..., columns] + (step + 0.5) / steps * change).requires_grad_(True)
            with torch.enable_grad():
                logits, _ = run(plain, pairs.corrupt.tokens, {key: at_head(head, WIDTH, cell)})
                (slope,) = torch.autograd.grad(log_odds(logits, pairs).sum(), cell)
            total += (slope * change).sum((1, 2)) / steps
        expected.append(sides[1] + total)
    close(ours.examples, torch.stack(expected), sides)
    exact = mc.patch(smollm2, pairs, sites=[f"L{layer}.z.H{head}" for layer, head in heads])
    assert np.abs(ours.frame["effect"] - exact.frame["effect"]).max() < 2e-3


def test_a_path_to_the_logits(smollm2, plain, pairs, sides):
    """The change of what a head adds to the stream goes to the final norm alone."""
    heads = HEADS[:4]
    ours = mc.path_patch(smollm2, pairs, senders=[f"L{layer}.z.H{head}" for layer, head in heads], receivers="logits")
    _, clean = run(plain, pairs.clean.tokens, keep=[(layer, "z") for layer, _ in heads])
    _, corrupt = run(plain, pairs.corrupt.tokens, keep=[*clean, (0, "final")])
    expected = []
    for layer, head in heads:
        final = corrupt[0, "final"] + contribution(plain, clean, corrupt, layer, head)
        expected.append(log_odds(plain.lm_head(plain.model.norm(final[:, -1])), pairs))
    close(ours.examples, torch.stack(expected), sides)


def test_a_path_to_the_queries_of_a_head(smollm2, plain, pairs, sides):
    """The head's queries are computed from the changed stream; the run is made again with them, and all after it reacts."""
    layer, head, receiver = 17, 4, 3
    ours = mc.path_patch(smollm2, pairs, senders=f"L{layer}.z.H{head}", receivers=f"L23.q.H{receiver}")
    _, clean = run(plain, pairs.clean.tokens, keep=[(layer, "z")])
    _, corrupt = run(plain, pairs.corrupt.tokens, keep=[(layer, "z"), (23, "resid_pre")])
    stream = corrupt[23, "resid_pre"] + contribution(plain, clean, corrupt, layer, head)
    block = plain.model.layers[23]
    queries = block.self_attn.q_proj(block.input_layernorm(stream))[..., receiver * WIDTH : (receiver + 1) * WIDTH]
    logits, _ = run(plain, pairs.corrupt.tokens, {(23, "q"): at_head(receiver, WIDTH, queries)})
    close(ours.examples, log_odds(logits, pairs)[None], sides)


def contribution(plain, clean, corrupt, layer, head):
    """Return the change of what a head adds to the stream."""
    columns = slice(head * WIDTH, (head + 1) * WIDTH)
    change = (clean[layer, "z"] - corrupt[layer, "z"])[..., columns]
    return change @ plain.model.layers[layer].self_attn.o_proj.weight[:, columns].T
