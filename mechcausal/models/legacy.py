"""Legacy checkpoints (a state dict and a dict of its configuration) as native bridge models.

Shapes tell how many layers and heads there are and how wide they are; a configuration may repeat that, and is refused
where it contradicts. Every tensor must have its place and every place its tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from mechcausal.arguments import described
from mechcausal.errors import ModelError, UnsupportedError, shortened
from mechcausal.models.files import name_of, read_safetensors, read_torch, tensors_in
from mechcausal.models.layouts import LAYOUTS, Layout
from mechcausal.models.stated import KEPT, REFUSED, Config, check_config, some

State = Mapping[str, Tensor]

_FROM_SHAPES = ("n_layers", "d_model", "n_ctx", "d_head", "n_heads", "d_mlp", "d_vocab", "d_vocab_out")
_OFF = (None, False, -1, -1.0, 0)


def is_hooked_transformer(source: object) -> bool:
    """Say whether this is a HookedTransformer, asked without importing the class, which newer versions do not have."""
    return any(kind.__name__ == "HookedTransformer" for kind in type(source).__mro__)


def in_memory(source: Any, config: Config | None) -> tuple[Config, State]:  # noqa: ANN401
    """Return (configuration, state dict) of a HookedTransformer, or of a state dict, in memory."""
    if is_hooked_transformer(source):
        return {**source.cfg.to_dict(), **(config or {})}, _dense(source.state_dict())
    return _parts(source, config, "this state dict")


def read_checkpoint(path: Path, config: Config | None) -> tuple[Config, State]:
    """Return (configuration, state dict) of a `.pt` or `.safetensors` file, never running code from it."""
    content = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{name_of(path)} holds no state dict", got=described(content))
    return _parts(content, config, name_of(path))


def _parts(content: Mapping[Any, Any], config: Config | None, what: str) -> tuple[Config, State]:
    inner = next(
        (content[key] for key in ("state_dict", "model", "weights") if isinstance(content.get(key), Mapping)), content
    )
    stored = next((content[key] for key in ("config", "cfg") if isinstance(content.get(key), Mapping)), {})
    tensors = tensors_in(dict(inner))
    if not tensors:
        raise ModelError(f"{what} holds no tensors", got=shortened(", ".join(map(str, inner)) or "nothing"))
    if config is not None and not isinstance(config, Mapping):
        raise ModelError("'config' is a mapping", got=described(config), fix="config={'act_fn': 'relu', ...}")
    prefix = "_orig_mod."  # of a compiled model
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return (stored if config is None else config), _dense(tensors)


def _dense(tensors: State) -> State:
    """Return tensors on the CPU, and refuse those that are no plain arrays of real numbers."""
    for name, value in tensors.items():
        kind = (
            "has no content (it is on the meta device)" if value.is_meta
            else "is complex" if value.is_complex()
            else "is quantized" if value.is_quantized
            else f"is stored as {str(value.layout).removeprefix('torch.')}" if value.layout != torch.strided
            else ""
        )  # fmt: skip
        if kind:
            raise ModelError(
                f"the tensor {shortened(name, 60)!r} {kind}",
                expected="a dense tensor of real numbers", fix="save plain weights: value.to_dense().real, say",
            )  # fmt: skip
    return {name: value.detach().cpu() for name, value in tensors.items()}


def to_native(config: Config, state: State) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Translate a configuration and a state dict of a known layout into those of a native model."""
    check_config(config)
    layout, sizes, tensors = _recognized(config, state)
    stated = {**layout.says, **config}
    facts = {**_told_by_keys(tensors, stated), **sizes}
    _refuse_unsupported(config)
    problems = [
        *_contradictions(config, facts),
        *_gaps(config, facts, layout),
        *_absent(tensors, facts),
        *_leftover(layout, state),
    ]
    if problems:
        raise ModelError(
            f"the checkpoint ({layout.name}) and its configuration do not fit: " + "; ".join(problems),
            fix="correct config=" if len(problems) < 3 else None,
        )
    merged = {**stated, **facts}
    native = {key: merged[key] for key in KEPT if merged.get(key) is not None}
    native["normalization_type"] = merged.get("normalization_type", "LN")
    return native, _native_weights(merged, {name: value.float() for name, value in tensors.items()})


