"""Runs with edges cut: single edges against path patching by the loop, whole circuits against hooks written out."""

import numpy as np
import pytest
import torch
import zoo

import mechcausal as mc
from mechcausal.address import Selection
from mechcausal.circuits.edges.masked import Masked
from mechcausal.metrics import metric
from mechcausal.models.engine import measure

CAUSAL = tuple(name for name in zoo.ARCHITECTURES if name != "bert")
PADDED = {"lengths": (7, 5, 6, 7), "side": "left"}


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("padded", [False, True])
def test_with_no_edge_the_clean_run_is_the_corrupt_one(name, padded):
    model, pairs = zoo.loaded(name), zoo.make_pairs(**(PADDED if padded else {}))
    masked = Masked(model, pairs)
    for side, ours in ((pairs.clean, masked.clean), (pairs.corrupt, masked.corrupt)):
        plain = measure(model, side, metric("logit_diff"), batch_size=64).values[0]
        assert np.abs(ours - plain).max() < 2e-5


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "gemma2"])
def test_one_edge_is_the_path_that_the_loop_patches(name):
    model, pairs = zoo.loaded(name), zoo.make_pairs(**PADDED)
    masked = Masked(model, pairs)
    wiring = masked.wiring
    edges = ["embed L1.q.H2", "L0.mlp_out L2.k.H1", "L1.mlp_out L2.v.H0", "L0.mlp_out L1.mlp_out", "L1.mlp_out logits"]
    if name != "gemma2":  # where heads pass a norm together, the loop has another idea of what one head adds
        edges += ["L0.z.H3 L2.q.H0", "L0.z.H1 logits"]
    for sender, receiver in (edge.split() for edge in edges):
        kept = np.ones(masked.shape)
        kept[wiring.sender(sender), wiring.receiver(receiver)] = 0
        path = mc.path_patch(
            model, pairs, senders=sender, receivers=receiver, direction="noise", exact="naive", at="all"
        )
        assert np.abs(masked.metric(kept) - path.examples[0]).max() < 2e-5, (sender, receiver)


