"""An organism as its files hold it, asked in words: what is said in the end, with places as in other prompts."""

from __future__ import annotations

import torch
from swaps import swapped
from transformers import GPT2LMHeadModel

from mechcausal.organisms import folder


def bare(name):
    """Return the `transformers` model of an organism."""
    return GPT2LMHeadModel.from_pretrained(folder(name) / "weights", attn_implementation="eager").eval()


def tokens_of(vocabulary, texts):
    """Return token ids, with the leading BOS."""
    number = {word: i for i, word in enumerate(vocabulary)}
    return torch.tensor([[number["<bos>"], *(number[word] for word in text.split())] for text in texts])


def answers(model, tokens, places=(), source=None):
    """Return the last token said, with each (site, column) as in the runs of `source`; columns count the BOS."""
    return swapped(model, tokens, [(site, None, at, source, at) for site, at in places])[:, -1].argmax(-1)
