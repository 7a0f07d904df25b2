"""Layouts of checkpoints of 2021 to 2023: under which names, and in which order of axes, each keeps its tensors.

A layout is recognized by its keys and by whether the shapes of all tensors agree on one size for each axis. From these
sizes come layers, widths and heads, so that a configuration has to say only what shapes do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from einops import rearrange
from torch import Tensor

# The names and axes of a HookedTransformer, into which every layout is brought. "{}" is the number of the layer.
CANONICAL = {
    "embed.W_E": "d_vocab d_model",
    "pos_embed.W_pos": "n_ctx d_model",
    **{f"blocks.{{}}.attn.W_{name}": "n_heads d_model d_head" for name in "QKV"},
    **{f"blocks.{{}}.attn.b_{name}": "n_heads d_head" for name in "QKV"},
    "blocks.{}.attn.W_O": "n_heads d_head d_model",
    "blocks.{}.attn.b_O": "d_model",
    "blocks.{}.mlp.W_in": "d_model d_mlp",
    "blocks.{}.mlp.b_in": "d_mlp",
    "blocks.{}.mlp.W_out": "d_mlp d_model",
    "blocks.{}.mlp.b_out": "d_model",
    **{f"blocks.{{}}.ln{number}.{part}": "d_model" for number in (1, 2) for part in "wb"},
    "ln_final.w": "d_model",
    "ln_final.b": "d_model",
    "unembed.W_U": "d_model d_vocab_out",
    "unembed.b_U": "d_vocab_out",
}


@dataclass(frozen=True)
class Source:
    """Where a layout keeps one canonical tensor.

    Attributes:
        key: Its name there.
        axes: Its axes there; "(n_heads d_head)" is one axis with both.
        third: Which third of its first axis holds it, where queries, keys and values are one matrix.
    """

    key: str
    axes: str
    third: int | None = None


@dataclass(frozen=True)
class Layout:
    """One way to keep a model.

    Attributes:
        name: What it is called.
        sources: Where each canonical tensor is.
        buffers: The last words of keys that are no weights.
        says: What every model in this layout is.
    """

    name: str
    sources: Mapping[str, Source]
    buffers: tuple[str, ...] = ()
    says: Mapping[str, Any] = field(default_factory=dict)

    def keys(self, layers: int) -> Iterator[tuple[str, str, Source]]:
        """Iterate over (canonical name, name here, source) of a model with so many layers."""
        for name, source in self.sources.items():
            for layer in range(layers) if "{}" in name else (0,):
                yield name.format(layer), source.key.format(layer), source

    def layers_in(self, state: Mapping[str, Any]) -> int:
        """Return how many layers a state dict speaks of: the highest number and one."""
        block = next(source.key for name, source in self.sources.items() if "{}" in name).partition("{}")[0]
        numbers = [match[1] for key in state if (match := re.match(re.escape(block) + r"(\d{1,4})\.", key))]
        return max(map(int, numbers), default=-1) + 1

    def recognizes(self, state: Mapping[str, Any]) -> bool:
        """Say whether the keys are those of this layout."""
        needed = ("embed.W_E", "blocks.{}.attn.W_Q", "blocks.{}.attn.W_O")
        return all(self.sources[name].key.format(0) in state for name in needed)

    def is_buffer(self, key: str) -> bool:
        """Say whether a key is of no weight."""
        return key.rsplit(".", 1)[-1] in self.buffers or any(
            key.endswith(f".{end}") for end in self.buffers if "." in end
        )

    def sizes(self, state: Mapping[str, Tensor], given: Mapping[str, int]) -> tuple[dict[str, int], list[str]]:
        """Return the size of each axis, and the tensors that do not fit it.

        Args:
            state: The tensors.
            given: Sizes from elsewhere: the number of heads, where heads share an axis.
        """
        sizes: dict[str, int] = {}
        misfits: list[str] = []
        joint: list[tuple[str, int]] = []
        for _, key, source in self.keys(self.layers_in(state)):
            if key not in state:
                continue
            shape, axes = tuple(state[key].shape), re.findall(r"\([^)]*\)|\S+", source.axes)
            if source.third is not None and shape and shape[0] % 3 == 0:
                shape = (shape[0] // 3, *shape[1:])
            if len(shape) != len(axes):
                misfits.append(f"{key} {list(state[key].shape)}")
                continue
            for axis, size in zip(axes, shape, strict=True):
                if axis.startswith("("):
                    joint.append((key, size))
                elif sizes.setdefault(axis, size) != size or (axis == "1" and size != 1):
                    misfits.append(f"{key} {list(state[key].shape)}")
        sizes.pop("1", None)
        if joint and "n_heads" not in sizes and (heads := given.get("n_heads")):
            sizes |= {"n_heads": heads, "d_head": joint[0][1] // max(1, heads)}
        if "n_heads" in sizes:
            both = sizes["n_heads"] * sizes["d_head"]
            misfits += [f"{key} {list(state[key].shape)}" for key, size in joint if size != both]
        return sizes, list(dict.fromkeys(misfits))

    def canonical(self, state: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Return the tensors under the names and with the axes of a HookedTransformer."""
        out = {}
        for name, key, source in self.keys(self.layers_in(state)):
            if key not in state:
                continue
            value = state[key] if source.third is None else state[key].chunk(3, dim=0)[source.third]
            axes = CANONICAL[re.sub(r"\.\d+\.", ".{}.", name)]
            heads = {"n_heads": sizes["n_heads"]} if "(" in source.axes else {}
            out[name] = rearrange(value, f"{source.axes} -> {axes}", **heads)
        return out