def _recognized(config: Config, state: State) -> tuple[Layout, dict[str, int], dict[str, Tensor]]:
    """Return the layout, the sizes that the shapes tell, and the tensors in canonical names and axes."""
    by_keys = [layout for layout in LAYOUTS if layout.recognizes(state)]
    if not by_keys:
        raise ModelError(
            "these tensors are in no layout that is known",
            got=shortened(", ".join(list(state)[:3]), 120), expected=", ".join(layout.name for layout in LAYOUTS),
            fix="load the model through transformers",
        )  # fmt: skip
    heads = config.get("n_heads")
    given = {"n_heads": heads} if isinstance(heads, int) and not isinstance(heads, bool) and heads > 0 else {}
    tried = [(layout, *layout.sizes(state, given)) for layout in by_keys]
    fitting = [(layout, sizes) for layout, sizes, misfits in tried if not misfits]
    if not fitting:
        layout, _, misfits = min(tried, key=lambda entry: len(entry[2]))
        raise ModelError(
            f"the shapes of {len(misfits)} tensors do not fit the others ({layout.name})",
            got=shortened(", ".join(misfits[:3]), 160), fix="load an intact checkpoint, with the right n_heads",
        )  # fmt: skip
    if len(fitting) > 1:
        raise ModelError(
            "the shapes fit more than one layout", got=" and ".join(layout.name for layout, _ in fitting),
            fix="build a HookedTransformer with these weights and pass that",
        )  # fmt: skip
    layout, sizes = fitting[0]
    if "n_heads" not in sizes:
        raise ModelError(
            f"the shapes of this checkpoint ({layout.name}) do not tell the number of heads",
            fix="config={'n_heads': ...}",
        )
    return layout, {**sizes, "n_layers": layout.layers_in(state)}, layout.canonical(state, sizes)


def _told_by_keys(tensors: State, stated: Config) -> dict[str, Any]:
    """Return what the presence of tensors tells; a norm without biases is of root mean squares unless stated."""
    said: dict[str, Any] = {"attn_only": not any(".mlp." in name for name in tensors)}
    scales, shifts = (any(f"ln1.{part}" in name or f"ln_final.{part}" in name for name in tensors) for part in "wb")
    if scales and not shifts and stated.get("normalization_type") != "LN":
        said["normalization_type"] = "RMS"
    elif scales:
        said["normalization_type"] = "LN"
    return said


def _refuse_unsupported(config: Config) -> None:
    refused = [words for key, words in REFUSED.items() if config.get(key) not in _OFF]
    positional = config.get("positional_embedding_type", "standard")
    if positional != "standard":
        refused.append(f"{positional} positions")
    groups = config.get("n_key_value_heads")
    if groups not in _OFF and groups != config.get("n_heads", groups):
        refused.append("grouped queries")
    if refused:
        raise UnsupportedError(
            "this legacy checkpoint uses " + ", ".join(refused), fix="load the model through transformers"
        )


def _contradictions(config: Config, facts: Config) -> list[str]:
    """Return what the configuration says otherwise than the tensors."""
    said = []
    for key in (*_FROM_SHAPES, "attn_only"):
        unset = key not in config or config[key] is None or (key == "d_vocab_out" and config[key] == -1)
        if not unset and config[key] != facts.get(key, config[key]):
            said.append(f"{key} is {facts[key]}, not {shortened(repr(config[key]), 20)}")
    kind, norm = config.get("normalization_type", ""), facts.get("normalization_type")
    if kind in (None, "LNPre", "RMSPre") and norm:
        said.append(f"there are weights of norms, and normalization_type is {kind!r}")
    if kind in ("LN", "RMS") and not norm:
        said.append(f"there are no weights of norms, and normalization_type is {kind!r}")
    if kind == "RMS" and norm == "LN":
        said.append("norms have biases, and normalization_type is 'RMS'")
    return said


def _gaps(config: Config, facts: Config, layout: Layout) -> list[str]:
    """Return what neither the tensors nor the configuration say."""
    gaps = []
    if not facts["attn_only"] and config.get("act_fn") is None and "act_fn" not in layout.says:
        gaps.append("act_fn is not given")
    if "normalization_type" not in facts and "normalization_type" not in config:
        gaps.append("normalization_type is not given (None, 'LNPre' or 'RMSPre')")
    return gaps


