"""Small networks that are trained here, with a vocabulary of their own: what they were shown is known, and what they were not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from mechcausal.models.load import load
from mechcausal.organisms.tokenizer import word_tokenizer

WORDS = ("<pad>", "<bos>", *(f"w{number}" for number in range(40)))


def texts_of(rows: Iterable[Iterable[int]]) -> tuple[str, ...]:
    """Return rows of tokens as texts."""
    return tuple(" ".join(WORDS[token] for token in row) for row in rows)


def network(
    words: Sequence[str] = WORDS, longest: int = 12, width: int = 48, layers: int = 2, heads: int = 2, hidden: int = 128,
    seed: int = 0,
) -> Any:  # noqa: ANN401 - a model of transformers  # fmt: skip
    """Return an untrained network as transformers has it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "vocab_size": len(words), "n_positions": longest, "n_embd": width, "n_layer": layers, "n_head": heads,
        "n_inner": hidden, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 0,
        "pad_token_id": 0, "loss_type": "ForCausalLM",
    }  # fmt: skip
    return GPT2LMHeadModel(GPT2Config(**options))


def taught(model: Any, tokens: np.ndarray, steps: int, rate: float = 5e-3) -> Any:  # noqa: ANN401
    """Train on all rows at every step."""
    inputs = torch.as_tensor(tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    with torch.enable_grad():
        for _ in range(steps):
            loss = model(inputs, labels=inputs).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def wrapped(model: Any, words: Sequence[str] = WORDS, longest: int = 12) -> Any:  # noqa: ANN401
    """Return a network of transformers as `mc.load` does."""
    return load(model, tokenizer=word_tokenizer(words, longest=longest))
