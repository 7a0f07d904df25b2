"""`mc.path_patch` against a brute-force GPT-2 written out below, and against closed forms."""

import numpy as np
import pytest
import torch
from unequal import PAIRS, columns, unequal
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError, SiteError, UnsupportedError

HEADS, WIDTH = 4, 8


class Written:
    """GPT-2 written out: every component by itself, and any query, key, value or MLP output can be forced."""

    def __init__(self, tokens, force=None):
        self.model, force = bare("gpt2").transformer, force or {}
        length = tokens.shape[1]
        self.embed = self.model.wte(tokens)
        x = self.embed + self.model.wpe(torch.arange(length))
        self.pre, self.mid, self.head_out, self.mlp_out = [], [], [], []
        for layer, block in enumerate(self.model.h):
            self.pre.append(x)
            parts = dict(zip("qkv", self.project(layer, x), strict=True))
            for (kind, at, head), value in force.items():
                if at == layer and kind in parts:
                    parts[kind] = parts[kind].clone()
                    parts[kind][:, :, head] = value
            scores = torch.einsum("bqhd,bkhd->bhqk", parts["q"], parts["k"]) / WIDTH**0.5
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -1e30)
            z = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), parts["v"])
            out = torch.einsum("bqhd,hdm->bqhm", z, block.attn.c_proj.weight.view(HEADS, WIDTH, -1))
            self.head_out.append(out)
            x = x + out.sum(2) + block.attn.c_proj.bias
            self.mid.append(x)
            mlp = force.get(("mlp", layer, None), self.mlp(layer, x))
            self.mlp_out.append(mlp)
            x = x + mlp
        self.final = x
        self.logits = self.unembed(force.get(("logits", None, None), x))

    def project(self, layer, x):
        block = self.model.h[layer]
        parts = block.attn.c_attn(block.ln_1(x)).split(HEADS * WIDTH, dim=-1)
        return [part.view(*x.shape[:2], HEADS, WIDTH) for part in parts]

    def mlp(self, layer, x):
        block = self.model.h[layer]
        return block.mlp(block.ln_2(x))

    def unembed(self, x):
        return bare("gpt2").lm_head(self.model.ln_f(x))


def contribution(run, sender):
    match sender.split("."):
        case ["embed"]:
            return run.embed
        case [layer, "z", head]:
            return run.head_out[int(layer[1:])][:, :, int(head[1:])]
        case [layer, "mlp_out"]:
            return run.mlp_out[int(layer[1:])]


def brute_force(base_tokens, source_tokens, sender, receiver, matched=None):
    """With `matched`, prompts differ in length: the tokens of the base run and of the source run at each shared position."""
    base, source = Written(base_tokens), Written(source_tokens)
    if matched is None:
        delta = contribution(source, sender) - contribution(base, sender)
    else:
        here, there = contribution(base, sender), contribution(source, sender)
        delta = torch.zeros_like(here)
        for own, other in zip(*matched, strict=True):
            delta[:, own] = there[:, other].mean(1, keepdim=True) - here[:, own]
    match receiver.split("."):
        case ["logits"]:
            return base.unembed(base.final + delta)
        case [layer, "mlp_out"]:
            number = int(layer[1:])
            return Written(base_tokens, {("mlp", number, None): base.mlp(number, base.mid[number] + delta)}).logits
        case [layer, kind, head]:
            number, which = int(layer[1:]), int(head[1:])
            value = dict(zip("qkv", base.project(number, base.pre[number] + delta), strict=True))[kind][:, :, which]
            return Written(base_tokens, {(kind, number, which): value}).logits


