"""A model on which every first-order estimate is exact."""

import pytest
import torch
from zoo import VOCAB

import mechcausal as mc


@pytest.fixture(scope="session")
def linear(tmp_path_factory):
    """An attention-only model without norms whose queries are zero: the logits are linear in values and outputs."""
    config = {
        "n_layers": 2, "d_model": 16, "n_ctx": 12, "d_head": 4, "n_heads": 4, "d_vocab": VOCAB, "act_fn": "relu",
        "attn_only": True, "normalization_type": None,
    }  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.randn(*shape, generator=draw) * 0.3  # noqa: E731
    state = {"embed.W_E": rand(VOCAB, 16), "pos_embed.W_pos": rand(12, 16), "unembed.W_U": rand(16, VOCAB)}
    for layer in range(2):
        block = f"blocks.{layer}.attn."
        for name in "QKV":
            scale = 0.0 if name == "Q" else 1.0
            state |= {f"{block}W_{name}": scale * rand(4, 16, 4), f"{block}b_{name}": scale * rand(4, 4)}
        state |= {f"{block}W_O": rand(4, 4, 16), f"{block}b_O": rand(16)}
    path = tmp_path_factory.mktemp("linear") / "model.pt"
    torch.save(state, path)
    return mc.load(path, config=config)
