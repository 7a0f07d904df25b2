"""Prompts with every answer written behind each of them, where answers are several tokens.

The output of a tree is a prompt that was drawn, and is judged by the answer of the reference. So the tokens of that answer
follow every prompt that is drawn for it. What a node computes stands before them, and is run once for all answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mechcausal.causal.scrubbing.sampling import Draw
from mechcausal.data.forced import Forced, forced
from mechcausal.data.prompts import PromptSet
from mechcausal.data.targets import filled, listed
from mechcausal.metrics.answers import columns_of


@dataclass(frozen=True, eq=False)
class Written:
    """All answers behind all prompts.

    Attributes:
        pool: The rows; that of a prompt and an answer is number `prompt * count + answer`.
        count: How many different texts the answers and foils are.
        answers: The number of each text of each prompt's answer.
        foils: The same of its foil.
    """

    pool: PromptSet
    count: int
    answers: list[list[int]]
    foils: list[list[int]]

    @classmethod
    def of(cls, pool: PromptSet) -> Written:
        """Write the answers and foils of prompts behind all of them."""
        sides = [[] if table is None else listed(table) for table in (pool.answers, pool.foils)]
        texts = list(dict.fromkeys(tuple(text) for side in sides for row in side for text in row))
        answers, foils = ([[texts.index(tuple(text)) for text in row] for row in side] for side in sides)
        repeated = pool.take(np.repeat(np.arange(len(pool)), len(texts)).tolist())
        table = filled([[text] for text in texts]).repeat(len(pool), 1, 1).to(pool.tokens.device)
        rows = forced(repeated, PromptSet(repeated.tokens, repeated.mask, repeated.side, answers=table)).prompts
        return cls(rows, len(texts), answers, foils or [[] for _ in answers])

    def examples(self, references: np.ndarray) -> tuple[Forced, np.ndarray]:
        """Return the texts by which examples are judged, as rows of one after the other, and the number of each text."""
        owner: list[int] = []
        texts: list[int] = []
        index: tuple[list[list[int]], list[list[int]]] = ([], [])
        for example, reference in enumerate(references):
            for column, numbers in zip((self.answers, self.foils), index, strict=True):
                wanted = column[reference]
                numbers.append(list(range(len(texts), len(texts) + len(wanted))))
                texts += wanted
                owner += [example] * len(wanted)
        answers, foils = (filled([[row] for row in numbers])[:, 0] for numbers in index)
        return Forced(self.pool, torch.tensor(owner), answers, foils), np.asarray(texts)

    def drawn(self, samples: Mapping[str, Draw], owner: np.ndarray, texts: np.ndarray) -> dict[str, Draw]:
        """Return what is drawn for each row: what was drawn for its example, with its text behind it."""

        def rows(prompts: np.ndarray) -> np.ndarray:
            return prompts[owner] * self.count + texts

        return {
            name: Draw(
                rows(draw.x),
                None if draw.o is None else rows(draw.o),
                {site: rows(prompts) for site, prompts in draw.components.items()},
            )
            for name, draw in samples.items()
        }


def output_columns(batch: PromptSet) -> Tensor:
    """Return the columns that give the output, [run token]: that of the read position, or of each token of an answer."""
    return batch.read_columns[:, None] if batch.forced is None else columns_of(batch)


def at_output(values: Tensor, batch: PromptSet, start: int = 0) -> Tensor:
    """Return what stands at the read position, [run ...], or at each token of an answer, [run token ...]."""
    rows = torch.arange(len(values), device=values.device)[:, None]
    picked = values[rows, output_columns(batch) - start]
    return picked[:, 0] if batch.forced is None else picked
