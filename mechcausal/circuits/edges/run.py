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


class Live:
    """How the alternatives of senders that are run differ from what they add now, [variant sender row pos model].

    One tensor that is filled as the layers pass, or, where a graph is kept, the parts themselves.

    Args:
        first: The number of the first sender that is run.
        last: The number of senders.
        learned: Whether a graph is kept.
    """

    def __init__(self, first: int, last: int, *, learned: bool) -> None:
        self.first, self.last, self.learned = first, last, learned
        self.parts: dict[int, Tensor] = {}
        self.filled: Tensor | None = None

    def put(self, number: int, differs: Tensor) -> None:
        """Take in how the senders from a number on differ."""
        self.parts[number] = differs
        if self.learned:
            return
        if self.filled is None:
            shape = list(differs.shape)
            shape[1] = self.last - self.first
            self.filled = differs.new_zeros(shape)
        low = number - self.first
        self.filled[:, low : low + differs.shape[1]] = differs
        self.parts[number] = self.filled[:, low : low + differs.shape[1]]

    def of(self, into: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the numbers of the senders with an edge that is cut, and how they differ; None if there are none.

        Args:
            into: Which senders have one, [sender].
        """
        chosen = {
            number: into[number : number + part.shape[1]].nonzero().flatten() for number, part in self.parts.items()
        }
        which = torch.cat([some + number for number, some in chosen.items()]) if chosen else torch.zeros(0).long()
        if not len(which):
            return which, None
        low, high = int(which[0]), int(which[-1]) + 1
        if self.filled is not None and 2 * len(which) > high - low:  # a view costs less than a copy of many
            return torch.arange(low, high), self.filled[:, low - self.first : high - self.first]
        taken = [
            self.parts[number]
            if len(some) == self.parts[number].shape[1]
            else self.parts[number].index_select(1, some.to(self.parts[number].device))
            for number, some in chosen.items()
            if len(some)
        ]
        return which, torch.cat(taken, dim=1) if len(taken) > 1 else taken[0]


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
        self.live = Live(wiring.senders_of(first).start, len(wiring.senders), learned=cut.requires_grad)

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
            if not wiring.parallel and self.touched[wiring.senders_of(layer), number].any():
                self._put_now(layer, inputs.of_heads(layer, taken, stream))
            more = self._difference([number])
            return None if more is None else (given.reshape(stream.shape) + more[0]).reshape(given.shape)

        def call() -> Tensor:
            return inputs.twin.layer(tile.base, layer, stream, self.rows, tile.start)

        made_by_kind = self._own(layer, stream, by_kind) if into_heads else {}
        if self.wiring.split and made_by_kind.keys() & KV_COMPONENTS:
            projected, z = None, by_query_head(self.inputs, wiring, layer, call, made_by_kind)
        else:
            projected, z = partial(_put, made_by_kind) if made_by_kind else None, None
        with inputs.during(layer, projected, mlp if into_mlp else None, taken=taken, z=z):
            out = call()
        if wants_senders:
            self._put_now(layer, inputs.contributions(layer, taken, stream))
        return out

    def _put_now(self, layer: int, now: Tensor) -> None:
        """Remember how the alternatives of senders of a layer differ from what they add now.

        Args:
            layer: The layer.
            now: What they add, [variant row, pos, sender, model].
        """
        instead = self.tile.instead(layer)[:, :, : now.shape[2]]
        differs = (instead[None] - now.unflatten(0, (self.variants, -1))).permute(0, 3, 1, 2, 4)
        self.live.put(self.wiring.senders_of(layer).start, differs)

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

    def _difference(self, receivers: list[int]) -> Tensor | None:
        """Return what receivers read besides the stream, [receiver, variant row, pos, model]; None if nothing."""
        into = self.touched[:, receivers].any(1)
        total = None
        if self.before is not None:
            which = into[: len(self.before)].nonzero().flatten()
            if len(which):
                every = len(which) == len(self.before)
                part = self.before if every else self.before.index_select(0, which.to(self.before.device))
                total = self._sum(receivers, which, part, shared=True)
        which, part = self.live.of(into)
        if part is None:
            return total
        more = self._sum(receivers, which, part, shared=False)
        return more if total is None else total + more

    def _sum(self, receivers: list[int], which: Tensor, differs: Tensor, *, shared: bool) -> Tensor:
        """Return the sum over senders of how much is cut times how they differ, [receiver, variant row, pos, model].

        Args:
            receivers: Their numbers.
            which: The numbers of the senders.
            differs: How these differ, [sender row pos model], with an axis of variants in front if not `shared`.
            shared: Whether all variants have these differences.
        """
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


def _put(made_by_kind: Mapping[str, Own], kind: str, value: Tensor) -> Tensor | None:
    """Return what the heads of a layer make of the stream, with that of some heads in its place."""
    if kind not in made_by_kind:
        return None
    heads, made = made_by_kind[kind]
    return value.index_copy(-2, torch.tensor(heads, device=value.device), made.to(value.dtype))


def by_query_head(
    inputs: Inputs, wiring: Wiring, layer: int, call: Callable[[], Tensor], made_by_kind: Mapping[str, Own]
) -> Tensor:
    """Return what the heads of a layer compute where each reads keys and values of its own, [row pos head d_head].

    Attention is run once for each query head of a group. In each run the shared keys and values are those of one head of
    every group, and of what comes out these heads alone are taken.

    Args:
        inputs: The receivers of the model.
        wiring: Its edges.
        layer: The layer.
        call: What runs the layer.
        made_by_kind: What heads make of what they read; `k` and `v` by query head.
    """
    shared = wiring.n_heads // wiring.n_kv_heads
    parts = []
    for turn in range(shared):
        chosen = {kind: made for kind, made in made_by_kind.items() if kind == "q"}
        for kind in made_by_kind.keys() - chosen.keys():
            heads, made = made_by_kind[kind]
            some = [number for number, head in enumerate(heads) if head % shared == turn]
            if some:
                chosen[kind] = [heads[number] // shared for number in some], made[:, :, some]
        z = inputs.attended(layer, call, partial(_put, chosen))
        parts.append(z.reshape(*z.shape[:2], wiring.n_kv_heads, shared, -1)[:, :, :, turn])
    return torch.stack(parts, dim=3).flatten(2, 3)
