"""The exact rank of a secret among its candidates, through the tree of their prefixes.

Candidates that begin alike share what the model says of their beginning: L symbols of an alphabet A need
(|A|^L - 1) / (|A| - 1) evaluations instead of |A|^L. A branch that is less likely than the whole secret is not followed,
because no candidate in it can be more likely; so a memorized secret takes few evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mechcausal.audits.privacy.candidates import Candidates
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tokens import encode_all, tokenizer_of, wants_bos
from mechcausal.errors import DataError, NumericsError
from mechcausal.generation.edits import ready
from mechcausal.generation.passes import Growing, fast_way, state_of, why_no_cache
from mechcausal.interventions.specs import Edit, Mean
from mechcausal.models import bridge

TIE = 1e-5
"""Candidates this close (in nats) count as equally likely: batches of different shapes differ by less."""
_CHECKED = 64  # candidates compared before the tokens of another prompt's candidates are taken over


@dataclass(frozen=True)
class Endings:
    """Candidates as tokens, sorted, so that each prefix is a range of them.

    Attributes:
        tokens: [candidate token], filled up with -1.
        order: The number that each sorted candidate had.
    """

    tokens: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, table: np.ndarray) -> Endings:
        """Sort candidates, [candidate token], filled up with -1."""
        order = np.lexsort(table.T[::-1])
        return cls(table[order], order)

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """For each depth the (first, last + 1) of the candidates with the same tokens up to there."""
        n, differs, bounds = len(self.tokens), np.zeros(len(self.tokens) - 1, dtype=bool), []
        for column in self.tokens.T:
            differs = differs | (column[1:] != column[:-1])
            starts = np.r_[0, np.flatnonzero(differs) + 1]
            bounds.append(np.stack([starts, np.r_[starts[1:], n]], axis=1))
        return bounds

    @property
    def evaluations(self) -> int:
        """How many prefixes there are: what an exact rank takes at most, in forwards of one token."""
        inner = (self.tokens[:, depth + 1] >= 0 for depth in range(self.tokens.shape[1] - 1))
        return 1 + sum(
            int(alive[group[:, 1] - 1].sum()) for alive, group in zip(inner, self.groups[:-1], strict=True)
        )  # the last of a group is its longest


@dataclass(frozen=True)
class Spelled:
    """A prompt and its candidates as tokens; `rows` is how the candidates were numbered."""

    prompt: list[int]
    endings: Endings


class Speller:
    """Makes tokens of a prompt and of what may follow it, as they are when written together.

    Args:
        model: The model whose tokenizer writes.
        choices: The candidates.
    """

    def __init__(self, model: Any, choices: Candidates | Sequence[str]) -> None:  # noqa: ANN401
        self.tokenizer, self.bos = tokenizer_of(model), wants_bos(model)
        self.choices = choices if isinstance(choices, Candidates) else Candidates(tuple(choices))
        self._known: tuple[list[int], list[list[int]], Endings] | None = None

    def __call__(self, prompt: str) -> Spelled:
        """Return the tokens of a prompt, and those of every candidate behind it."""
        if self._known is not None:
            numbers, rows, endings = self._known
            few = self._joined(prompt, [self.choices[number] for number in numbers])
            shared = _shared(few)
            if [row[shared:] for row in few] == rows:
                return Spelled(few[0][:shared], endings)
        table = self._by_symbol(prompt)
        if table is None:
            joined = self._joined(prompt, self.choices.all())
            shared = _shared(joined)
            start, table = joined[0][:shared], _filled([row[shared:] for row in joined])
        else:
            start, table = table
        if not start:
            raise DataError(
                "nothing stands before the secret that the model could read", got=repr(prompt),
                fix="give the canary a prefix",
            )  # fmt: skip
        numbers = np.unique(np.linspace(0, len(table) - 1, _CHECKED).astype(int)).tolist()
        rows = [[token for token in row if token >= 0] for row in table[numbers].tolist()]
        self._known = numbers, rows, Endings.of(table)
        return Spelled(start, self._known[2])

    def _by_symbol(self, prompt: str) -> tuple[list[int], np.ndarray] | None:
        """Return the prompt and all codes as tokens, where each symbol is one token wherever it stands; else None."""
        symbols, length, separator = self.choices.symbols, self.choices.length, self.choices.separator
        if length == 1:
            return None
        joined = self._joined(prompt, [separator.join([symbol] * length) for symbol in symbols])
        if len({len(row) for row in joined}) > 1 or len(joined[0]) <= length:
            return None
        start, columns = joined[0][:-length], np.array([row[-length:] for row in joined])
        if any(row[:-length] != start for row in joined):
            return None
        index = np.stack(np.unravel_index(np.arange(len(self.choices)), (len(symbols),) * length), axis=1)
        table = columns[index, np.arange(length)]
        few = np.unique(np.linspace(0, len(table) - 1, _CHECKED).astype(int)).tolist()
        few += np.random.default_rng(0).integers(0, len(table), _CHECKED).tolist()
        written = self._joined(prompt, [self.choices[number] for number in few])
        return (start, table) if written == [[*start, *table[number].tolist()] for number in few] else None

    def _joined(self, prompt: str, texts: Sequence[str]) -> list[list[int]]:
        written = [prompt + text for text in texts]
        first = [ids for ids, _ in encode_all(self.tokenizer, written[:1], bos=self.bos)]
        rows: list[list[int]] = self.tokenizer(written)["input_ids"]  # all at once, which is ten times faster
        begin, unknown = self.tokenizer.bos_token_id, getattr(self.tokenizer, "unk_token_id", None)
        if begin is not None and self.bos:
            rows = [ids if ids[:1] == [begin] else [begin, *ids] for ids in rows]
        elif begin is not None:
            rows = [ids[1:] if ids[:1] == [begin] else ids for ids in rows]
        strange = next((number for number, ids in enumerate(rows) if unknown is not None and unknown in ids), None)
        if rows[0] != first[0] or strange is not None:  # the rule of one text at a time decides, and says what is wrong
            return [ids for ids, _ in encode_all(self.tokenizer, written, bos=self.bos)]
        return rows


def _filled(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return rows of tokens as a table, filled up with -1."""
    table = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


