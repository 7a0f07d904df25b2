"""From final hidden states to the metric: only the position and the columns of the vocabulary that it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import Metric
from mechcausal.metrics.answers import WEIGHT, columns_of
from mechcausal.models.replay.twin import Twin

_ROWS = 256  # rows of the whole vocabulary at a time


class Meter:
    """Read a metric off hidden states of one batch.

    Args:
        twin: The bare model.
        batch: The prompts.
        metric: The metric.
        reference: The logits that a comparing metric compares with, [batch pos vocab].
        final: The final hidden states of the unedited run, [batch pos model].

    Attributes:
        read: The only column of each example that is read, [batch]; None where all are.
    """

    def __init__(self, twin: Twin, batch: PromptSet, metric: Metric, reference: Tensor | None, final: Tensor) -> None:
        self.twin, self.batch, self.metric, self.final = twin, batch, metric, final
        self.reference = reference if metric.compares else None
        self.read = batch.read_columns if metric.reads_one_position else None
        self.answers = columns_of(batch) if metric.reads == "continuation" else None  # the columns of each token
        self.columns: Tensor | None = None
        self.sets = [None if ids is None else ids.shape[1] for ids in (batch.answers, batch.foils)]
        if metric.reads == "answers":
            sides = [(batch.answer, batch.answers), (batch.foil, batch.foils)]
            self.columns = torch.cat(
                [single[:, None] if single is not None else _first(many) for single, many in sides], dim=1
            )
        everywhere = self.read is None and self.answers is None
        self.unedited = twin.logits(final) if everywhere else None  # its final states carry no graph

    @property
    def last(self) -> Tensor | int:
        """The last column that is read, of each example or of all."""
        if self.answers is not None:
            return self.answers.amax(1)
        return self.batch.tokens.shape[1] - 1 if self.read is None else self.read

    def base(self) -> np.ndarray:
        """Return the metric of the unedited run."""
        rows = torch.arange(len(self.batch), device=self.final.device)
        return self.of(self.final if self.read is None else self.final[rows, self.read], rows, 0)

    @torch.no_grad()
    def of(self, hidden: Tensor, rows: Tensor, start: int) -> np.ndarray:
        """Return the metric of final hidden states; see `scores`."""
        return self.scores(hidden, rows, start).float().cpu().numpy().astype(float)

    def scores(self, hidden: Tensor, rows: Tensor, start: int) -> Tensor:
        """Return the metric of final hidden states, with a graph where they have one.

        Args:
            hidden: At the read position, [entry model], if the metric reads only that; else [entry pos model].
            rows: Which example each entry is.
            start: The column at which `hidden` begins; left of it all is as in the unedited run.
        """
        size = _ROWS if self.answers is None else max(1, _ROWS // self.answers.shape[1])
        pairs = zip(hidden.split(size), rows.split(size), strict=True)
        return torch.cat([self._of_some(*pair, start) for pair in pairs])

    def _of_some(self, hidden: Tensor, rows: Tensor, start: int) -> Tensor:
        compared = None if self.reference is None else self.reference[rows]
        if self.answers is not None:
            return self._of_answers(hidden, rows, start)
        if self.read is None:
            assert self.unedited is not None
            logits = torch.cat([self.unedited[rows, :start], self.twin.logits(hidden)], dim=1)
            return self.metric(logits, self.batch.take(rows.cpu()), compared)
        if compared is not None:
            compared = compared[torch.arange(len(rows)), self.read[rows]][:, None]
        targets: dict[str, Any]
        if self.columns is None:
            logits = self.twin.logits(hidden)
            named = {name: getattr(self.batch, name) for name in ("answer", "foil", "answers", "foils")}
            targets = {name: None if ids is None else ids[rows] for name, ids in named.items()}
        else:
            logits = self.twin.logits(hidden, self.columns[rows])
            targets = self._among_columns(rows)
        single = torch.ones(len(rows), 1, dtype=torch.bool, device=hidden.device)
        asked = PromptSet(tokens=single.long(), mask=single, **targets)
        return self.metric(logits[:, None], asked, compared)

    def _among_columns(self, rows: Tensor) -> dict[str, Any]:
        """Return where the answers and foils of rows stand among the columns that are computed."""
        if self.sets == [None, None]:
            return {"answer": torch.zeros_like(rows), "foil": torch.ones_like(rows)}
        places_by_name, first = {}, 0
        for name, ids in (("answers", self.batch.answers), ("foils", self.batch.foils)):
            assert ids is not None  # a metric of answers has both
            places = torch.arange(first, first + ids.shape[1], device=rows.device)[None, :, None]
            places_by_name[name] = torch.where(ids[rows] < 0, -1, places)
            first += ids.shape[1]
        return places_by_name

    def _of_answers(self, hidden: Tensor, rows: Tensor, start: int) -> Tensor:
        """Return the metric from the logits at each token of an answer, the only ones that are computed."""
        assert self.answers is not None
        columns = self.answers[rows]
        entry = torch.arange(len(rows), device=rows.device)[:, None]
        states = torch.where(
            (columns < start)[..., None],
            self.final[rows[:, None], columns],
            hidden[entry, (columns - start).clamp(min=0)],
        )
        logits = self.twin.logits(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        steps = torch.ones(states.shape[:2], dtype=torch.bool, device=rows.device)
        assert self.batch.answers is not None
        weight = {name: value[rows] for name, value in self.batch.variables.items() if name == WEIGHT}
        forced = torch.full_like(rows, states.shape[1] - 1)
        asked = PromptSet(
            tokens=steps.long(), mask=steps, answers=self.batch.answers[rows], forced=forced, variables=weight
        )
        return self.metric(logits, asked)


def _first(ids: Tensor | None) -> Tensor:
    """Return the tokens of sets of single tokens, [batch member]; where there are fewer members, some token."""
    assert ids is not None
    return ids[:, :, 0].clamp(min=0)
