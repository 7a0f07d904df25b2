"""One run in which edges are cut: each receiver reads its own sum of what senders add now and what stands in for it.

    a receiver reads   stream + sum over senders of  cut x (alternative - what the sender adds now)

`cut` is 0 for an edge that stays, 1 for one that is cut, and anything between for a learned mask. Nothing is linearized:
what a receiver makes of its sum, and what the model makes of that, the model computes. Runs begin at the layer of the
first edge that is cut, at the first column at which pairs differ, and many variants of one batch are run together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.address.components import KV_COMPONENTS
from mechcausal.circuits.edges.inputs import Inputs
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile
from mechcausal.circuits.edges.wiring import INPUTS, Wiring

Own = tuple[list[int], Tensor]  # heads, and what they make of what they read, [row pos head d_head]

NONE: Mapping[int, Tensor] = {}


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
        # How alternatives differ from what the senders of each layer that is run add now, [variant sender row pos model].
        self.live: dict[int, Tensor] = {}

    def _before(self) -> Tensor | None:
        """Return the differences of the senders in front of the first layer, which all variants share."""
        reach = self.wiring.senders_of(self.first).start
        if not self.touched[:reach].any():
            return None
        layers = range(EMBEDDING, self.first)
        # Senders come first, so that a sum over them is one product of matrices.
        return torch.cat([self.tile.differences(layer).permute(2, 0, 1, 3) for layer in layers])

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
        more = self._difference([len(self.wiring.receivers) - 1])
        if read is not None:
            at = torch.arange(len(self.rows), device=read.device), read - start
            stream = stream if stream.ndim == 2 else stream[at]
            return stream if more is None else stream + more[0][at]
        return stream if more is None else stream + more[0]

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

        def mlp(given: Tensor) -> Tensor | None:
            number = by_kind["mlp_out"][0]
            heads = None
            if not wiring.parallel and self.touched[wiring.senders_of(layer), number].any():
                heads = self._now(layer, inputs.of_heads(layer, taken, stream))
            more = self._difference([number], {} if heads is None else {layer: heads})
            return None if more is None else (given.reshape(stream.shape) + more[0]).reshape(given.shape)

        def call() -> Tensor:
            return inputs.twin.layer(tile.base, layer, stream, self.rows, tile.start)

        own = self._own(layer, stream, by_kind) if into_heads else {}
        if self.wiring.split and own.keys() & KV_COMPONENTS:
            projected, z = None, by_query_head(self.inputs, wiring, layer, call, own)
        else:
            projected, z = partial(_put, own) if own else None, None
        with inputs.during(layer, projected, mlp if into_mlp else None, taken=taken, z=z):
            out = call()
        if wants_senders:
            self.live[layer] = self._now(layer, inputs.contributions(layer, taken, stream))
        return out

    def _now(self, layer: int, now: Tensor) -> Tensor:
        """Return how the alternatives of senders of a layer differ from what they add now, [variant sender row pos model].

        Args:
            layer: The layer.
            now: What they add, [variant row, pos, sender, model].
        """
        instead = self.tile.instead(layer)[:, :, : now.shape[2]]
        return (instead[None] - now.unflatten(0, (self.variants, -1))).permute(0, 3, 1, 2, 4)

    def _own(self, layer: int, stream: Tensor, by_kind: dict[str, list[int]]) -> dict[str, Own]:
        """Return what heads make of streams of their own, by kind, where an edge into them is cut."""
        numbers = [number for kind in INPUTS for number in by_kind[kind]]
        more = self._difference(numbers)
        made: dict[str, Own] = {}
        low = 0
        for kind in INPUTS if more is not None else ():
            heads = [self.wiring.receivers[number].head or 0 for number in by_kind[kind]]
            if heads:
                assert more is not None
                part = stream + more[low : low + len(heads)]
                shared = self.wiring.heads(kind) // self.inputs.heads[kind]  # heads that read one set of weights
                made[kind] = heads, self.inputs.project(layer, kind, [head // shared for head in heads], part)
            low += len(heads)
        return made

    def _difference(self, receivers: list[int], heads: Mapping[int, Tensor] = NONE) -> Tensor | None:
        """Return what receivers read besides the stream, [receiver, variant row, pos, model]; None if nothing.

        Args:
            receivers: Their numbers.
            heads: How the heads of the layer that is run differ, for the MLP behind them.
        """
        total = None if self.before is None else self._sum(receivers, {0: self.before}, shared=True)
        live = {self.wiring.senders_of(layer).start: part for layer, part in {**self.live, **heads}.items()}
        more = self._sum(receivers, live, shared=False) if live else None
        return more if total is None else total if more is None else total + more

    def _sum(self, receivers: list[int], parts: Mapping[int, Tensor], *, shared: bool) -> Tensor | None:
        """Return the sum over senders of how much is cut times how they differ, [receiver, variant row, pos, model].

        Args:
            receivers: Their numbers.
            parts: How senders differ, by the number of the first; [sender row pos model], with an axis of variants in
                front if not `shared`.
            shared: Whether all variants have these differences.
        """
        axis = 0 if shared else 1
        into = self.touched[:, receivers].any(1)
        chosen, taken = [], []
        for first, part in parts.items():
            size = part.shape[axis]
            some = into[first : first + size].nonzero().flatten()
            if len(some):
                chosen.append(some + first)
                taken.append(part if len(some) == size else part.index_select(axis, some.to(part.device)))
        if not chosen:
            return None
        which, differs = torch.cat(chosen), torch.cat(taken, dim=axis) if len(taken) > 1 else taken[0]
        places = torch.tensor(receivers, device=self.cut.device)
        cut = self.cut[:, which.to(self.cut.device)][:, :, places].to(differs.dtype)  # [v s d q]
        shape = (len(receivers), self.variants, *differs.shape[-3:])
        cells = differs.flatten(1, 2) if shared else differs.flatten(2, 3)  # [... sender (row pos) model]
        if self.tile.places is None:
            made = _weighted(cut[..., 0], cells, shared=shared)
        else:
            made = cells.new_zeros(self.variants, len(receivers), *cells.shape[-2:])
            for number, mask in enumerate(self.tile.places.flatten(1)):
                here = mask.nonzero().flatten()
                made[:, :, here] = _weighted(cut[..., number], cells[..., here, :], shared=shared)
        return made.transpose(0, 1).reshape(shape).flatten(1, 2)


def _weighted(cut: Tensor, cells: Tensor, *, shared: bool) -> Tensor:
    """Return the sum over senders, [variant receiver cell model], of [variant sender receiver] times cells."""
    weights, flat = cut.transpose(1, 2), cells.flatten(-2)
    made = weights.flatten(0, 1) @ flat if shared else weights @ flat
    return made.reshape(*weights.shape[:2], *cells.shape[-2:])


def _put(own: Mapping[str, Own], kind: str, value: Tensor) -> Tensor | None:
    """Return what the heads of a layer make of the stream, with that of some heads in its place."""
    if kind not in own:
        return None
    heads, made = own[kind]
    return value.index_copy(-2, torch.tensor(heads, device=value.device), made.to(value.dtype))


def by_query_head(
    inputs: Inputs, wiring: Wiring, layer: int, call: Callable[[], Tensor], own: Mapping[str, Own]
) -> Tensor:
    """Return what the heads of a layer compute where each reads keys and values of its own, [row pos head d_head].

    Attention is run once for each query head of a group. In each run the shared keys and values are those of one head of
    every group, and of what comes out these heads alone are taken.

    Args:
        inputs: The receivers of the model.
        wiring: Its edges.
        layer: The layer.
        call: What runs the layer.
        own: What heads make of what they read; `k` and `v` by query head.
    """
    shared = wiring.n_heads // wiring.n_kv_heads
    parts = []
    for turn in range(shared):
        chosen = {kind: made for kind, made in own.items() if kind == "q"}
        for kind in own.keys() - chosen.keys():
            heads, made = own[kind]
            some = [number for number, head in enumerate(heads) if head % shared == turn]
            if some:
                chosen[kind] = [heads[number] // shared for number in some], made[:, :, some]
        z = inputs.attended(layer, call, partial(_put, chosen))
        parts.append(z.reshape(*z.shape[:2], wiring.n_kv_heads, shared, -1)[:, :, :, turn])
    return torch.stack(parts, dim=3).flatten(2, 3)
