"""The engine runs native models of transformer-lens, with the loop's numbers, whatever their configuration asks for."""

import numpy as np
import pytest
import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources.native.model import NativeModel
from zoo import make_pairs

import mechcausal as mc
from mechcausal.models import bridge
from mechcausal.models.replay.twin import Twin

BASE = {
    "n_layers": 3, "d_model": 16, "n_ctx": 10, "d_head": 4, "n_heads": 4, "d_mlp": 24, "d_vocab": 30, "act_fn": "relu",
    "normalization_type": "LN",
}  # fmt: skip
VARIANTS = {
    "layer norm": {},
    "no norm": {"normalization_type": None, "act_fn": "gelu_new"},
    "attention only": {"attn_only": True},
    "rotary, shared keys, gated": {
        "positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_base": 10000, "n_key_value_heads": 2,
        "gated_mlp": True, "act_fn": "silu", "normalization_type": "RMS", "final_rms": True,
    },
    "soft caps": {"attn_scores_soft_cap": 2.0, "output_logits_soft_cap": 3.0},
    "another scale": {"use_attn_scale": True, "attn_scale": 3.0},
    "a bias of the output": {"head bias": True},
}  # fmt: skip


def native(variant):
    config = BASE | VARIANTS[variant]
    biased = config.pop("head bias", False)
    module = NativeModel(TransformerBridgeConfig.from_dict(dict(config)))
    draw = torch.Generator().manual_seed(3)
    size = 0.4 if config["normalization_type"] else 0.2
    state = {name: torch.randn(value.shape, generator=draw) * size for name, value in module.state_dict().items()}
    if biased:
        state["head.bias"] = torch.randn(config["d_vocab"], generator=draw)
    return bridge.build_native(config, state, None, "mine")


def variants_and_sides():
    """Give both sides of every variant; one of each, in turn, is slow."""
    for number, variant in enumerate(VARIANTS):
        for place, side in enumerate(("right", "left")):
            yield pytest.param(variant, side, marks=[] if place == number % 2 else pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "side"), variants_and_sides())
def test_the_numbers_of_the_loop(variant, side):
    model, pairs = native(variant), make_pairs(lengths=(5, 3, 4), vocab=30, side=side)
    sites = ["resid_post", "z", "attn_out", *(["mlp_out"] if variant != "attention only" else [])]
    fast, slow = (mc.patch(model, pairs, sites=sites, at="each", exact=exact) for exact in ("replay", "naive"))
    assert fast.provenance.compute["engine"] == "replay"
    np.testing.assert_allclose(fast.examples, slow.examples, atol=2e-5)
    fast, slow = (mc.attribute(model, pairs, sites="z", exact=exact) for exact in ("replay", "naive"))
    np.testing.assert_allclose(fast.examples, slow.examples, atol=2e-5)


def test_a_cached_run_gives_the_logits_of_the_model():
    model, batch = native("rotary, shared keys, gated"), make_pairs(lengths=(7, 4, 6), vocab=30).clean
    twin = Twin(model)
    made = twin.logits(twin.record(batch).hidden[-1])
    torch.testing.assert_close(made[batch.mask], bridge.run(model, batch.tokens, batch.mask)[batch.mask])


def test_a_model_that_looks_ahead_is_left_to_the_loop_with_its_reason():
    config = BASE | {"attention_dir": "bidirectional"}
    state = native("layer norm").original_model.state_dict()
    state = {name.replace("._original_component", ""): value for name, value in state.items()}
    names = NativeModel(TransformerBridgeConfig.from_dict(dict(config))).state_dict()
    model = bridge.build_native(config, {name: state[name] for name in names}, None, "mine")
    pairs = make_pairs(lengths=(7, 4, 6), vocab=30)
    fast, slow = (mc.patch(model, pairs, sites="resid_mid", exact=exact) for exact in ("replay", "naive"))
    assert "see later ones" in fast.provenance.compute["naive_because"]["resid_mid"]
    np.testing.assert_allclose(fast.examples, slow.examples, atol=1e-6)


@pytest.mark.parametrize("name", ["by_hand", "reverse", "fraction"])
def test_organisms_made_by_hand_run_on_the_engine(name):
    model = mc.load(f"organism:{name}")
    pairs = make_pairs(lengths=(4, 4), vocab=6, changed=(1,))
    result = mc.patch(model, pairs, sites=["resid_mid", "z"])
    assert result.provenance.compute["engine"] == "replay"
