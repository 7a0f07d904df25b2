"""What heads compute where their queries, keys or values alone read a changed stream.

All heads of a layer are shown the change at once, and for each of them what comes out is what it would be if it alone had
been shown it: heads do not see each other inside a layer. So one run of attention serves the edges into all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mechcausal.circuits.edges.tiles import Tile


class Attention:
    """The attention of one layer in the clean run of a tile.

    Args:
        tile: The batch.
        layer: The layer.

    Attributes:
        z: What the heads compute, [row pos head d_head], from the tile's start on.
    """

    @torch.no_grad()
    def __init__(self, tile: Tile, layer: int) -> None:
        self.tile, self.layer = tile, layer
        self.given: dict[str, Tensor] = {}

        def keep(kind: str, value: Tensor) -> None:
            self.given[kind] = value.clone()

        self.stream = tile.base.hidden[layer][:, tile.start :]
        self.z = self._run(self.stream, 1, keep)

    @torch.no_grad()
    def changed(self, kind: str, changes: Tensor) -> Tensor:
        """Return what the heads compute where one kind reads changed streams, [change row pos head d_head].

        Args:
            kind: `q`, `k` or `v`; the others read the clean stream.
            changes: What is added to the stream, [change row pos model].
        """
        count = len(changes)

        def others(word: str, _: Tensor) -> Tensor | None:
            return None if word == kind else self.given[word].repeat(count, 1, 1, 1)

        made = self._run((self.stream[None] + changes).flatten(0, 1), count, others)
        return made.unflatten(0, (count, -1))

    def _run(self, hidden: Tensor, count: int, act: Callable[[str, Tensor], Tensor | None]) -> Tensor:
        tile, inputs = self.tile, self.tile.inputs
        rows = torch.arange(len(tile), device=hidden.device).repeat(count)
        z = inputs.attended(self.layer, lambda: inputs.twin.layer(tile.base, self.layer, hidden, rows, tile.start), act)
        return z.reshape(*hidden.shape[:2], inputs.heads["q"], -1)
