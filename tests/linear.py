"""A network written down for searches: one direction carries each variable, and no other does.

    <bos> a0..a4 c0..c4 e0..e39 ask      then  s0..s8, the sum of a and c

One layer without norm copies a, c and sixteen random features of the word e to directions of the stream at the end that
are turned at random. The logit of s_j is 20 + 4 (2 j y - j^2) with y = a + c read linearly, which is largest at j = y.
To exchange a along a unit vector r one needs (r.(A + C)) r.x = a for every a, c and e, and only r = A does that. Nothing
reads the features of e; over few prompts they can stand in for anything, as the features of real networks can.
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from safetensors.torch import save_file

import mechcausal as mc
from mechcausal.causal import SCM, Task
from mechcausal.organisms.tokenizer import save_tokenizer

SIZE, WORDS, FEATURES, SHARP, STEEP = 5, 40, 16, 250.0, 4.0
INPUTS = ("a", "c", "e")
SIZES = {"a": SIZE, "c": SIZE, "e": WORDS}
ANSWERS = tuple(f"s{j}" for j in range(2 * SIZE - 1))
VOCABULARY = ("<pad>", "<bos>", *(f"{v}{i}" for v in INPUTS for i in range(SIZES[v])), "ask", *ANSWERS)
WIDTH, HEADS, HEAD_WIDTH = 48, 3, 16
ONE, MARK = 0, 1
OWN = {"a": [4], "c": [5], "e": range(6, 22)}
END = {"a": [22], "c": [23], "e": range(24, 40)}
CONFIG = {
    "n_layers": 1, "d_model": WIDTH, "n_ctx": 5, "d_head": HEAD_WIDTH, "n_heads": HEADS, "d_mlp": 4,
    "d_vocab": len(VOCABULARY), "act_fn": "relu", "normalization_type": None, "attn_only": False,
    "positional_embedding_type": "standard",
}  # fmt: skip
TURN = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(7)))[0]
DIRECTIONS = {v: TURN[END[v][0]].numpy() for v in ("a", "c")}
PLACE = "L0.resid_post@end"

TASK = Task(
    name="sum",
    scm=SCM(
        "sum",
        noise={f"u_{v}": SIZES[v] for v in INPUTS},
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
    write=lambda table: [f"a{a} c{c} e{e} ask" for a, c, e in zip(*(table[v] for v in INPUTS), strict=True)],
    positions={"a": 0, "c": 1, "e": 2, "end": 3},
)


def state():
    """Return the weights, under the names of a HookedTransformer."""
    words = {word: number for number, word in enumerate(VOCABULARY)}
    embed, position = torch.zeros(len(VOCABULARY), WIDTH), torch.zeros(5, WIDTH)
    unembed = torch.zeros(WIDTH, len(VOCABULARY))
    query, key, value = (torch.zeros(HEADS, WIDTH, HEAD_WIDTH) for _ in range(3))
    out = torch.zeros(HEADS, HEAD_WIDTH, WIDTH)
    features = torch.randn(WORDS, FEATURES, generator=torch.Generator().manual_seed(8))
    position[:, ONE] = 1
    for head, v in enumerate(INPUTS):
        for level in range(SIZES[v]):
            embed[words[f"{v}{level}"], list(OWN[v])] = features[level] if v == "e" else torch.tensor([float(level)])
        position[1 + head, MARK + head] = 1
        query[head, ONE, 0] = SHARP * math.sqrt(HEAD_WIDTH)
        key[head, MARK + head, 0] = 1
        for slot, (own, end) in enumerate(zip(OWN[v], END[v], strict=True)):
            value[head, own, slot] = out[head, slot, end] = 1
    for j, word in enumerate(ANSWERS):
        unembed[[END["a"][0], END["c"][0]], words[word]] = STEEP * 2 * j
        unembed[ONE, words[word]] = 20 - STEEP * j * j
    block = "blocks.0."
    told = {"embed.W_E": embed @ TURN, "pos_embed.W_pos": position @ TURN, "unembed.W_U": TURN.T @ unembed}
    told |= {f"{block}attn.W_{name}": TURN.T @ w for name, w in (("Q", query), ("K", key), ("V", value))}
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
    """Return 200 prompts: every pair of a and c eight times, each time with another e."""
    number = np.arange(8 * SIZE * SIZE)
    noise = {"u_a": number % SIZE, "u_c": number // SIZE % SIZE, "u_e": 13 * number // SIZE % WORDS}
    return TASK.prompts(model, table=TASK.scm.solve(noise))
