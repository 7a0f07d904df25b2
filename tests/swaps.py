"""Interchange on a bare GPT-2 by plain torch hooks: what trained organisms are held against. No code of the package."""

from __future__ import annotations

from contextlib import ExitStack

import torch


def run(model, tokens, swap=lambda site, activation: activation):
    """Return logits and activations by `L1.z`, `L2.mlp_out`, `L1.resid_post`; `swap` may give back other ones."""
    seen = {}

    def keep(site, activation):
        seen[site] = swap(site, activation)
        return seen[site]

    def before(site):
        return lambda _, inputs: (keep(site, inputs[0]), *inputs[1:])

    def after(site):
        return lambda _, __, out: (keep(site, out[0]), *out[1:]) if isinstance(out, tuple) else keep(site, out)

    with torch.no_grad(), ExitStack() as stack:
        for layer, block in enumerate(model.transformer.h):
            # What the output map of the attention reads are the heads side by side.
            stack.callback(block.attn.c_proj.register_forward_pre_hook(before(f"L{layer}.z")).remove)
            stack.callback(block.mlp.register_forward_hook(after(f"L{layer}.mlp_out")).remove)
            stack.callback(block.register_forward_hook(after(f"L{layer}.resid_post")).remove)
        return model(tokens).logits, seen


def part_of(model, site, basis=None):
    """Return the whole site, and the projection on the part of it that a printed site or a basis names."""
    whole, _, head = site.partition(".H")
    width = model.config.n_embd
    if basis is not None:
        rows = torch.tensor(basis)
        return whole, rows.T @ torch.linalg.inv(rows @ rows.T) @ rows
    if head == "":
        return whole, torch.eye(width)
    inside = torch.zeros(width)
    size = width // model.config.n_head
    inside[int(head) * size : (int(head) + 1) * size] = 1
    return whole, torch.diag(inside)


def swapped(model, tokens, sources):
    """Return logits with parts taken, row by row, from other prompts.

    `sources` holds (site, basis, column in each row, other tokens, column in each other row).
    """
    rows, taken, seen = torch.arange(len(tokens)), [], {}
    for site, basis, here, others, there in sources:
        if id(others) not in seen:
            seen[id(others)] = run(model, others)[1]
        whole, inside = part_of(model, site, basis)
        taken.append((whole, inside, here, seen[id(others)][whole][rows, there]))

    def swap(site, activation):
        for whole, inside, here, new in taken:
            if site == whole:
                activation = activation.clone()
                activation[rows, here] += (new - activation[rows, here]) @ inside
        return activation

    return run(model, tokens, swap)[0]
