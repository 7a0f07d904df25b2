"""The standard scores of attention heads: how much weight falls where a kind of head puts it, by definition.

A score is the mean over the queries that have such a key. With x the tokens of a prompt and A[t, j] the weight from t to j:

    previous     A[t, t - 1]                                   for t >= 2
    first        A[t, 0]                                       for t >= 1
    duplicate    sum of A[t, j] over j < t with x[j] = x[t]
    induction    sum of A[t, j] over j < t with x[j - 1] = x[t]

`copying` asks what the head writes: the share of the prompt's distinct tokens whose logits it raises less than that of the
token it attends to, weighted by attention (the first token left out). One half is nothing, 1 always the attended token
most, 0 always least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

KINDS = ("previous", "first", "duplicate", "induction")
SCORES = (*KINDS, "copying")


def keys_of(tokens: Sequence[int]) -> dict[str, Tensor]:
    """Return for each kind which (query, key) it means, [query key], from the tokens of one prompt."""
    x = torch.as_tensor(list(tokens))
    n = len(x)
    query, key = torch.arange(n)[:, None], torch.arange(n)[None]
    same = x[:, None] == x[None]
    follows = torch.zeros(n, n, dtype=torch.bool)
    follows[:, 1:] = same[:, :-1]  # the token before the key is the query's
    return {
        "previous": (key == query - 1) & (query >= 2),
        "first": (key == 0) & (query >= 1),
        "duplicate": same & (key < query),
        "induction": follows & (key < query),
    }


def pattern_scores(pattern: Tensor, at: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the score of each kind for each head, [head]; NaN where no query has such a key.

    Args:
        pattern: The attention of the heads in one prompt, [head query key].
        at: What `keys_of` gives for the tokens whose places are meant: of this prompt, or of one that it was made from.
    """
    scores = {}
    for kind, mask in at.items():
        queries = mask.any(-1)
        weight = (pattern * mask.to(pattern)).sum(-1)
        mean = weight[:, queries].mean(-1) if bool(queries.any()) else torch.full((len(pattern),), torch.nan)
        scores[kind] = mean
    return scores


def uniform_scores(tokens: Sequence[int]) -> dict[str, float]:
    """Return what attention spread evenly over all tokens so far would score; one half for copying."""
    n = len(tokens)
    even = torch.tril(torch.ones(1, n, n)) / torch.arange(1, n + 1)[None, :, None]
    scores = pattern_scores(even, keys_of(tokens))
    return {kind: float(value[0]) for kind, value in scores.items()} | {"copying": 0.5}


def copying_scores(pattern: Tensor, written: Tensor, directions: Tensor, tokens: Sequence[int]) -> Tensor:
    """Return the copying score of each head, [head]; NaN where a prompt has fewer than two distinct tokens.

    Args:
        pattern: The attention of the heads in one prompt, [head query key].
        written: What each head adds to the stream, [query head model].
        directions: The direction of the stream along which the logit of each distinct token grows, [token model].
        tokens: The tokens of the prompt, as numbers of rows of `directions`, [query].
    """
    index = torch.as_tensor(list(tokens))
    if len(directions) < 2:
        return torch.full((len(pattern),), torch.nan)
    raised = torch.einsum("qhm,tm->hqt", written.to(directions), directions)
    # The share of other tokens that are raised less; ties count half.
    ranks = raised.argsort(-1).argsort(-1).to(raised) / (len(directions) - 1)
    attended = ranks[:, :, index]  # of the token at each key
    weight = pattern.to(attended).clone()
    weight[:, :, 0] = 0
    total = weight.sum((1, 2))
    return torch.where(total > 1e-6, (weight * attended).sum((1, 2)) / total.clamp(min=1e-6), torch.nan)