def test_the_written_model_is_the_model(pairs):
    torch.testing.assert_close(
        Written(pairs.clean.tokens).logits, bare("gpt2")(pairs.clean.tokens).logits, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(
    ("sender", "receiver"),
    [
        ("L0.z.H1", "L2.q.H3"),
        ("L0.z.H1", "L1.k.H0"),
        ("L1.z.H2", "L2.v.H1"),
        ("L1.z.H0", "L1.mlp_out"),
        ("L0.z.H3", "L2.mlp_out"),
        ("L0.mlp_out", "L2.mlp_out"),
        ("L0.mlp_out", "L1.q.H2"),
        ("L1.mlp_out", "logits"),
        ("L2.z.H0", "logits"),
        ("embed", "L0.q.H1"),
        ("embed", "L1.v.H2"),
    ],
)
def test_equal_to_brute_force(sender, receiver, direction):
    pairs = make_pairs(changed=(1, 3, 6))
    base, source = (pairs.corrupt, pairs.clean) if direction == "denoise" else (pairs.clean, pairs.corrupt)
    logits = brute_force(base.tokens, source.tokens, sender, receiver)
    rows = torch.arange(len(pairs))
    expected = logits[rows, -1, base.answer] - logits[rows, -1, base.foil]
    found = mc.path_patch(loaded("gpt2"), pairs, senders=sender, receivers=receiver, direction=direction)
    np.testing.assert_allclose(found.examples[0], expected.numpy(), atol=1e-5)
    assert np.abs(found.examples[0] - found.baselines["base"]).max() > 1e-4


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("mode", ["last", "mean", "each"])
@pytest.mark.parametrize(
    ("sender", "receiver"),
    [("L0.z.H1", "L2.q.H3"), ("L0.z.H1", "L1.v.H0"), ("L0.mlp_out", "L2.mlp_out"), ("embed", "L1.k.H2"), ("L2.z.H0", "logits")],
)  # fmt: skip
def test_prompts_of_different_length_are_matched_by_the_positions_they_share(sender, receiver, mode, direction):
    pairs, expected = unequal(mode), []
    for number, (before, first, after, second) in enumerate(PAIRS):
        spans = (second, first) if direction == "denoise" else (first, second)
        tokens = [torch.tensor([[*before, *span, *after]]) for span in spans]
        matched = [columns(before, span, after, mode, min(map(len, spans))) for span in spans]
        logits = brute_force(*tokens, sender, receiver, matched)[0, -1]
        expected.append(float(logits[pairs.clean.answer[number]] - logits[pairs.clean.foil[number]]))
    found = mc.path_patch(loaded("gpt2"), pairs, senders=sender, receivers=receiver, direction=direction, batch_size=3)
    np.testing.assert_allclose(found.examples[0], expected, atol=1e-5)
    told = found.provenance.compute
    if "replay" in told["engine"]:
        count = 2 + (mode == "mean")
        assert told["engine"] == "replay and naive"
        assert told["naive_because"]["pairs of different length"].startswith(f"{count} of 4 pairs")
    assert ("replay" in told["engine"]) == (receiver in ("logits", "L2.mlp_out"))


def test_pairs_of_different_length_cost_the_loop_what_they_cost():
    pairs = unequal()
    cost = mc.path_patch.cost(loaded("gpt2"), pairs, senders="L0.z.H*", receivers="L1.mlp_out")
    alone = mc.path_patch.cost(loaded("gpt2"), pairs.take([3]), senders="L0.z.H*", receivers="L1.mlp_out")
    assert cost.cells == 4
    assert cost.naive_token_layers > cost.token_layers > alone.token_layers
    assert cost.naive_because["pairs of different length"].startswith("2 of 4")


def test_receivers_react_together(by_hand):
    """Both paths of the by-hand model at once are its whole effect: 2.6 directly, and 0.9 through the neuron."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    together = mc.path_patch(by_hand, pairs, senders="L0.z.H0", receivers=["L1.mlp_out", "logits"])
    np.testing.assert_allclose(together.frame["effect"], 1.0, atol=1e-6)


def test_closed_form_paths(by_hand):
    truth = mc.truth("by_hand")["gender_effects"]["path"]
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    for path, by_level in truth.items():
        sender, receiver = path.split(" -> ")
        groups = mc.path_patch(by_hand, pairs, senders=sender, receivers=receiver).by_group().set_index("group")
        for level in ("low", "high"):
            assert groups.loc[level, "change"] == pytest.approx(by_level[level], abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2", "neox"])
def test_the_direct_path_of_the_last_sublayer_is_its_patch(name):
    """Nothing lies between the last MLP and the logits, so path and activation patching agree there."""
    pairs = make_pairs(changed=(1, 3, 6))
    path = mc.path_patch(loaded(name), pairs, senders=["L2.mlp_out", "L2.mlp_post.N5"], receivers="logits")
    plain = mc.patch(loaded(name), pairs, sites=["L2.mlp_out", "L2.mlp_post.N5"], at="all")
    np.testing.assert_allclose(path.examples, plain.examples, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen3", "gemma2", "opt"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_all_paths_out_of_the_last_attention_are_its_patch(name, direction):
    """After the heads of the last layer come one MLP and the logits, and nothing else."""
    pairs = make_pairs(changed=(1, 3, 6))
    options = {"direction": direction}
    paths = mc.path_patch(loaded(name), pairs, senders="L2.z.H*", receivers=["L2.mlp_out", "logits"], **options)
    plain = mc.patch(loaded(name), pairs, sites="L2.z.H*", **options)
    np.testing.assert_allclose(paths.examples, plain.examples, atol=1e-5, rtol=1e-5)
    direct = mc.path_patch(loaded(name), pairs, senders="L2.z.H*", receivers="logits", **options)
    assert np.abs(direct.examples - plain.examples).max() > 1e-3


@pytest.mark.parametrize("sender", ["L1.mlp_out", "L1.z.H2", "L1.mlp_post.N4"])
def test_all_paths_into_a_parallel_last_block_are_the_patch(sender):
    """In a parallel block attention and MLP read the stream side by side, so these are all the paths there are."""
    pairs = make_pairs(changed=(1, 3, 6))
    readers = ["L2.q.H*", "L2.k.H*", "L2.v.H*", "L2.mlp_out", "logits"]
    paths = mc.path_patch(loaded("neox"), pairs, senders=sender, receivers=readers)
    plain = mc.patch(loaded("neox"), pairs, sites=sender, at="all")
    np.testing.assert_allclose(paths.examples, plain.examples, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3"])
def test_queries_keys_and_values_together_are_the_attention(name):
    pairs = make_pairs(changed=(1, 3, 6))
    parts = ["L1.q.H*", "L1.k.H*", "L1.v.H*"]
    by_parts = mc.path_patch(loaded(name), pairs, senders=["embed", "L0.mlp_out"], receivers=parts)
    whole = mc.path_patch(loaded(name), pairs, senders=["embed", "L0.mlp_out"], receivers="L1.attn_out")
    np.testing.assert_allclose(by_parts.examples, whole.examples, atol=1e-5, rtol=1e-5)
    assert np.abs(whole.examples - whole.baselines["base"]).max() > 1e-3


def test_positions_of_sender_and_receiver():
    pairs = make_pairs(changed=(1, 3, 6))
    everywhere = mc.path_patch(loaded("gpt2"), pairs, senders="L0.z.H1", receivers="L1.v.H0")
    at_end = mc.path_patch(loaded("gpt2"), pairs, senders="L0.z.H1", receivers="L1.v.H0", at="@-1")
    receiver_end = mc.path_patch(loaded("gpt2"), pairs, senders="L0.z.H1", receivers="L1.v.H0", receiver_at="@-1")
    np.testing.assert_allclose(at_end.examples, receiver_end.examples, atol=1e-6)
    assert np.abs(everywhere.examples - at_end.examples).max() > 1e-4


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("gpt2", {"senders": "L2.z.H0", "receivers": "L1.q.H0"}, SiteError, "no path leads from L2.z.H0 to L1.q.H0"),
        ("gpt2", {"senders": "L1.mlp_out", "receivers": "L1.mlp_out"}, SiteError, "no path leads"),
        ("gpt2", {"senders": "L0.pattern.H0"}, SiteError, "cannot be a sender"),
        ("gpt2", {"senders": "L0.z.H0", "receivers": "L1.resid_post"}, SiteError, "cannot be a receiver"),
        ("bert", {"senders": "L0.z.H0"}, UnsupportedError, "no direct paths"),
        ("neox", {"senders": "L1.z.H0", "receivers": "L1.mlp_out"}, UnsupportedError, "same stream"),
    ],
)
def test_what_is_no_path(name, options, error, said, pairs):
    with pytest.raises(error, match=said) as caught:
        mc.path_patch(loaded(name), pairs, **options)
    assert isinstance(caught.value, MechcausalError)
