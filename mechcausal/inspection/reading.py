"""What a lens reads at each cell: the answer, its rank, the likeliest tokens, and how far that is from the model's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.data.prompts import PromptSet
from mechcausal.inspection.streams import chosen
from mechcausal.inspection.unembedding import Unembedding, in_chunks

Translate = Callable[[Site, Tensor], Tensor]


@dataclass
class Read:
    """What is read at one cell.

    Attributes:
        value: Log-odds of answer against foil, or log-probability of the answer, of each example; NaN where it lacks
            the position.
        rank: The rank of the answer among all tokens, 1 for the likeliest.
        kl: KL divergence from the model's own output at that position to what is read, in nats.
        agrees: Whether the likeliest token is that of the model's own output there.
        top: The likeliest tokens by their mean probability, with it.
    """

    value: np.ndarray
    rank: np.ndarray
    kl: np.ndarray
    agrees: np.ndarray
    top: list[tuple[int, float]] = field(default_factory=list)


@torch.no_grad()
def read_cells(
    unembed: Unembedding,
    values: Mapping[Site, Tensor],
    last: Site,
    places: Sequence[Place],
    prompts: PromptSet,
    answer: Tensor,
    foil: Tensor | None,
    translate: Translate,
    top: int,
) -> list[Read]:
    """Return what is read at each place; several tokens of a prompt are averaged.

    Args:
        unembed: The unembedding.
        values: The stream at each site, [prompt pos model].
        last: The site of the last stream, which gives the model's own output.
        places: The cells.
        prompts: The prompts.
        answer: The tokens that are followed, [prompt member]; -1 where a prompt has fewer.
        foil: The tokens they are compared with, if any.
        translate: What is done to the stream of a site before it is unembedded.
        top: How many likely tokens are kept.
    """
    readings: dict[Place, Read] = {}
    for at in dict.fromkeys(place.at for place in places):
        here = [place for place in places if place.at == at]
        rows, columns = chosen(prompts, here[0])
        sums = {place: _Sums(len(prompts), int(unembed.head.weight.shape[0])) for place in here}
        for part in in_chunks(len(rows)):
            some, where = rows[part], columns[part]
            final = unembed(values[last][some, where]).log_softmax(-1)
            wanted, other = answer[some], None if foil is None else foil[some]
            for place in here:
                stream = translate(place.site, values[place.site][some, where])
                sums[place].add(some, unembed(stream).log_softmax(-1), final, wanted, other)
        readings |= {place: sums[place].read(top) for place in here}
    return [readings[place] for place in places]


def first_tokens(prompts: PromptSet, what: str) -> Tensor | None:
    """Return the first token of each answer (or foil) of each prompt, [prompt member]; None where there are none."""
    single, several = getattr(prompts, what), getattr(prompts, f"{what}s")
    if single is not None:
        return single[:, None].cpu()
    if several is None:
        return None
    first = several[:, :, 0].cpu().clone()
    for row in first:  # a token that begins several answers counts once
        for place in range(1, len(row)):
            if int(row[place]) in row[:place].tolist():
                row[place] = -1
    return first


def members(logprobs: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probabilities of several tokens, [prompt member]; minus infinity for those that are missing."""
    tokens = tokens.to(logprobs.device)
    return logprobs.gather(1, tokens.clamp(min=0)).masked_fill(tokens < 0, -torch.inf)


def log_odds(logprobs: Tensor, answer: Tensor, foil: Tensor | None) -> Tensor:
    """Return the log-odds of answers against foils, or the log-probability of the answers where there are no foils."""
    value = members(logprobs, answer).logsumexp(-1)
    return value if foil is None else value - members(logprobs, foil).logsumexp(-1)


class _Sums:
    """The numbers of one cell while its tokens are read."""

    def __init__(self, n: int, vocabulary: int) -> None:
        self.count, self.chance = torch.zeros(n), torch.zeros(vocabulary)
        self.columns = {name: torch.zeros(n) for name in ("value", "rank", "kl", "agrees")}

    def add(self, rows: Tensor, read: Tensor, final: Tensor, answer: Tensor, foil: Tensor | None) -> None:
        best = members(read, answer).max(-1, keepdim=True).values
        numbers = {
            "value": log_odds(read, answer, foil),
            "rank": 1.0 + (read > best).sum(-1),
            "kl": (final.exp() * (final - read)).sum(-1).clamp(min=0),
            "agrees": (read.argmax(-1) == final.argmax(-1)).float(),
        }
        for name, column in numbers.items():
            self.columns[name].index_add_(0, rows.cpu(), column.float().cpu())
        self.count.index_add_(0, rows.cpu(), torch.ones(len(rows)))
        self.chance += read.exp().sum(0).float().cpu()

    def read(self, top: int) -> Read:
        count = torch.where(self.count > 0, self.count, torch.nan)
        columns = {name: (column / count).double().numpy() for name, column in self.columns.items()}
        likely = (self.chance / self.count.sum().clamp(min=1)).topk(min(top, len(self.chance)))
        return Read(**columns, top=list(zip(likely.indices.tolist(), likely.values.tolist(), strict=True)))
