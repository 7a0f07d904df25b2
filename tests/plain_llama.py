"""A Llama of transformers under forward hooks: the plain way to the numbers that the package is held against.

Nothing here comes from the package. An activation is called by its layer and a word; an edit is a function from the
activation to another.
"""

from contextlib import contextmanager

import torch


def _place(model, layer, word):
    """Return the module at which an activation is read, and whether it is its input."""
    if word == "final":
        return model.model.norm, True
    block = model.model.layers[layer]
    return {
        "resid_pre": (block, True),
        "z": (block.self_attn.o_proj, True),
        "q": (block.self_attn.q_proj, False),
        "attn_out": (block.self_attn.o_proj, False),
        "mlp_out": (block.mlp, False),
    }[word]


@contextmanager
def hooks(model, edits, kept=None):
    """Edit activations while the body runs, and keep those named in `kept`, a dictionary that is filled."""
    handles = []
    for key in {**edits, **(kept or {})}:
        module, is_input = _place(model, *key)

        def act(value, key=key):
            value = edits[key](value) if key in edits else value
            if kept is not None and key in kept:
                kept[key] = value
            return value

        if is_input:
            handles.append(module.register_forward_pre_hook(lambda _, args, act=act: (act(args[0]), *args[1:])))
        else:
            handles.append(module.register_forward_hook(lambda _, args, out, act=act: act(out)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(model, tokens, edits=(), keep=(), mask=None):
    """Return the logits of the last position, [row vocab], and the activations kept."""
    kept = dict.fromkeys(keep)
    options = {}
    if mask is not None:
        options = {"attention_mask": mask.long(), "position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)}
    with hooks(model, dict(edits), kept):
        logits = model(tokens, use_cache=False, logits_to_keep=1, **options).logits[:, -1]
    return logits, kept


def log_odds(logits, pairs):
    """Return the logit of the answer minus that of the foil."""
    rows = torch.arange(len(logits))
    return logits[rows, pairs.clean.answer] - logits[rows, pairs.clean.foil]


def at_head(head, size, new):
    """Return an edit that puts `new`, [row pos size] or what broadcasts to it, into the columns of a head."""
    columns = slice(head * size, (head + 1) * size)

    def edit(value):
        value = value.clone()
        value[..., columns] = new
        return value

    return edit


def at_position(position, new):
    """Return an edit that puts `new`, [row width], at one position."""

    def edit(value):
        value = value.clone()
        value[:, position] = new
        return value

    return edit
