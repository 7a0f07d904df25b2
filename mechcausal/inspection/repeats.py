"""Texts on which heads show what they do: random tokens that come twice, and texts whose tokens are shuffled."""

from __future__ import annotations

from dataclasses import replace

import torch

from mechcausal.arguments import Count, Model, Seed, checked
from mechcausal.data.prompts import PromptSet, pad
from mechcausal.data.tokens import wants_bos


@checked
def repeated(model: Model, n: Count = 16, length: Count = 24, seed: Seed = 0) -> PromptSet:
    """Return prompts of random tokens that come twice, after the BOS token: what induction heads are found on.

    Args:
        model: The model whose vocabulary they are of.
        n: How many prompts.
        length: How many tokens come twice.
        seed: The seed of the draw.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:induction")
        >>> mc.inspection.repeated(model, n=4, length=3)
        PromptSet(4 prompts of 7 tokens, 4 clusters)
    """
    tokenizer = getattr(model, "tokenizer", None)
    special = set(getattr(tokenizer, "all_special_ids", None) or [])
    pool = torch.tensor([token for token in range(int(model.cfg.d_vocab)) if token not in special])
    draw = torch.Generator().manual_seed(seed)
    begin = getattr(tokenizer, "bos_token_id", None)
    first = [begin] if begin is not None and wants_bos(model) else []
    rows = []
    for _ in range(n):
        once = pool[torch.randint(0, len(pool), (length,), generator=draw)].tolist()
        rows.append([*first, *once, *once])
    tokens, mask = pad(rows)
    return PromptSet(tokens=tokens, mask=mask)


def shuffled(prompts: PromptSet, seed: int) -> PromptSet:
    """Return the same prompts with the tokens after the first in random order."""
    draw, rows = torch.Generator().manual_seed(seed), []
    for row in prompts.real_tokens:
        order = torch.randperm(len(row) - 1, generator=draw) + 1
        rows.append([row[0], *(row[place] for place in order.tolist())])
    tokens, mask = pad(rows, width=prompts.tokens.shape[1], side=prompts.side)
    return replace(prompts, tokens=tokens, mask=mask, texts=())
