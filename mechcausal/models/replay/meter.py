"""From final hidden states to the metric: only the position and the columns of the vocabulary that it reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import Metric
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
        self.read = None if metric.reads == "all" else batch.read_columns
        self.columns: Tensor | None = None
        if metric.reads == "answers":
            assert batch.answer is not None
            assert batch.foil is not None
            self.columns = torch.stack([batch.answer, batch.foil], dim=1)
        self.unedited = twin.logits(final) if self.read is None else None  # its final states carry no graph

    @property
    def last(self) -> Tensor | int:
        """The last column that is read, of each example or of all."""
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
        pairs = zip(hidden.split(_ROWS), rows.split(_ROWS), strict=True)
        return torch.cat([self._of_some(*pair, start) for pair in pairs])

    def _of_some(self, hidden: Tensor, rows: Tensor, start: int) -> Tensor:
        compared = None if self.reference is None else self.reference[rows]
        if self.read is None:
            assert self.unedited is not None
            logits = torch.cat([self.unedited[rows, :start], self.twin.logits(hidden)], dim=1)
            return self.metric(logits, self.batch.take(rows.cpu()), compared)
        if compared is not None:
            compared = compared[torch.arange(len(rows)), self.read[rows]][:, None]
        if self.columns is None:
            logits = self.twin.logits(hidden)
            answer, foil = (None if ids is None else ids[rows] for ids in (self.batch.answer, self.batch.foil))
        else:
            logits = self.twin.logits(hidden, self.columns[rows])
            answer, foil = torch.zeros_like(rows), torch.ones_like(rows)
        single = torch.ones(len(rows), 1, dtype=torch.bool, device=hidden.device)
        asked = PromptSet(tokens=single.long(), mask=single, answer=answer, foil=foil)
        return self.metric(logits[:, None], asked, compared)
