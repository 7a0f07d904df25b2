"""Interchange by plain torch hooks on the bare `transformers` model, with nothing of the package in between."""

from __future__ import annotations

import torch
from transformers import GPT2LMHeadModel

from mechcausal.models.organisms import folder


def bare(name):
    """Return the model of an organism as its files hold it."""
    return GPT2LMHeadModel.from_pretrained(folder(name) / "weights", attn_implementation="eager").eval()


def tokens_of(vocabulary, texts):
    """Return token ids, with the leading BOS."""
    number = {word: i for i, word in enumerate(vocabulary)}
    return torch.tensor([[number["<bos>"], *(number[word] for word in text.split())] for text in texts])


@torch.no_grad()
def answers(model, tokens, swaps=(), source=None):
    """Return the last token said, with each of `swaps` = (place, column) as in the run of `source`.

    A place is `"embed"`, `"L1.mlp_out"` or `"L1.z.H2"`; columns count the BOS.
    """
    taken, handles = {}, []

    def hook(place, column, recording):
        layer, head = (int(place[1]), int(place.split("H")[1]) if "z" in place else None) if place != "embed" else (0, 0)

        def change(value):
            width = model.config.n_embd // model.config.n_head
            part = slice(None) if head is None or place == "embed" else slice(head * width, (head + 1) * width)
            if recording:
                taken[place, column] = value[:, column, part].clone()
                return value
            value = value.clone()
            value[:, column, part] = taken[place, column]
            return value

        if place == "embed":
            return model.transformer.wte.register_forward_hook(lambda module, given, out: change(out))
        block = model.transformer.h[layer]
        if head is None:
            return block.mlp.register_forward_hook(lambda module, given, out: change(out))
        return block.attn.c_proj.register_forward_pre_hook(lambda module, given: (change(given[0]),))

    def run(ids, recording):
        handles.extend(hook(place, column, recording) for place, column in swaps)
        try:
            return model(ids).logits[:, -1].argmax(-1)
        finally:
            while handles:
                handles.pop().remove()

    if swaps:
        run(source, True)
    return run(tokens, False)