def _like_canonical(**axes: str) -> dict[str, Source]:
    """Return sources with the canonical names; what the keywords name by its last word has other axes."""
    return {name: Source(name, axes.get(name.rsplit(".", 1)[-1], usual)) for name, usual in CANONICAL.items()}


_PER_HEAD = {f"W_{name}": "n_heads d_head d_model" for name in "QKV"}
_MLP = {"W_in": "d_mlp d_model", "W_out": "d_model d_mlp"}
_JOINT_HEADS = "(n_heads d_head)"


def _torch(block: str, names: Mapping[str, str], attention: Mapping[str, Source]) -> dict[str, Source]:
    """Return the sources of a layout whose modules are of torch, with `.weight` and `.bias`."""
    axes = {
        "embed.W": ("W_E", "d_vocab d_model", ""), "attn.O": ("attn.W_O", f"d_model {_JOINT_HEADS}", "attn.b_O"),
        "mlp.in": ("mlp.W_in", "d_mlp d_model", "mlp.b_in"), "mlp.out": ("mlp.W_out", "d_model d_mlp", "mlp.b_out"),
        "ln1": ("ln1.w", "d_model", "ln1.b"), "ln2": ("ln2.w", "d_model", "ln2.b"),
    }  # fmt: skip
    out = dict(attention)
    for part in ("attn.O", "mlp.in", "mlp.out", "ln1", "ln2"):
        weight, weight_axes, bias = axes[part]
        out[f"blocks.{{}}.{weight}"] = Source(f"{block}{names[part]}.weight", weight_axes)
        out[f"blocks.{{}}.{bias}"] = Source(f"{block}{names[part]}.bias", CANONICAL[f"blocks.{{}}.{bias}"])
    return out | {
        "embed.W_E": Source(names["embed"], "d_vocab d_model"),
        "pos_embed.W_pos": Source(names["pos"], names.get("pos axes", "n_ctx d_model")),
        "ln_final.w": Source(f"{names['ln_final']}.weight", "d_model"),
        "ln_final.b": Source(f"{names['ln_final']}.bias", "d_model"),
        "unembed.W_U": Source(f"{names['head']}.weight", "d_vocab_out d_model"),
        "unembed.b_U": Source(f"{names['head']}.bias", "d_vocab_out"),
    }


_MINGPT = _torch(
    "blocks.{}.",
    {
        "embed": "tok_emb.weight", "pos": "pos_emb", "pos axes": "1 n_ctx d_model", "attn.O": "attn.proj", "mlp.in": "mlp.0",
        "mlp.out": "mlp.2", "ln1": "ln1", "ln2": "ln2", "ln_final": "ln_f", "head": "head",
    },
    {
        f"blocks.{{}}.attn.{kind}_{name}": Source(f"blocks.{{}}.attn.{word}.{what}", axes)
        for name, word in (("Q", "query"), ("K", "key"), ("V", "value"))
        for kind, what, axes in (("W", "weight", f"{_JOINT_HEADS} d_model"), ("b", "bias", _JOINT_HEADS))
    },
)  # fmt: skip
_NANOGPT = _torch(
    "transformer.h.{}.",
    {
        "embed": "transformer.wte.weight", "pos": "transformer.wpe.weight", "attn.O": "attn.c_proj", "mlp.in": "mlp.c_fc",
        "mlp.out": "mlp.c_proj", "ln1": "ln_1", "ln2": "ln_2", "ln_final": "transformer.ln_f", "head": "lm_head",
    },
    {
        f"blocks.{{}}.attn.{kind}_{name}": Source(f"transformer.h.{{}}.attn.c_attn.{what}", axes, third)
        for third, name in enumerate("QKV")
        for kind, what, axes in (("W", "weight", f"{_JOINT_HEADS} d_model"), ("b", "bias", _JOINT_HEADS))
    },
)  # fmt: skip

LAYOUTS = (
    Layout("HookedTransformer", _like_canonical(), ("mask", "IGNORE", "rotary_sin", "rotary_cos")),
    Layout(
        "EasyTransformer of 2022",
        _like_canonical(
            **_PER_HEAD, **_MLP, W_E="d_model d_vocab", W_pos="d_model n_ctx", W_O="n_heads d_model d_head",
            W_U="d_vocab_out d_model",
        ),
        ("mask", "IGNORE"),
    ),
    Layout(
        "heads without biases, as in the work on grokking",
        _like_canonical(**_PER_HEAD, **_MLP, W_E="d_model d_vocab", W_O=f"d_model {_JOINT_HEADS}"),
        ("mask",),
    ),
    Layout("minGPT", _MINGPT, ("attn.mask",), {"normalization_type": "LN", "act_fn": "gelu"}),
    Layout("nanoGPT", _NANOGPT, ("attn.bias", "attn.masked_bias"), {"normalization_type": "LN", "act_fn": "gelu"}),
)  # fmt: skip
