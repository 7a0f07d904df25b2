"""What a small change of each receiver's input does to the metric, for all edges at once: one forward and one backward.

    score of an edge = sum over positions and stream of  (clean contribution - alternative) x d metric / d receiver's input

The gradient is taken in the run that is asked for: the clean run, or one on the way from it to the alternative. What a
receiver reads is seen through its own rows of its projection and through the norm in front of it, so that keys and values
that heads share are one receiver. Blocks of receivers meet blocks of senders; nothing of the size batch x position x
senders x width is held for more of them than the budget of memory allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mechcausal.address import Site
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile
from mechcausal.circuits.edges.wiring import INPUTS, Wiring
from mechcausal.models.bare import first as tensor_of
from mechcausal.models.bare import hooked


@dataclass
class Seen:
    """A run with a graph, and what it passed.

    Attributes:
        streams: The input of each layer from the first on, and last the final stream; [row pos model] each.
        parts: Of each layer what its projections gave and what its MLP read, by the words of `Inputs.during`.
        values: The metric of each row.
    """

    streams: dict[int, Tensor] = field(default_factory=dict)
    parts: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    values: Tensor | None = None


def passed(
    tile: Tile, wiring: Wiring, first: int = 0, stream: Tensor | None = None, attention: Tensor | None = None,
    dropped: int | None = None,
) -> Seen:  # fmt: skip
    """Run the layers from one on with a graph.

    Args:
        tile: The batch.
        wiring: The edges of the model.
        first: The first layer that is run.
        stream: Its input, [row pos model], from the tile's start on; that of the clean run if None.
        attention: What is added to what attention adds in the first layer, [row pos model].
        dropped: A layer through whose sublayers no gradient flows.
    """
    inputs, start, seen = tile.inputs, tile.start, Seen()
    _ = tile.base, tile.source  # recorded before any layer is hooked
    rows = torch.arange(len(tile), device=tile.clean.tokens.device)
    value = tile.base.hidden[first][:, start:] if stream is None else stream
    value = value.detach().requires_grad_(True)
    for layer in range(first, len(inputs.layers)):
        seen.streams[layer], seen.parts[layer] = value, {}
        before = value
        with inputs.during(layer, seen=seen.parts[layer]) as taken:
            handle = None
            if attention is not None and layer == first:
                shift = attention.detach().requires_grad_(True)
                handle = hooked(
                    inputs.twin.ports[Site("attn_out", layer)],
                    lambda given, shift=shift: given + shift.reshape(given.shape),
                )
            try:
                value = inputs.twin.layer(tile.base, layer, value, rows, start)
            finally:
                if handle is not None:
                    handle.remove()
        seen.parts[layer]["z"] = taken[Site("z", layer)]
        if layer == dropped:
            value = before + (value - before).detach()
    seen.streams[len(inputs.layers)] = value
    scores = tile.scores(value, rows)
    # Of several rows of one prompt the metric is that of the prompt.
    seen.values = tile.of_prompts(scores)
    return seen


def slopes(tile: Tile, seen: Seen) -> Slopes:
    """Return the gradient of the metric by everything that receivers make of what they read."""
    assert seen.values is not None  # `passed` measured them
    last = max(seen.streams)
    wanted: dict[tuple[int, str], Tensor] = {(last, "stream"): seen.streams[last]}
    for layer, parts in seen.parts.items():
        wanted |= {(layer, name): value for name, value in parts.items() if name != "mlp"}
    given = torch.autograd.grad(seen.values.sum(), list(wanted.values()), allow_unused=True)
    found = {
        key: torch.zeros_like(value) if slope is None else slope.detach()
        for (key, value), slope in zip(wanted.items(), given, strict=True)
    }
    streams = {layer: stream.detach() for layer, stream in seen.streams.items()}
    middles = {layer: parts["mlp"].detach() for layer, parts in seen.parts.items() if "mlp" in parts}
    return Slopes(tile, found, streams, middles)


@dataclass
class Slopes:
    """Gradients of one run.

    Attributes:
        tile: The batch.
        found: By layer and word: of what projections gave, of the normed input of the MLP, of the final stream.
        streams: The input of each layer.
        middles: What the MLP of each layer read.
    """

    tile: Tile
    found: dict[tuple[int, str], Tensor]
    streams: dict[int, Tensor]
    middles: dict[int, Tensor]

    def by(self, wiring: Wiring, layer: int) -> Tensor:
        """Return the gradient by what each receiver of a layer reads, [row pos receiver model]."""
        inputs = self.tile.inputs
        if layer == len(inputs.layers):
            return self.found[layer, "stream"][:, :, None]
        made = []
        for kind in INPUTS:
            number = next(i for i, p in enumerate(inputs.layers[layer].projections) if kind in p.kinds)
            slope = inputs.of_kind(self.found[layer, f"p{number}"], layer, kind)
            weight, _ = inputs.rows(layer, kind)
            made.append(torch.einsum("bpnk,nkd->bpnd", slope, weight.to(slope.dtype)))
        into_heads = _through(inputs.layers[layer].norm, self.streams[layer], torch.cat(made, dim=2))
        if not wiring.mlps:
            return into_heads
        shape = self.streams[layer].shape
        slope = self.found[layer, "normed mlp"].reshape(shape)[:, :, None]
        into_mlp = _through(inputs.layers[layer].norm_mlp, self.middles[layer].reshape(shape), slope)
        return torch.cat([into_heads, into_mlp], dim=2)


def _through(norm: nn.Module | None, stream: Tensor, slope: Tensor) -> Tensor:
    """Return gradients by the stream from those by what a norm makes of it, [row pos receiver model]."""
    if norm is None:
        return slope
    with torch.enable_grad():
        given = stream[:, :, None].expand_as(slope).detach().requires_grad_(True)
        return torch.autograd.grad(tensor_of(norm(given)), given, slope)[0]


def edge_scores(
    tile: Tile, wiring: Wiring, found: Slopes, senders: range | None = None, budget: int = 64 * 2**20
) -> Tensor:
    """Return the first-order effect of every edge, [row sender receiver position].

    Args:
        tile: The batch.
        wiring: The edges of the model.
        found: The gradients.
        senders: The layers whose senders are scored, `EMBEDDING` for the embedding; all if None.
        budget: How many bytes gradients of one block of receivers may take.
    """
    n_layers, places = len(tile.inputs.layers), tile.places
    layers = range(EMBEDDING, n_layers) if senders is None else senders
    first = min(found.streams)
    shape = (len(tile), *wiring.possible.shape, 1 if places is None else len(places))
    out = tile.base.hidden[0].new_zeros(shape)
    real = tile.clean.mask[:, tile.start :, None, None]
    for block in _blocks(tile, wiring, range(first, n_layers + 1), budget):
        parts = {layer: found.by(wiring, layer) for layer in block}
        for layer in layers:
            read = [later for later in block if later >= layer]
            if not read:
                continue
            change = -(tile.differences(layer) * real)
            own = wiring.senders_of(layer) if layer != EMBEDDING else slice(0, 1)
            for later in read:
                out[:, own, wiring.receivers_of(later)] = _met(change, parts[later], places)
    return out * torch.as_tensor(wiring.possible, device=out.device)[None, :, :, None]


def _met(change: Tensor, slope: Tensor, places: Tensor | None) -> Tensor:
    """Return [row sender receiver position]: the product of changes and gradients, summed over the stream."""
    if places is None:
        return torch.einsum("bpsm,bprm->bsr", change, slope)[..., None]
    return torch.einsum("bpsm,bprm,qbp->bsrq", change, slope, places)


def _blocks(tile: Tile, wiring: Wiring, layers: range, budget: int) -> Iterator[list[int]]:
    """Cut the layers of receivers into blocks whose gradients fit into the budget."""
    hidden = tile.base.hidden[0]
    per_layer = hidden.numel() * 4 * wiring.per_layer[1]
    size = max(1, budget // per_layer)
    numbers = list(layers)
    for low in range(0, len(numbers), size):
        yield numbers[low : low + size]
