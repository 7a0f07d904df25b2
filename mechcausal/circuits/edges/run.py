"""One run in which edges are cut: each receiver reads its own sum of what senders add now and what stands in for it.

    a receiver reads   stream + sum over senders of  cut x (alternative - what the sender adds now)

`cut` is 0 for an edge that stays, 1 for one that is cut, and anything between for a learned mask. Nothing is linearized:
what a receiver makes of its sum, and what the model makes of that, the model computes. Runs begin at the layer of the
first edge that is cut, at the first column at which pairs differ, and many variants of one batch are run together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile
from mechcausal.circuits.edges.wiring import INPUTS, Wiring


class Cutting:
    """Runs of one tile with edges cut.

    Args:
        tile: The batch.
        wiring: The edges of the model.
        cut: How much of each edge is cut, [variant sender receiver position].
        first: The layer that the run begins with; no edge into an earlier one is cut.
    """

    def __init__(self, tile: Tile, wiring: Wiring, cut: Tensor, first: int = 0) -> None:
        self.tile, self.wiring, self.cut, self.first = tile, wiring, cut, first
        self.inputs, self.variants = tile.inputs, len(cut)
        device = tile.clean.tokens.device
        self.rows = torch.arange(len(tile), device=device).repeat(self.variants)
        # Which edges are cut in any variant decides what has to be computed; a mask that is learned cuts all it may.
        open_edges = torch.as_tensor(wiring.possible)
        self.touched = open_edges if cut.requires_grad else (cut != 0).any(0).any(-1).cpu() & open_edges
        _ = tile.base, tile.source  # recorded before any layer is hooked
        self.before = self._before()
        self.live: dict[int, Tensor] = {}  # how the alternatives of a layer differ from what its senders add now

    def _before(self) -> Tensor | None:
        """Return the differences of the senders in front of the first layer, which all variants share."""
        reach = self.wiring.senders_of(self.first).start
        if not self.touched[:reach].any():
            return None
        layers = range(EMBEDDING, self.first)
        return torch.cat([self.tile.differences(layer) for layer in layers], dim=2)

    def final(self) -> Tensor:
        """Return what the logits read: at the read position, [variant row, model], if the metric reads only that.

        Else [variant row, pos, model]; the columns begin at the tile's start.
        """
        tile, start, n_layers = self.tile, self.tile.start, len(self.inputs.layers)
        stream = tile.base.hidden[self.first][self.rows, start:]
        read = None if tile.meter.read is None else tile.meter.read[self.rows]
        for layer in range(self.first, n_layers):
            if layer == n_layers - 1 and read is not None and not self._acts(layer):
                stream = self.inputs.twin.last_layer(tile.base, stream, self.rows, start, read)
            else:
                stream = self._layer(layer, stream)
        more = self._difference([len(self.wiring.receivers) - 1], self.live)
        if read is not None:
            at = torch.arange(len(self.rows), device=read.device), read - start
            stream = stream if stream.ndim == 2 else stream[at]
            return stream if more is None else stream + more[:, :, 0][at]
        return stream if more is None else stream + more[:, :, 0]

    def _acts(self, layer: int) -> bool:
        """Say whether an edge into or out of a layer is cut."""
        into, out = self.wiring.receivers_of(layer), self.wiring.senders_of(layer)
        return bool(self.touched[:, into].any() or self.touched[out].any())

    def scores(self) -> Tensor:
        """Return the metric, [variant prompt]."""
        values = self.tile.scores(self.final(), self.rows)
        return self.tile.of_prompts(values.reshape(self.variants, -1))

    def _layer(self, layer: int, stream: Tensor) -> Tensor:
        inputs, wiring, tile = self.inputs, self.wiring, self.tile
        receivers = wiring.receivers_of(layer)
        touched = self.touched[:, receivers].any(0)
        numbers = [receivers.start + i for i in touched.nonzero().flatten().tolist()]
        by_kind = {kind: [n for n in numbers if wiring.receivers[n].component == kind] for kind in (*INPUTS, "mlp_out")}
        into_heads, into_mlp = any(by_kind[kind] for kind in INPUTS), bool(by_kind["mlp_out"])
        wants_senders = bool(self.touched[wiring.senders_of(layer)].any())
        if not (into_heads or into_mlp or wants_senders):
            return inputs.twin.layer(tile.base, layer, stream, self.rows, tile.start)
        taken: dict[Site, Tensor] = {}
        within: dict[int, Tensor] = {}  # heads as the MLP of their own layer reads them

        def mlp(given: Tensor) -> Tensor | None:
            seen = dict(self.live)
            if not wiring.parallel and self.touched[wiring.senders_of(layer), by_kind["mlp_out"][0]].any():
                seen[layer] = within[layer] = self._heads_differ(layer, taken, given)
            more = self._difference(by_kind["mlp_out"], seen)
            return None if more is None else (given.reshape(stream.shape) + more[:, :, 0]).reshape(given.shape)

        projected = self._projected(layer, stream, by_kind) if into_heads else None
        with inputs.during(layer, projected, mlp if into_mlp else None, taken=taken):
            out = inputs.twin.layer(tile.base, layer, stream, self.rows, tile.start)
        if wants_senders:
            instead = self.tile.instead(layer)
            now = inputs.contributions(layer, taken, stream)
            self.live[layer] = instead.repeat(self.variants, 1, 1, 1) - now if len(instead) > 1 else instead - now
        return out

    def _heads_differ(self, layer: int, taken: dict[Site, Tensor], like: Tensor) -> Tensor:
        """Return how the alternatives of the heads of a layer differ from what they have just added."""
        now = self.inputs.of_heads(layer, taken, like.reshape(len(self.rows), -1, like.shape[-1]))
        instead = self.tile.instead(layer)[:, :, : now.shape[2]]
        return instead.repeat(self.variants, 1, 1, 1) - now if len(instead) > 1 else instead - now

    def _projected(
        self, layer: int, stream: Tensor, by_kind: dict[str, list[int]]
    ) -> Callable[[str, Tensor], Tensor | None]:
        def act(kind: str, value: Tensor) -> Tensor | None:
            numbers = by_kind[kind]
            more = self._difference(numbers, self.live) if numbers else None
            if more is None:
                return None
            heads = [self.wiring.receivers[number].head or 0 for number in numbers]
            made = self.inputs.project(layer, kind, heads, stream[:, :, None] + more)
            return value.index_copy(-2, torch.tensor(heads, device=value.device), made.to(value.dtype))

        return act

    def _difference(self, receivers: list[int], live: dict[int, Tensor]) -> Tensor | None:
        """Return what receivers read besides the stream, [variant row, pos, receiver, model]; None if nothing."""
        total = None
        if self.before is not None:
            total = self._sum(slice(0, self.before.shape[2]), receivers, self.before, shared=True)
        for layer, differs in live.items():
            first = self.wiring.senders_of(layer).start
            part = self._sum(slice(first, first + differs.shape[2]), receivers, differs, shared=False)
            total = part if total is None else total if part is None else total + part
        return total

    def _sum(self, senders: slice, receivers: list[int], differs: Tensor, *, shared: bool) -> Tensor | None:
        """Return the sum over senders of how much is cut times how they differ."""
        which = self.touched[senders][:, receivers].any(1).nonzero().flatten()
        if not len(which):
            return None
        if len(which) < differs.shape[2]:
            differs = differs[:, :, which.to(differs.device)]
        variants, n = self.variants, len(receivers)
        places = torch.tensor(receivers, device=self.cut.device)
        cut = self.cut[:, (which + senders.start).to(self.cut.device)][:, :, places].to(differs.dtype)  # [v s d q]
        if self.tile.places is None:
            weights = cut[..., 0].transpose(1, 2)  # [v d s]
            if shared:  # the differences are those of every variant
                made = weights.reshape(1, 1, variants * n, -1) @ differs  # [row pos (v d) model]
                return made.unflatten(2, (variants, n)).permute(2, 0, 1, 3, 4).flatten(0, 1)
            weights = weights.repeat_interleave(len(self.tile), 0)[:, None]  # [(v row) 1 d s]
            return weights @ differs
        weights = torch.einsum("vsdq,qbp->vbpds", cut, self.tile.places)
        differs = differs[None] if shared else differs.unflatten(0, (variants, -1))
        return (weights @ differs).flatten(0, 1)
