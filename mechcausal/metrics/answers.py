"""Answers that are several tokens or a set of texts: the log-probability of each text, and what a metric makes of them.

The probability of a text is the product of the probabilities of its tokens, each after those before it (teacher forcing).
That of a set of texts that are equally right is the sum over them. For sets of single tokens all of it stands in the logits
of one position; otherwise each text has a row of its own (`mechcausal.data.forced`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechcausal.data.forced import Forced
from mechcausal.data.prompts import PromptSet
from mechcausal.data.targets import listed

Kind = Literal["odds", "logprob", "prob", "written"]
WEIGHT = "weight of an answer"  # the variable that says how much a row counts


def one_each(logits: Float[Tensor, "batch vocab"], ids: Tensor) -> Float[Tensor, " batch"]:
    """Return the log of the summed exponentials of the logits of sets of single tokens, [batch member 1] with -1 for none."""
    tokens = ids[:, :, 0]
    picked = logits.gather(1, tokens.clamp(min=0)).masked_fill(tokens < 0, -math.inf)
    return picked.logsumexp(1)


def is_written(logits: Float[Tensor, "batch vocab"], ids: Tensor) -> Tensor:
    """Say whether the likeliest token is one of a set of single tokens."""
    return (logits.argmax(-1, keepdim=True) == ids[:, :, 0]).any(1)


def continuation(logits: Float[Tensor, "batch pos vocab"], batch: PromptSet) -> Float[Tensor, " batch"]:
    """Return the log-probability of the answer that each row of forced prompts is for."""
    picked, ids = at_answers(logits, batch)
    token_logprobs = picked.log_softmax(-1).gather(2, ids.clamp(min=0)[..., None])[..., 0]
    values = token_logprobs.masked_fill(ids < 0, 0.0).sum(1)
    return values * batch.variables[WEIGHT].to(values) if WEIGHT in batch.variables else values


def writes(logits: Float[Tensor, "batch pos vocab"], batch: PromptSet) -> Float[Tensor, " batch"]:
    """Return 1 where each token of the answer is the likeliest at its position, else 0."""
    picked, ids = at_answers(logits, batch)
    return ((picked.argmax(-1) == ids) | (ids < 0)).all(1).to(torch.float32)


def columns_of(batch: PromptSet) -> Tensor:
    """Return the columns whose logits are those of each token of a row's answer, [batch token]."""
    assert batch.answers is not None  # rows of forced prompts have one
    steps = torch.arange(batch.answers.shape[2], device=batch.tokens.device)
    return (batch.read_columns[:, None] + steps).clamp(max=batch.tokens.shape[1] - 1)


def at_answers(logits: Tensor, batch: PromptSet) -> tuple[Tensor, Tensor]:
    """Return the logits at each token of a row's answer in float32 at least, and the tokens, with -1 behind the last."""
    assert batch.answers is not None
    rows = torch.arange(len(batch), device=logits.device)[:, None]
    picked = logits[rows, columns_of(batch)]
    return (picked.float() if picked.dtype in (torch.bfloat16, torch.float16) else picked), batch.answers[:, 0]


def combined(kind: Kind, rows: Float[Tensor, "... row"], forced: Forced) -> Float[Tensor, "... prompt"]:
    """Return the metric of each prompt from the numbers of its rows.

    Args:
        kind: `"odds"` of the answer against the foil in logs, the `"logprob"` or the `"prob"` of the answer, or whether one
            is `"written"`.
        rows: Log-probabilities of the rows; for `"written"` 1 or 0.
        forced: Which rows are of which prompt.
    """
    if kind == "written":
        return _of(rows, forced.answers, 0.0).amax(-1)
    answer = _of(rows, forced.answers, -math.inf).logsumexp(-1)
    if kind == "odds":
        return answer - _of(rows, forced.foils, -math.inf).logsumexp(-1)
    return answer.exp() if kind == "prob" else answer


def _of(rows: Tensor, index: Tensor, missing: float) -> Tensor:
    """Return the numbers of some rows of each prompt, [... prompt member]."""
    return rows[..., index.clamp(min=0)].masked_fill(index < 0, missing)


def weights(kind: Kind, rows: Float[Tensor, " row"], forced: Forced) -> Float[Tensor, " row"]:
    """Return the gradient of the summed metric by the log-probability of each row."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = rows.detach().clone().double().requires_grad_(True)
        return torch.autograd.grad(combined(kind, leaf, forced).sum(), leaf)[0]


def spread_over(values: Float[Tensor, " prompt"], forced: Forced) -> Float[Tensor, " row"]:
    """Return one number for each row, whose sum over the rows of a prompt is that of the prompt."""
    out = values.new_zeros(len(forced.owner))
    return out.index_put((forced.answers[:, 0],), values)


def longest_answer(prompts: PromptSet) -> int:
    """Return how many tokens the longest answer or foil has, the last of which is never read by the model."""
    tables = [table for table in (prompts.answers, prompts.foils) if table is not None]
    return max((len(member) for table in tables for row in listed(table) for member in row), default=1)
