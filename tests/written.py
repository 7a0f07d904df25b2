"""Patching written out on the plain `transformers` model: forward hooks, one prompt at a time, answers one token after another."""

from __future__ import annotations

from dataclasses import replace

import torch
from zoo import make_pairs

from mechcausal.data.targets import filled

ANSWERS = [[[5, 6]], [[7], [8, 9, 10]], [[11, 12, 13]]]
FOILS = [[[20]], [[21, 22]], [[23], [24]]]
SINGLE = [[[5], [6]], [[7]], [[8], [9], [10]]]


def several(side="right", answers=ANSWERS, foils=FOILS, lengths=(5, 7, 4)):
    pairs = make_pairs(lengths, side=side, changed=(1, 2))
    told = {"answer": None, "foil": None, "answers": filled(answers), "foils": filled(foils)}
    return replace(pairs, clean=replace(pairs.clean, **told), corrupt=replace(pairs.corrupt, **told))


LAYERS = {
    "llama": lambda model: model.model.layers,
    "gpt2": lambda model: model.transformer.h,
    "neox": lambda model: model.gpt_neox.layers,
}


def stream(model, name, tokens, layer):
    """Return the input of a layer, [pos model]."""
    taken = []
    handle = LAYERS[name](model)[layer].register_forward_pre_hook(
        lambda module, args, kwargs: taken.append((args[0] if args else kwargs["hidden_states"])[0].clone()),
        with_kwargs=True,
    )
    with torch.no_grad():
        model(torch.tensor([tokens]))
    handle.remove()
    return taken[0]


def logprobs(model, name, tokens, layer=None, put=None):
    """Return log-probabilities, [pos vocab]; with `put`, the input of a layer has these vectors at these positions."""
    handles = []
    if put:

        def hook(module, args, kwargs):
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            for position, vector in put.items():
                hidden[0, position] = vector
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        handles.append(LAYERS[name](model)[layer].register_forward_pre_hook(hook, with_kwargs=True))
    with torch.no_grad():
        out = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
    for handle in handles:
        handle.remove()
    return out


def score(model, name, prompt, members, layer=None, put=None):
    """Return the log of the summed probabilities of answers after a prompt, each written out token by token."""
    found = []
    for member in members:
        table = logprobs(model, name, [*prompt, *member[:-1]], layer, put)
        found.append(sum(table[len(prompt) - 1 + step, token] for step, token in enumerate(member)))
    return torch.stack(found).logsumexp(0)


def odds(model, name, prompt, answers, foils, layer=None, put=None):
    """Return the log-odds of answers against foils."""
    return float(score(model, name, prompt, answers, layer, put) - score(model, name, prompt, foils, layer, put))
