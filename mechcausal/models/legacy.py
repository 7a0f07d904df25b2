"""Legacy HookedTransformer checkpoints (a state dict and a dict of its configuration) as native bridge models."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from mechcausal.errors import ModelError, UnsupportedError

# What old checkpoints carry beside weights; the native model computes these itself.
_BUFFERS = ("mask", "IGNORE", "rotary_sin", "rotary_cos")
_KEPT = (
    "n_layers", "d_model", "n_ctx", "d_head", "n_heads", "d_mlp", "d_vocab", "d_vocab_out", "act_fn", "eps",
    "normalization_type", "attn_only", "attention_dir", "final_rms", "default_prepend_bos",
)  # fmt: skip
_REQUIRED = ("n_layers", "d_model", "n_ctx", "d_head", "n_heads", "d_vocab")
_REFUSED = {
    "use_local_attn": "local attention",
    "gated_mlp": "gated MLPs",
    "parallel_attn_mlp": "parallel blocks",
    "scale_attn_by_inverse_layer_idx": "attention scaled by layer",
    "attn_scores_soft_cap": "soft-capped scores",
}


def read_checkpoint(path: Path, config: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (configuration, state dict) of a `.pt` or `.safetensors` file, never running code from it."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        content: Any = load_file(path)
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            raise ModelError(
                f"{path} is not a file of weights, and a pickle is never run",
                got=str(error).strip().splitlines()[0][:160],
                fix="save torch.save(model.state_dict(), path) or safetensors",
            ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no state dict", got=type(content).__name__)
    inner = next(
        (content[key] for key in ("state_dict", "model", "weights") if isinstance(content.get(key), dict)), content
    )
    stored = next((content[key] for key in ("config", "cfg") if isinstance(content.get(key), dict)), None)
    config = stored if config is None else config
    if config is None:
        raise ModelError(f"{path} comes without a configuration", fix="mc.load(path, config={'n_layers': ..., ...})")
    return config, {key: value for key, value in inner.items() if isinstance(value, Tensor)}


def to_native(config: dict[str, Any], state: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Translate a HookedTransformer configuration and state dict into those of a native model."""
    missing = [key for key in _REQUIRED if key not in config]
    if missing:
        raise ModelError("the configuration lacks " + ", ".join(missing), fix="pass config= with these entries")
    refused = [words for key, words in _REFUSED.items() if config.get(key) not in (None, False, -1, -1.0, 0)]
    positional = config.get("positional_embedding_type", "standard")
    if positional != "standard":
        refused.append(f"{positional} positions")
    if refused:
        raise UnsupportedError(
            "this legacy checkpoint uses " + ", ".join(refused), fix="load the model through transformers"
        )
    native = {key: config[key] for key in _KEPT if config.get(key) is not None}
    native["normalization_type"] = config.get("normalization_type", "LN")
    state = {key: value.float() for key, value in state.items() if key.rsplit(".", 1)[-1] not in _BUFFERS}
    try:
        weights = _weights(config, state)
    except KeyError as error:
        raise ModelError(
            f"the state dict lacks {error}", got=f"{len(state)} tensors", fix="check the configuration"
        ) from error
    return native, weights


def _weights(config: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Tensor]:
    normalised = config.get("normalization_type", "LN") in ("LN", "RMS")
    out = {"tok_embed.weight": state["embed.W_E"], "pos.weight": state["pos_embed.W_pos"]}
    for layer in range(config["n_layers"]):
        old, new = f"blocks.{layer}.", f"layers.{layer}."
        sharpness = _score_factor(config)
        for name in "QKV":
            factor = sharpness if name == "Q" else 1.0
            weight, bias = state[f"{old}attn.W_{name}"], state[f"{old}attn.b_{name}"]
            target = f"{new}attn.{name.lower()}"
            out[f"{target}.weight"] = factor * rearrange(weight, "head d_model d_head -> (head d_head) d_model")
            out[f"{target}.bias"] = factor * bias.reshape(-1)
        out[f"{new}attn.o.weight"] = rearrange(state[f"{old}attn.W_O"], "head d_head d_model -> d_model (head d_head)")
        out[f"{new}attn.o.bias"] = state[f"{old}attn.b_O"]
        if not config.get("attn_only"):
            for legacy, native in (("in", "fc_in"), ("out", "fc_out")):
                out[f"{new}mlp.{native}.weight"] = state[f"{old}mlp.W_{legacy}"].T
                out[f"{new}mlp.{native}.bias"] = state[f"{old}mlp.b_{legacy}"]
        for norm in ("ln1", "ln2") if normalised else ():
            if f"{old}{norm}.w" in state:
                out[f"{new}{norm}.weight"] = state[f"{old}{norm}.w"]
                if f"{old}{norm}.b" in state:
                    out[f"{new}{norm}.bias"] = state[f"{old}{norm}.b"]
    if normalised:
        out |= {
            f"ln_out.{new}": state[f"ln_final.{old}"]
            for old, new in (("w", "weight"), ("b", "bias"))
            if f"ln_final.{old}" in state
        }
    out["head.weight"] = state["unembed.W_U"].T
    bias = state.get("unembed.b_U")
    if bias is not None and bool(bias.any()):
        out["head.bias"] = bias
    return {key: value.contiguous() for key, value in out.items()}


def _score_factor(config: dict[str, Any]) -> float:
    """Native attention always divides scores by sqrt(d_head); what the checkpoint divides by goes into W_Q."""
    root = math.sqrt(config["d_head"])
    if not config.get("use_attn_scale", True):
        return root
    scale = config.get("attn_scale") or -1.0
    return root / scale if scale > 0 else 1.0
