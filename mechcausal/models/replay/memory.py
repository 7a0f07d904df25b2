"""Unedited runs that several calls of the engine on the same prompts share, so that each is recorded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet

if TYPE_CHECKING:
    from mechcausal.models.replay.twin import Base

_BUDGET = 2 * 2**30


class Memory:
    """The unedited runs of some batches, for as long as the weights stay as they are.

    Attributes:
        sites: Whole activations that are read whenever a run is recorded, because later calls ask for them.
        budget: The number of bytes that are kept; a run beyond it is recorded again whenever it is needed.
    """

    def __init__(self, sites: Sequence[Site] = (), budget: int = _BUDGET) -> None:
        self.sites, self.budget = list(sites), budget
        self._runs: dict[Any, Base] = {}
        self._bytes = 0

    def find(self, batch: PromptSet, sites: Sequence[Site]) -> Base | None:
        """Return the recorded run of a batch if it has these activations; what a caller adds to it is not kept."""
        run = self._runs.get(_key(batch))
        if run is None or any(site not in run.values for site in sites):
            return None
        return replace(run, values=dict(run.values))

    def keep(self, batch: PromptSet, run: Base) -> None:
        """Keep the recorded run of a batch."""
        key, size = _key(batch), _bytes(run)
        self._bytes -= _bytes(self._runs.pop(key)) if key in self._runs else 0
        if self._bytes + size <= self.budget:
            self._runs[key] = replace(run, values=dict(run.values))
            self._bytes += size


def _key(batch: PromptSet) -> tuple[object, ...]:
    return batch.hash, tuple(batch.tokens.shape), batch.side, str(batch.tokens.device)


def _bytes(run: Base) -> int:
    parts: list[Tensor] = [*run.hidden, *run.values.values(), *(part for layer in run.cache for part in layer)]
    return sum({part.data_ptr(): part.numel() * part.element_size() for part in parts}.values())
