"""Write organism:by_hand: `python -m mechcausal.recipes.by_hand --out DIR`.

Two layers, no layer norm, every weight set here. The dimensions of the residual stream have names:

    G, S         gender and level, written by the embedding at their own token
    ONE, AT_G, AT_S   written by the position embedding: one everywhere, a mark at token 1, a mark at token 2
    G_END, UNUSED, S_END   written by the heads of layer 0 at the end
    JOINT        written by the MLP of layer 1

A head that looks at one marked position has the score 250 there and 0 elsewhere, so its pattern is one-hot to the
last bit of a float (exp(-250) is 0). Layer 0: H0 copies G to G_END, H1 copies G to UNUSED, which nothing reads
(it can be decoded and has no effect), H2 copies S to S_END, H3 looks at the gender and writes nothing. Layer 1: the attention
is zero, one neuron computes relu(G_END + S_END - 1) and writes it to JOINT. The answer `yes` reads
1.3 G_END + 0.4 S_END + 0.9 JOINT; `no` reads nothing. At the end this gives

    log-odds = 1.3 g + 0.4 s + 0.9 relu(g + s - 1)

from which every effect follows. Total effect of he against she: 2.6 for low (the neuron is silent), 3.5 for high; 3.05 on
average over levels. Along H0 -> logits alone: 2.6. Along H0 -> MLP -> logits alone: 0 for low, 0.9 for high.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mechcausal.data.tasks import by_hand as task
from mechcausal.metrics import logit_diff
from mechcausal.models.hooked import forward
from mechcausal.models.load import load
from mechcausal.organisms.tokenizer import save_tokenizer
from mechcausal.recipes.recipe import measured

G, S, ONE, AT_G, AT_S, G_END, UNUSED, S_END, JOINT = range(9)
WORDS = {word: i for i, word in enumerate(task.VOCABULARY)}
SHARP = 250.0
CONFIG: dict[str, Any] = {
    "n_layers": 2, "d_model": 12, "n_ctx": 4, "d_head": 3, "n_heads": 4, "d_mlp": 4, "d_vocab": len(WORDS),
    "act_fn": "relu", "normalization_type": None, "attn_only": False, "positional_embedding_type": "standard",
}  # fmt: skip
# head -> (mark it looks at, what it reads, where it writes it)
HEADS = {0: (AT_G, G, G_END), 1: (AT_G, G, UNUSED), 2: (AT_S, S, S_END), 3: (AT_G, G, None)}


def weights() -> dict[str, Tensor]:
    """Return the state dict, under the names of a HookedTransformer."""
    width, head_width, heads, hidden = (CONFIG[key] for key in ("d_model", "d_head", "n_heads", "d_mlp"))
    state: dict[str, Tensor] = {
        "embed.W_E": torch.zeros(len(WORDS), width),
        "pos_embed.W_pos": torch.zeros(CONFIG["n_ctx"], width),
        "unembed.W_U": torch.zeros(width, len(WORDS)),
        "unembed.b_U": torch.zeros(len(WORDS)),
    }
    for word, dimension, value in (("she", G, -1), ("he", G, 1), ("low", S, -1), ("high", S, 1)):
        state["embed.W_E"][WORDS[word], dimension] = value
    state["pos_embed.W_pos"][:, ONE] = 1
    state["pos_embed.W_pos"][1, AT_G] = 1
    state["pos_embed.W_pos"][2, AT_S] = 1
    for dimension, weight in ((G_END, task.DIRECT), (S_END, task.LEVEL), (JOINT, task.JOINT)):
        state["unembed.W_U"][dimension, WORDS["yes"]] = weight
    for layer in range(CONFIG["n_layers"]):
        block = f"blocks.{layer}."
        for name in "QKV":
            state[f"{block}attn.W_{name}"] = torch.zeros(heads, width, head_width)
            state[f"{block}attn.b_{name}"] = torch.zeros(heads, head_width)
        state[f"{block}attn.W_O"] = torch.zeros(heads, head_width, width)
        state[f"{block}attn.b_O"] = torch.zeros(width)
        state[f"{block}mlp.W_in"], state[f"{block}mlp.b_in"] = torch.zeros(width, hidden), torch.zeros(hidden)
        state[f"{block}mlp.W_out"], state[f"{block}mlp.b_out"] = torch.zeros(hidden, width), torch.zeros(width)
    for head, (mark, reads, writes) in HEADS.items():
        state["blocks.0.attn.W_Q"][head, ONE, 0] = SHARP * math.sqrt(head_width)
        state["blocks.0.attn.W_K"][head, mark, 0] = 1
        state["blocks.0.attn.W_V"][head, reads, 0] = 1
        if writes is not None:
            state["blocks.0.attn.W_O"][head, 0, writes] = 1
    state["blocks.1.mlp.W_in"][[G_END, S_END], 0] = 1
    state["blocks.1.mlp.b_in"][0] = -1
    state["blocks.1.mlp.W_out"][0, JOINT] = 1
    return state


def truth() -> dict[str, Any]:
    """Return the effects of he against she on the log-odds, in closed form, for each level and their mean."""

    def by_level(low: float, high: float) -> dict[str, float]:
        return {"low": low, "high": high, "mean": (low + high) / 2}

    total = by_level(*(task.log_odds(1, s) - task.log_odds(-1, s) for s in (-1, 1)))
    direct, joint = by_level(2 * task.DIRECT, 2 * task.DIRECT), by_level(0.0, task.JOINT)
    none = by_level(0.0, 0.0)

    def variable(site: str, *parents: str) -> dict[str, Any]:
        return {"site": site, "at": "end", "parents": list(parents), "task": "by_hand", "parts": [f"{site}@end"]}

    return {
        "name": "by_hand",
        "task": "log-odds(yes : no) = 1.3 g + 0.4 s + 0.9 relu(g + s - 1)",
        "parameters": sum(value.numel() for value in weights().values()),
        "recipe": "python -m mechcausal.recipes.by_hand",
        "variables": {
            "gender": variable("L0.z.H0"),
            "level": variable("L0.z.H2"),
            "joint": variable("L1.mlp_out", "gender", "level"),
        },
        "circuit": ["L0.z.H0", "L0.z.H2", "L1.mlp_out"],
        "edges": [
            ["embed@gender", "L0.z.H0"], ["embed@level", "L0.z.H2"], ["L0.z.H0", "logits"], ["L0.z.H2", "logits"],
            ["L0.z.H0", "L1.mlp_out"], ["L0.z.H2", "L1.mlp_out"], ["L1.mlp_out", "logits"],
        ],
        "gender_effects": {
            "total": total,
            # The path through the MLP alone carries the change of the neuron: 0.9 where the level is high.
            "patch": {"L0.z.H0": total, "L0.z.H1": none, "L0.z.H2": none, "L0.z.H3": none, "L1.mlp_out": joint},
            "path": {"L0.z.H0 -> logits": direct, "L0.z.H0 -> L1.mlp_out": joint, "L0.z.H1 -> logits": none},
            "stream": {"L0.resid_pre@gender": total, "L1.resid_pre@gender": none, "L1.resid_pre@end": total},
            "controlled_direct": {"low": 2 * task.DIRECT, "high": 2 * task.DIRECT + task.JOINT},
        },
        "ablation_of_H0_from_he": by_level(-task.DIRECT, -task.DIRECT - task.JOINT),
        "notes": "L0.z.H1 holds the gender, perfectly decodable, and nothing reads it.",
        "tasks": ["by_hand"],
    }  # fmt: skip


def accuracy(folder: Path) -> float:
    """Return how often the right answer has larger odds than the other one, over all texts."""
    model = load(folder)
    prompts = task.TASK.prompts(model, table=task.TASK.scm.enumerate()[0])
    return float((logit_diff(forward(model, prompts).logits, prompts) > 0).double().mean())


def main() -> None:
    """Write weights, configuration, tokenizer and truth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    (out / "weights").mkdir(parents=True, exist_ok=True)
    save_file(weights(), out / "weights" / "model.safetensors")
    (out / "weights" / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    save_tokenizer(task.VOCABULARY, out / "weights", longest=CONFIG["n_ctx"])
    record = truth()
    # All words but `yes` have logit 0, as `no` has. So an answer counts as right where it beats the other answer.
    record["measured"] = measured(out / "weights", record) | {"accuracy": accuracy(out / "weights")}
    (out / "truth.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