def by_hand(model, pairs, kept, wiring):
    """Run a small Llama with edges cut, written out on the plain model's modules, one receiver after the other."""
    layers, n_heads, n_kv = model.model.layers, 4, 2
    senders = {str(site): number for number, site in enumerate(wiring.senders)}
    receivers = {str(site): number for number, site in enumerate(wiring.receivers)}

    def attention(block, q, k, v):
        length = q.shape[1]
        positions = torch.arange(length)[None]
        cos, sin = model.model.rotary_emb(q, positions)

        def turned(x):
            half = x.shape[-1] // 2
            rotated = torch.cat([-x[..., half:], x[..., :half]], -1)
            return x * cos[:, :, None] + rotated * sin[:, :, None]

        q, k = turned(q), turned(k)
        k, v = (x.repeat_interleave(n_heads // n_kv, 2) for x in (k, v))
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
        seen = torch.ones(length, length).tril().bool()
        weights = weights.masked_fill(~seen, -torch.inf).softmax(-1)
        return torch.einsum("bhqk,bkhd->bqhd", weights, v)

    def run(tokens, other):
        added = {"embed": model.model.embed_tokens(tokens)}

        def read(receiver):
            total = 0
            for name, value in added.items():
                weight = 1.0 if other is None else float(kept[senders[name], receivers[receiver], 0])
                total = total + weight * value + ((1 - weight) * other[name] if other is not None else 0)
            return total

        for number, block in enumerate(layers):

            def heads(kind, count, block=block, number=number):
                weight = getattr(block.self_attn, f"{kind}_proj").weight.unflatten(0, (count, 8))
                return torch.stack(
                    [block.input_layernorm(read(f"L{number}.{kind}.H{h}")) @ weight[h].T for h in range(count)], dim=2
                )

            z = attention(block, heads("q", n_heads), heads("k", n_kv), heads("v", n_kv))
            out = block.self_attn.o_proj.weight.T.unflatten(0, (n_heads, 8))
            for h in range(n_heads):
                added[f"L{number}.z.H{h}"] = z[:, :, h] @ out[h]
            added[f"L{number}.mlp_out"] = block.mlp(block.post_attention_layernorm(read(f"L{number}.mlp_out")))
        return added, model.lm_head(model.model.norm(read("logits")))

    with torch.no_grad():
        other, _ = run(pairs.corrupt.tokens, None)
        _, logits = run(pairs.clean.tokens, other)
    rows = torch.arange(len(pairs))
    return (logits[rows, -1, pairs.clean.answer] - logits[rows, -1, pairs.clean.foil]).numpy()


def test_circuits_are_what_the_algorithm_written_out_gives():
    model, pairs = zoo.loaded("llama"), zoo.make_pairs()
    masked = Masked(model, pairs)
    draw = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        kept = draw.uniform(size=masked.shape) < share
        assert np.abs(masked.metric(kept) - by_hand(zoo.bare("llama"), pairs, kept, masked.wiring)).max() < 2e-5
    mask = draw.uniform(size=masked.shape)  # and anything between kept and cut
    assert np.abs(masked.metric(mask) - by_hand(zoo.bare("llama"), pairs, mask, masked.wiring)).max() < 2e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_gives_what_each_pair_gives_alone(side):
    model, pairs = zoo.loaded("qwen3"), zoo.make_pairs(lengths=(7, 4, 5, 6), side=side)
    masked = Masked(model, pairs)
    kept = np.random.default_rng(1).uniform(size=masked.shape) < 0.5
    together = masked.metric(kept)
    alone = [Masked(model, pairs.take([row])).metric(kept)[0] for row in range(4)]
    assert np.abs(together - alone).max() < 2e-5


def test_variants_run_together_are_what_each_is_alone():
    masked = Masked(zoo.loaded("neox"), zoo.make_pairs())
    kept = np.random.default_rng(2).uniform(size=(5, *masked.shape)) < 0.7
    assert np.abs(masked.metric(kept) - [masked.metric(one) for one in kept]).max() < 2e-5


def test_runs_that_begin_late_are_whole_runs():
    masked = Masked(zoo.loaded("gpt2"), zoo.make_pairs())
    wiring = masked.wiring
    kept = np.ones((1, *masked.shape))
    kept[0, :, wiring.receivers_of(2)] = (
        np.random.default_rng(3).uniform(size=kept[0, :, wiring.receivers_of(2)].shape) < 0.5
    )
    assert np.abs(masked.of(masked.cut(kept), 2) - masked.of(masked.cut(kept), 0)).max() < 2e-5


def test_positions_are_told_apart_at_the_receiver():
    model, pairs = zoo.loaded("gpt2"), zoo.make_pairs()
    each = [Selection.parse(f"@{number}") for number in range(7)]
    masked, plain = Masked(model, pairs, positions=each), Masked(model, pairs)
    kept = np.random.default_rng(4).uniform(size=plain.shape) < 0.5
    assert np.abs(masked.metric(np.repeat(kept, 7, axis=2)) - plain.metric(kept)).max() < 2e-5
    only = np.ones(masked.shape)
    only[0, masked.wiring.receiver("L0.v.H1"), 3] = 0  # the value that one token gives
    path = mc.path_patch(
        model, pairs, senders="embed", receivers="L0.v.H1", direction="noise", exact="naive", at="all", receiver_at=3
    )
    assert np.abs(masked.metric(only) - path.examples[0]).max() < 2e-5


def test_shared_keys_told_apart_are_those_of_a_model_that_repeats_them():
    import copy

    import transformers as hf

    grouped = zoo.build("llama")
    config = copy.deepcopy(grouped.config)
    config.num_key_value_heads = 4
    state = grouped.state_dict()
    for name in list(state):
        if "k_proj" in name or "v_proj" in name:
            state[name] = state[name].unflatten(0, (2, 8)).repeat_interleave(2, 0).flatten(0, 1)
    repeated = hf.LlamaForCausalLM(config).eval()
    repeated.load_state_dict(state)
    pairs = zoo.make_pairs()
    split, whole = Masked(zoo.loaded("llama"), pairs, split=True), Masked(mc.load(repeated), pairs)
    kept = np.random.default_rng(5).uniform(size=(3, *split.shape)) < 0.5
    assert np.abs(split.metric(kept) - whole.metric(kept)).max() < 2e-5