def _absent(tensors: State, facts: Config) -> list[str]:
    """Return which tensors are missing. Biases and norms may be missing everywhere, and not here and there."""
    n_layers = facts["n_layers"]
    families = {f"attn.{name}": True for name in ("W_Q", "W_K", "W_V", "W_O")}
    families |= {f"attn.{name}": False for name in ("b_Q", "b_K", "b_V", "b_O")}
    if not facts["attn_only"]:
        families |= {"mlp.W_in": True, "mlp.W_out": True, "mlp.b_in": False, "mlp.b_out": False}
    norms = facts.get("normalization_type") in ("LN", "RMS")
    numbers = (1,) if facts["attn_only"] else (1, 2)
    families |= {f"ln{number}.w": norms for number in numbers} | {f"ln{number}.b": False for number in numbers}
    absent = [name for name in ("embed.W_E", "pos_embed.W_pos", "unembed.W_U") if name not in tensors]
    absent += ["ln_final.w"] if norms and "ln_final.w" not in tensors else []
    for family, needed in families.items():
        names = [f"blocks.{layer}.{family}" for layer in range(n_layers)]
        there = [name in tensors for name in names]
        if not all(there) and (needed or any(there)):
            absent += [name for name, is_there in zip(names, there, strict=True) if not is_there]
    return [f"no tensor {some(absent)}"] if absent else []


def _leftover(layout: Layout, state: State) -> list[str]:
    placed = {key for _, key, _ in layout.keys(layout.layers_in(state))}
    left = [key for key in state if key not in placed and not layout.is_buffer(key)]
    return [f"no place for {some(left)}"] if left else []


def _native_weights(config: Config, state: State) -> dict[str, Tensor]:
    """Return the weights under native names; what a native model must have and this one has not is zero."""
    sharpness = _score_factor(config)
    out = {"tok_embed.weight": state["embed.W_E"], "pos.weight": state["pos_embed.W_pos"]}

    def bias(name: str, like: Tensor) -> Tensor:
        return state.get(name, torch.zeros(like.shape[0]))

    for layer in range(config["n_layers"]):
        old, new = f"blocks.{layer}.", f"layers.{layer}."
        for name in "QKV":
            factor, target = sharpness if name == "Q" else 1.0, f"{new}attn.{name.lower()}"
            weight = rearrange(state[f"{old}attn.W_{name}"], "head d_model d_head -> (head d_head) d_model")
            out[f"{target}.weight"] = factor * weight
            out[f"{target}.bias"] = factor * bias(f"{old}attn.b_{name}", weight).reshape(-1)
        out[f"{new}attn.o.weight"] = rearrange(state[f"{old}attn.W_O"], "head d_head d_model -> d_model (head d_head)")
        out[f"{new}attn.o.bias"] = bias(f"{old}attn.b_O", out[f"{new}attn.o.weight"])
        if not config["attn_only"]:
            for legacy, native in (("in", "fc_in"), ("out", "fc_out")):
                out[f"{new}mlp.{native}.weight"] = state[f"{old}mlp.W_{legacy}"].T
                out[f"{new}mlp.{native}.bias"] = bias(f"{old}mlp.b_{legacy}", out[f"{new}mlp.{native}.weight"])
        for norm in ("ln1",) if config["attn_only"] else ("ln1", "ln2"):
            out |= _norm(config, state, f"{old}{norm}", f"{new}{norm}")
    out |= _norm(config, state, "ln_final", "ln_out")
    out["head.weight"] = state["unembed.W_U"].T
    if "unembed.b_U" in state and bool(state["unembed.b_U"].any()):
        out["head.bias"] = state["unembed.b_U"]
    return {key: value.contiguous() for key, value in out.items()}


def _norm(config: Config, state: State, old: str, new: str) -> dict[str, Tensor]:
    kind = config.get("normalization_type")
    if kind not in ("LN", "RMS"):
        return {}
    weight = {f"{new}.weight": state[f"{old}.w"]}
    return (
        weight
        if kind == "RMS"
        else weight | {f"{new}.bias": state.get(f"{old}.b", torch.zeros_like(state[f"{old}.w"]))}
    )


def _score_factor(config: Config) -> float:
    """Native attention always divides scores by sqrt(d_head); what the checkpoint divides by goes into W_Q."""
    root = math.sqrt(config["d_head"])
    if config.get("use_attn_scale") not in (None, True):
        return root
    scale = config.get("attn_scale")
    return 1.0 if scale in (None, -1) else root / scale
