"""A network written down for searches: one direction carries each variable, and no other does.

    <bos> a0..a4 c0..c4 e0..e4 ask      then  s0..s8, the sum of a and c

One layer without norm copies a, c and e to directions of the stream at the end that are turned at random. The logit of
s_j is 20 + 4 (2 j y - j^2) with y = a + c read linearly, which is largest at j = y. To exchange a along a unit vector r one
needs (r.(A + C)) r.x = a for every a, c and e, and only r = A does that. Nothing reads e.
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from safetensors.torch import save_file

import mechcausal as mc
from mechcausal.causal import SCM, Task
from mechcausal.models.organisms.tokenizer import save_tokenizer

SIZE, SHARP, STEEP = 5, 250.0, 4.0
INPUTS = ("a", "c", "e")
ANSWERS = tuple(f"s{j}" for j in range(2 * SIZE - 1))
VOCABULARY = ("<pad>", "<bos>", *(f"{v}{i}" for v in INPUTS for i in range(SIZE)), "ask", *ANSWERS)
WIDTH, HEADS, HEAD_WIDTH = 16, 4, 4
ONE, OWN, MARK, END = 0, 1, 4, 7  # the first dimension of each kind; the last three have one for each input
CONFIG = {
    "n_layers": 1, "d_model": WIDTH, "n_ctx": 5, "d_head": HEAD_WIDTH, "n_heads": HEADS, "d_mlp": 4,
    "d_vocab": len(VOCABULARY), "act_fn": "relu", "normalization_type": None, "attn_only": False,
    "positional_embedding_type": "standard",
}  # fmt: skip
TURN = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(7)))[0]
DIRECTIONS = {v: TURN[END + i].numpy() for i, v in enumerate(INPUTS)}
PLACE = "L0.resid_post@end"

TASK = Task(
    name="sum",
    scm=SCM(
        "sum",
        noise={f"u_{v}": SIZE for v in INPUTS},
        mechanisms={
            "a": lambda u_a: u_a,
            "c": lambda u_c: u_c,
            "e": lambda u_e: u_e,
            "total": lambda a, c: a + c,
            "answer": lambda total: total,
        },
        values={"answer": ANSWERS},
    ),
    outcome="answer",
    inputs=INPUTS,
    write=lambda table: [
        f"a{a} c{c} e{e} ask" for a, c, e in zip(table["a"], table["c"], table["e"], strict=True)
    ],
    positions={"a": 0, "c": 1, "e": 2, "end": 3},
)  # fmt: skip


def state():
    """Return the weights, under the names of a HookedTransformer."""
    words = {word: number for number, word in enumerate(VOCABULARY)}
    embed, position = torch.zeros(len(VOCABULARY), WIDTH), torch.zeros(5, WIDTH)
    unembed = torch.zeros(WIDTH, len(VOCABULARY))
    read, key, value = (torch.zeros(HEADS, WIDTH, HEAD_WIDTH) for _ in range(3))
    out = torch.zeros(HEADS, HEAD_WIDTH, WIDTH)
    position[:, ONE] = 1
    for i, v in enumerate(INPUTS):
        for level in range(SIZE):
            embed[words[f"{v}{level}"], OWN + i] = level
        position[1 + i, MARK + i] = 1
        read[i, ONE, 0] = SHARP * math.sqrt(HEAD_WIDTH)
        key[i, MARK + i, 0] = value[i, OWN + i, 0] = out[i, 0, END + i] = 1
    for j, word in enumerate(ANSWERS):
        unembed[[END, END + 1], words[word]] = STEEP * 2 * j
        unembed[ONE, words[word]] = 20 - STEEP * j * j
    block = "blocks.0."
    told = {"embed.W_E": embed @ TURN, "pos_embed.W_pos": position @ TURN, "unembed.W_U": TURN.T @ unembed}
    told |= {f"{block}attn.W_{name}": TURN.T @ w for name, w in (("Q", read), ("K", key), ("V", value))}
    told |= {f"{block}attn.b_{name}": torch.zeros(HEADS, HEAD_WIDTH) for name in "QKV"}
    told |= {f"{block}attn.W_O": out @ TURN, f"{block}attn.b_O": torch.zeros(WIDTH)}
    told |= {f"{block}mlp.W_in": torch.zeros(WIDTH, 4), f"{block}mlp.b_in": torch.zeros(4)}
    told |= {f"{block}mlp.W_out": torch.zeros(4, WIDTH), f"{block}mlp.b_out": torch.zeros(WIDTH)}
    return {name: w.contiguous() for name, w in {**told, "unembed.b_U": torch.zeros(len(VOCABULARY))}.items()}


def load(folder):
    """Write the network to a folder and load it."""
    save_file(state(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_tokenizer(VOCABULARY, folder, longest=5)
    return mc.load(folder)


def everyone(model):
    """Return the prompts of all 125 units."""
    grid = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij"), -1).reshape(-1, 3)
    table = TASK.scm.solve({f"u_{v}": grid[:, i] for i, v in enumerate(INPUTS)})
    return TASK.prompts(model, table=table)
