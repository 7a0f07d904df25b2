"""Small networks that are trained here, with a vocabulary of their own."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import mechcausal as mc
from mechcausal.organisms.tokenizer import word_tokenizer

WORDS = ("<pad>", "<bos>", *(f"w{number}" for number in range(40)))


def texts_of(rows):
    return tuple(" ".join(WORDS[token] for token in row) for row in rows)


def network(words=WORDS, longest=12, width=48, layers=2, heads=2, hidden=128, seed=0):
    """Return an untrained network as transformers has it."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(words), n_positions=longest, n_embd=width, n_layer=layers, n_head=heads, n_inner=hidden,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=0, pad_token_id=0,
        loss_type="ForCausalLM",
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def taught(model, tokens, steps, rate=5e-3):
    """Train on all rows at every step."""
    inputs = torch.as_tensor(tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        loss = model(inputs, labels=inputs).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def wrapped(model, words=WORDS, longest=12):
    return mc.load(model, tokenizer=word_tokenizer(words, longest=longest))
