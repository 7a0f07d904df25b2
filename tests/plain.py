"""A transformer without layer norm in forty lines of numpy and double precision: what compiled organisms are held against.

It reads legacy HookedTransformer weights and shares no code with the package.
"""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import load_file


class Plain:
    """`run(tokens)` returns logits and activations; `swap(name, value)` may give back another value for any of them."""

    def __init__(self, folder):
        self.w = {name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()}
        self.config = json.loads((folder / "config.json").read_text())
        self.number = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        self.word = sorted(self.number, key=self.number.get)

    def tokens(self, texts):
        """Return rows of ids, filled up on the right, and the place of each last token."""
        rows = [["<bos>", *text.split()] for text in texts]
        width = max(map(len, rows))
        ids = [[self.number[word] for word in row] + [0] * (width - len(row)) for row in rows]
        return np.array(ids), np.array([len(row) - 1 for row in rows])

    def run(self, tokens, swap=lambda name, value: value):
        seen = {}

        def keep(name, value):
            seen[name] = swap(name, value)
            return seen[name]

        w, length = self.w, tokens.shape[1]
        stream = w["embed.W_E"][tokens] + w["pos_embed.W_pos"][:length]
        future = np.triu(np.full((length, length), -np.inf), 1)
        for layer in range(self.config["n_layers"]):
            block, at = f"blocks.{layer}.", f"L{layer}."
            q, k, v = (
                keep(
                    at + name.lower(),
                    np.einsum("bpm,hmd->bphd", stream, w[f"{block}attn.W_{name}"]) + w[f"{block}attn.b_{name}"],
                )
                for name in "QKV"
            )
            scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(self.config["d_head"]) + future
            weight = np.exp(scores - scores.max(-1, keepdims=True))
            pattern = weight / weight.sum(-1, keepdims=True)
            z = keep(at + "z", np.einsum("bhqk,bkhd->bqhd", pattern, v))
            stream = stream + np.einsum("bphd,hdm->bpm", z, w[f"{block}attn.W_O"]) + w[f"{block}attn.b_O"]
            hidden = np.maximum(stream @ w[f"{block}mlp.W_in"] + w[f"{block}mlp.b_in"], 0)
            stream = stream + keep(at + "mlp_out", hidden @ w[f"{block}mlp.W_out"] + w[f"{block}mlp.b_out"])
        return stream @ w["unembed.W_U"] + w["unembed.b_U"], seen

    def answers(self, logits, last):
        """Return the word that each prompt is answered with."""
        return [self.word[i] for i in logits[np.arange(len(last)), last].argmax(-1)]
