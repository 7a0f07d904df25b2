"""The components of a transformer: their order, what each one belongs to, what it writes to and what it reads.

This is the one place for facts about components that hold for every model. `models.anatomy` holds those that depend on
the model.
"""

from __future__ import annotations

import math

# What a model computes, in order; the components of one step do not read each other.
_STEPS: tuple[tuple[str, ...], ...] = (
    ("embed",), ("resid_pre",), ("q", "k", "v"), ("pattern",), ("z",), ("result",), ("attn_out",), ("resid_mid",), ("mlp_post",),
    ("mlp_out",), ("resid_post",), ("logits",),
)  # fmt: skip
_STEP = {name: number for number, names in enumerate(_STEPS) for name in names}

ORDER = tuple(_STEP)
"""All components in the order of computation."""

GLOBAL_COMPONENTS = ("embed", "logits")
"""Components that belong to no layer."""

HEAD_COMPONENTS = ("q", "k", "v", "z", "result", "pattern")
"""Components that have one part for each head."""

KV_COMPONENTS = ("k", "v")
"""Components that several heads may share (grouped-query attention)."""

VECTOR_COMPONENTS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post")
"""Components of a layer that are one vector at each position; a neuron is an entry of it."""

COMPONENTS = ("embed", *VECTOR_COMPONENTS, *HEAD_COMPONENTS, "logits")
"""All components, in the order in which they are listed for people."""

STREAM = ("embed", "resid_pre", "resid_mid", "resid_post")
"""The residual stream itself, at each place where it can be read."""

SUBLAYERS = ("attn_out", "mlp_out")
"""What a layer adds to the stream."""

INSIDE = {"attn_out": ("q", "k", "v", "pattern", "z", "result"), "mlp_out": ("mlp_post",)}
"""What each sublayer computes on the way to its output."""

WRITES_TO = {"embed": "resid_pre"} | {name: out for out, names in INSIDE.items() for name in (*names, out)}
"""Through which activation each component enters the stream. `q`, `k` and `pattern` do so through `z`."""

READS_FROM = {
    "resid_pre": "resid_pre",
    **dict.fromkeys((*INSIDE["attn_out"], "attn_out"), "resid_pre"),
    "resid_mid": "resid_mid",
    **dict.fromkeys((*INSIDE["mlp_out"], "mlp_out"), "resid_mid"),
    "resid_post": "resid_post",
    "logits": "resid_post",
}
"""Which stream each component reads. Where attention and MLP are parallel, the MLP reads `resid_pre`."""

LINEAR_WRITERS = {"z": "attn_out", "mlp_post": "mlp_out"}
"""Components that one linear map takes to the output of their sublayer."""


def depth(component: str, layer: int | None) -> tuple[float, int]:
    """Return when a component is computed: its layer, then its step; the embedding is first, the logits are last."""
    if layer is None:
        return (-1, 0) if component == "embed" else (math.inf, 0)
    return layer, _STEP[component]


def holds(outer: str, inner: str) -> bool:
    """Say whether a component is another one, or the sublayer in which the other one is computed."""
    return outer == inner or inner in INSIDE.get(outer, ())
