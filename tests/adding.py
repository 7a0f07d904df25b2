"""A task small enough to be taught in seconds: `x1 y2 ask` calls for `three`, and a GPT-2 for it."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import mechcausal as mc
from mechcausal.causal import SCM, Hypothesis, Task
from mechcausal.causal.training.lessons import Lesson
from mechcausal.organisms.tokenizer import word_tokenizer

ANSWERS = ("zero", "one", "two", "three")
VOCABULARY = ("<pad>", "<bos>", "x0", "x1", "y0", "y1", "y2", "ask", *ANSWERS)
WORDS = {word: i for i, word in enumerate(VOCABULARY)}
ASK = 3  # the column of the last token
PLACES = {"left": "L0.z.H0@ask", "right": "L0.z.H1@ask", "total": "L1.mlp_out@ask"}
MECHANISMS = {
    "x": lambda u_x: u_x,
    "y": lambda u_y: u_y,
    "left": lambda x: x,
    "right": lambda y: y,
    "total": lambda left, right: left + right,
    "answer": lambda total: total,
}
SHOWN = {"x": ("x0", "x1"), "y": ("y0", "y1", "y2"), "answer": ANSWERS}
TASK = Task(
    name="adding",
    scm=SCM("adding", noise={"u_x": 2, "u_y": 3}, mechanisms=MECHANISMS, values=SHOWN),
    outcome="answer",
    inputs=("x", "y"),
    write=lambda table: [f"x{x} y{y} ask" for x, y in zip(table["x"], table["y"], strict=True)],
    positions={"x": 0, "y": 1, "ask": 2},
)


def network(seed=0, **settings):
    """Return an untrained `transformers` model."""
    torch.manual_seed(seed)
    sizes = {
        "n_positions": 6, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 32, "initializer_range": 0.15, **settings,
    }  # fmt: skip
    config = GPT2Config(
        vocab_size=len(VOCABULARY), resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=WORDS["<bos>"], eos_token_id=WORDS["<pad>"], pad_token_id=WORDS["<pad>"], **sizes,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def bridge(module=None, **settings):
    """Return a bridge around it, or around a new one."""
    module = network(**settings) if module is None else module
    return mc.load(module, tokenizer=word_tokenizer(VOCABULARY, longest=6), copy=False)


def hypothesis(**places):
    """Return the sum as a hypothesis, with its variables at their places unless said otherwise."""
    return Hypothesis(TASK.scm, {**PLACES, **places})


def lesson(model, n=200, seed=0, **places):
    """Return what teaches it."""
    return Lesson(hypothesis(**places), TASK.prompts(model, n, seed=seed))
