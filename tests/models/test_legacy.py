"""Legacy checkpoints: the same logits as the HookedTransformer that wrote them, where one still exists."""

from importlib.metadata import version

import pytest
import torch
from zoo import make_pairs

import mechcausal as mc
from mechcausal.errors import ModelError, UnsupportedError

LENS_4 = version("transformer-lens").startswith("4")

BASE = {
    "n_layers": 2, "d_model": 16, "n_ctx": 10, "d_head": 4, "n_heads": 4, "d_mlp": 24, "d_vocab": 30, "act_fn": "relu",
    "normalization_type": "LN", "seed": 0,
}  # fmt: skip
VARIANTS = {
    "layer norm": {},
    "folded norm": {"normalization_type": "LNPre"},
    "no norm": {"normalization_type": None, "act_fn": "gelu_new"},
    "attention only": {"attn_only": True, "normalization_type": None},
    "bidirectional": {"attention_dir": "bidirectional"},
    "unscaled scores": {"use_attn_scale": False},
    "other scale": {"attn_scale": 3.0},
    "another output": {"d_vocab_out": 5},
}


@pytest.mark.skipif(LENS_4, reason="HookedTransformer is gone from transformer-lens 4")
@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_to_hooked_transformer(variant, tmp_path):
    import transformer_lens as lens

    config = BASE | VARIANTS[variant]
    hooked = lens.HookedTransformer(lens.HookedTransformerConfig(**config))
    with torch.no_grad():
        for parameter in hooked.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) * 0.3
            )
    torch.save(hooked.state_dict(), tmp_path / "model.pt")
    torch.save({"state_dict": hooked.state_dict(), "config": config}, tmp_path / "both.pt")
    tokens = torch.arange(14).reshape(2, 7)
    for model in (mc.load(tmp_path / "model.pt", config=config), mc.load(tmp_path / "both.pt")):
        with torch.no_grad():
            torch.testing.assert_close(model(tokens), hooked(tokens), atol=1e-4, rtol=1e-4)
    pairs = make_pairs((7, 7), vocab=30)
    if "d_vocab_out" not in config:
        assert len(mc.patch(model, pairs)) == 14


def state():
    from mechcausal.models.organisms.by_hand.recipe import weights

    return weights()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"positional_embedding_type": "rotary"}, UnsupportedError, "rotary positions"),
        ({"gated_mlp": True}, UnsupportedError, "gated MLPs"),
        ({"n_layers": None}, ModelError, "lacks"),
        ({"n_layers": 3}, ModelError, "lacks 'blocks.2"),
        ({"d_model": 13}, ModelError, "do not fit"),
    ],
)
def test_what_does_not_fit(change, error, said, tmp_path):
    from mechcausal.models.organisms.by_hand.recipe import CONFIG

    config = {
        key: value for key, value in (CONFIG | change).items() if value is not None or key == "normalization_type"
    }
    torch.save(state(), tmp_path / "model.pt")
    with pytest.raises(error, match=said):
        mc.load(tmp_path / "model.pt", config=config)


def test_a_checkpoint_without_a_configuration(tmp_path):
    torch.save(state(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="without a configuration"):
        mc.load(tmp_path / "model.pt")


def test_buffers_of_old_checkpoints_are_left_out(tmp_path):
    from mechcausal.models.organisms.by_hand.recipe import CONFIG

    old = state() | {"blocks.0.attn.mask": torch.ones(4, 4).bool(), "blocks.0.attn.IGNORE": torch.tensor(-1e5)}
    torch.save(old, tmp_path / "model.pt")
    assert mc.load(tmp_path / "model.pt", config=CONFIG).cfg.n_layers == 2
