"""A compiled organism computed in numpy from its weights, with single edges taken from another prompt."""

from __future__ import annotations

import math

import numpy as np
from safetensors.numpy import load_file

from mechcausal.organisms import folder


class Compiled:
    """The weights of a compiled organism, and its forward."""

    def __init__(self, name):
        raw = load_file(folder(name) / "weights" / "model.safetensors")
        self.weights = {key: value.astype(np.float64) for key, value in raw.items()}
        self.n_layers = 1 + max(int(key.split(".")[1]) for key in raw if key.startswith("blocks"))
        self.n_heads = len(raw["blocks.0.attn.W_Q"])

    def run(self, tokens, edge=None, other=None):
        """Return the logits and what each sender adds to the stream.

        With `edge`, a pair of printed sites, the reader reads what `other` holds of the sender in place of the sender.
        """
        w = self.weights
        sent = {"embed": w["embed.W_E"][tokens] + w["pos_embed.W_pos"][: tokens.shape[1]]}

        def stream(reader):
            total = sum(sent.values())
            if edge is not None and edge[1] == reader:
                total = total + other[edge[0]] - sent[edge[0]]
            return total

        for layer in range(self.n_layers):
            block, sums = f"blocks.{layer}.", {}
            for head in range(self.n_heads):
                q, k, v = (
                    stream(f"L{layer}.{kind}.H{head}") @ w[f"{block}attn.W_{kind.upper()}"][head]
                    + w[f"{block}attn.b_{kind.upper()}"][head]
                    for kind in "qkv"
                )
                scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
                scores = np.where(np.tri(tokens.shape[1], dtype=bool), scores, -np.inf)
                pattern = np.exp(scores - scores.max(-1, keepdims=True))
                pattern /= pattern.sum(-1, keepdims=True)
                sums[f"L{layer}.z.H{head}"] = pattern @ v @ w[f"{block}attn.W_O"][head]
            sent |= sums
            name = f"L{layer}.mlp_out"
            hidden = np.maximum(stream(name) @ w[f"{block}mlp.W_in"] + w[f"{block}mlp.b_in"], 0)
            sent[name] = hidden @ w[f"{block}mlp.W_out"] + w[f"{block}mlp.b_out"]
        return stream("logits") @ w["unembed.W_U"] + w["unembed.b_U"], sent
