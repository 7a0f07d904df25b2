"""Attacks that say whether a text was in the training data: one score for each text, larger for members.

| attack | score |
|---|---|
| `loss` | the mean log-probability of its tokens (Yeom et al. 2018) |
| `zlib` | its log-likelihood over the bytes that zlib packs it into (Carlini et al. 2021) |
| `min_k` | the mean of the lowest fifth of its tokens' log-probabilities (Shi et al. 2024) |
| `min_k_plus` | the same of (log p - mean) / spread, both over the vocabulary (Zhang et al. 2024) |
| `reference` | `loss` less that in another model |
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.audits.desk import Desk
from mechcausal.audits.privacy.members import Members
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.metrics import Metric

Attack = Literal["loss", "zlib", "min_k", "min_k_plus", "reference"]
ATTACKS: tuple[Attack, ...] = ("loss", "zlib", "min_k", "min_k_plus", "reference")


def prompts_of(model: Any, texts: Members) -> PromptSet:  # noqa: ANN401
    """Return the texts as prompts; one of a single token is refused, because nothing in it is predicted."""
    prompts = PromptSet.from_text(model, list(texts.texts), clusters=list(texts.clusters) or ())
    short = next((row for row, length in enumerate(prompts.lengths.tolist()) if length < 2), None)
    if short is not None:
        raise DataError(f"text {short} is a single token, in which nothing is predicted", got=repr(texts.texts[short]))
    return prompts


def attack_scores(
    desk: Desk,
    texts: Members,
    attacks: Sequence[Attack],
    *,
    share: float = 0.2,
    reference: Any = None,  # noqa: ANN401 - a model
) -> dict[Attack, np.ndarray]:
    """Return the score of every text for each attack.

    Args:
        desk: The desk; its edits hold.
        texts: The texts.
        attacks: Which attacks.
        share: The share of tokens that `min_k` and `min_k_plus` look at.
        reference: The other model of `reference`.
    """
    prompts = prompts_of(desk.model, texts)
    out: dict[Attack, np.ndarray] = {}
    for attack in attacks:
        match attack:
            case "loss":
                out[attack] = -desk.outcomes(prompts, "loss")
            case "zlib":
                packed = np.array([len(zlib.compress(text.encode())) for text in texts.texts])
                out[attack] = desk.outcomes(prompts, "log_likelihood") / packed
            case "min_k" | "min_k_plus":
                out[attack] = desk.outcomes(prompts, lowest(share, attack == "min_k_plus"))
            case "reference":
                if reference is None:
                    raise DataError("the attack 'reference' needs another model", fix='reference = "..."')
                other = replace(desk, model=reference, edits=(), memory={})
                out[attack] = other.outcomes(prompts_of(reference, texts), "loss") - desk.outcomes(prompts, "loss")
    return out


@cache
def lowest(share: float, standardized: bool) -> Metric:
    """Return the mean of the lowest share of the tokens' log-probabilities, each standardized over the vocabulary or not."""

    def function(logits: Tensor, batch: PromptSet) -> Tensor:
        logprobs = logits[:, :-1].float().log_softmax(-1)
        picked = logprobs.gather(2, batch.tokens[:, 1:, None])[..., 0]
        if standardized:
            chance = logprobs.exp()
            mean = (chance * logprobs).sum(-1)
            spread = ((chance * logprobs.square()).sum(-1) - mean.square()).clamp(min=1e-12).sqrt()
            picked = (picked - mean) / spread
        counted = batch.mask[:, 1:] & batch.mask[:, :-1]
        ordered = picked.masked_fill(~counted, torch.inf).sort(dim=1).values
        few = (counted.sum(1) * share).floor().clamp(min=1)
        among = torch.arange(ordered.shape[1], device=ordered.device)[None] < few[:, None]
        return ordered.masked_fill(~among, 0).sum(1) / few

    return Metric(f"min_k{'_plus' if standardized else ''} {share:g}", function, reads="all", differentiable=False)