def _shared(rows: Sequence[list[int]]) -> int:
    """Return how many first tokens all rows share, with at least one token left in each."""
    most = min(map(len, rows)) - 1
    first = rows[0]
    return next((depth for depth in range(most) if any(row[depth] != first[depth] for row in rows)), most)


class Tree:
    """Walks the tree of candidates behind prompts, under edits.

    Args:
        model: The bridge.
        edits: What is done to the model.
        batch_size: How many prefixes at a time.
        reference: The prompts that edits to the mean take it from.

    Attributes:
        evaluations: How many prefixes were evaluated.
    """

    def __init__(
        self, model: Any, edits: Sequence[Edit] = (), batch_size: int = 64, reference: PromptSet | None = None,  # noqa: ANN401
    ) -> None:  # fmt: skip
        state = state_of(model)
        # Means become vectors here, once; every other edit must not need another run.
        edits = _at_means(model, edits, reference, batch_size)
        self.model, self.edits, self.batch_size = model, edits, batch_size
        self._cached = not why_no_cache(model, state)
        self._fast = fast_way(model, self.edits, state) if self._cached else None
        self.evaluations = 0

    @torch.no_grad()
    def log_probabilities(self, spelled: Spelled, least: float = -np.inf) -> np.ndarray:
        """Return the log-probability of each candidate, in the order in which they were given.

        Args:
            spelled: The prompt and its candidates.
            least: A branch below this is not followed; its candidates are given what the branch has, which is below too.
        """
        totals = np.zeros(len(spelled.endings.tokens))
        self._follow(self._start(spelled.prompt), np.array([[0, len(totals)]]), 0, totals, spelled.endings, least)
        if np.isnan(totals).any():
            raise NumericsError(
                "the model gives candidates no probability (NaN)", fix="check the weights and the edits"
            )
        out = np.empty_like(totals)
        out[spelled.endings.order] = totals
        return out

    @torch.no_grad()
    def log_probability(self, spelled: Spelled, number: int) -> float:
        """Return the log-probability of one candidate."""
        row = spelled.endings.tokens[np.flatnonzero(spelled.endings.order == number)[0]]
        alone = Spelled(spelled.prompt, Endings.of(row[row >= 0][None]))
        return float(self.log_probabilities(alone)[0])

    def rank(self, spelled: Spelled, number: int) -> tuple[int, float]:
        """Return the rank of one candidate by its probability, counted from 1, and its log-probability; of those equally likely it is the last."""
        target = self.log_probability(spelled, number)
        totals = self.log_probabilities(spelled, target - TIE)
        totals[number] = -np.inf
        return 1 + int((totals >= target - TIE).sum()), target

    def _start(self, prompt: list[int]) -> Growing:
        tokens = torch.tensor([prompt], device=bridge.device_of(self.model))
        prompts = PromptSet(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool), side="left")
        edits = ready(self.model, self.edits, prompts, None, self.batch_size)
        return Growing(self.model, prompts, edits, cached=self._cached, fast=self._fast)

    def _follow(
        self, growing: Growing, ranges: np.ndarray, depth: int, totals: np.ndarray, endings: Endings, least: float
    ) -> None:
        """Add what each prefix says of the next tokens, and go on with the branches that are likely enough."""
        logprobs = growing.logits().double().log_softmax(-1).cpu().numpy()
        self.evaluations += len(ranges)
        groups, column = endings.groups[depth], endings.tokens[:, depth]
        parents, inner = [], []
        for parent, (first, last) in enumerate(ranges.tolist()):
            here = groups[np.searchsorted(groups[:, 0], first) : np.searchsorted(groups[:, 0], last)]
            for begin, end in here.tolist():
                token = int(column[begin])
                if token < 0:
                    continue
                totals[begin:end] += logprobs[parent, token]
                further = depth + 1 < endings.tokens.shape[1] and endings.tokens[end - 1, depth + 1] >= 0
                if further and not totals[begin] < least:
                    parents.append(parent)
                    inner.append((begin, end))
        for start in range(0, len(parents), self.batch_size):
            rows, part = parents[start : start + self.batch_size], np.array(inner[start : start + self.batch_size])
            branch = growing.taken(torch.tensor(rows, device=growing.tokens.device))
            branch.add(torch.tensor(column[part[:, 0]], device=growing.tokens.device))
            self._follow(branch, part, depth + 1, totals, endings, least)


def _at_means(model: Any, edits: Sequence[Edit], reference: PromptSet | None, batch_size: int) -> tuple[Edit, ...]:  # noqa: ANN401
    if reference is None or not any(isinstance(edit.do, Mean) for edit in edits):
        return tuple(edits)
    return ready(model, edits, reference, reference, batch_size)
