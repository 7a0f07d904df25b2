"""What a small change of each receiver's input does to the metric, for all edges at once: one forward and one backward.

    score of an edge = sum over positions and stream of  (clean contribution - alternative) x d metric / d receiver's input

The gradient is taken in the run that is asked for: the clean run, or one on the way from it to the alternative. What a
receiver reads is seen through its own rows of its projection and through the norm in front of it, so that keys and values
that heads share are one receiver. Blocks of receivers meet blocks of senders; nothing of the size batch x position x
senders x width is held for more of them than the budget of memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from mechcausal.address import Site
from mechcausal.circuits.edges.inputs import Inputs
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile
from mechcausal.circuits.edges.wiring import INPUTS, Wiring
from mechcausal.models.bare import first as tensor_of
from mechcausal.models.bare import hooked

_BUDGET = 256 * 2**20  # bytes


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
        parts: dict[str, Tensor] = {}
        seen.streams[layer], seen.parts[layer] = value, parts
        call = partial(inputs.twin.layer, tile.base, layer, value, rows, start)
        z = _by_query_head(inputs, wiring, layer, call, parts) if wiring.split else None
        with ExitStack() as hooks:
            taken = hooks.enter_context(inputs.during(layer, seen=parts, z=z))
            if attention is not None and layer == first:
                port = inputs.twin.ports[Site("attn_out", layer)]
                hooks.callback(hooked(port, partial(_plus, attention)).remove)
            out = call()
        parts["z"] = taken[Site("z", layer)]
        value = value + (out - value).detach() if layer == dropped else out
    seen.streams[len(inputs.layers)] = value
    seen.values = tile.of_prompts(tile.scores(value, rows))
    return seen


def _plus(shift: Tensor, value: Tensor) -> Tensor:
    return value + shift.reshape(value.shape)


def _by_query_head(
    inputs: Inputs, wiring: Wiring, layer: int, call: Callable[[], Tensor], parts: dict[str, Tensor]
) -> Tensor:
    """Return what heads compute, each with a graph to keys and values of its own: `p1@0` is what turn 0 was given."""
    shared = wiring.n_heads // wiring.n_kv_heads
    made = []
    for turn in range(shared):
        given: dict[str, Tensor] = {}
        z = inputs.attended(layer, call, seen=given)
        parts |= {f"{name}@{turn}": value for name, value in given.items()}
        made.append(z.reshape(*z.shape[:2], wiring.n_kv_heads, shared, -1)[:, :, :, turn])
    return torch.stack(made, dim=3).flatten(2, 3)


def slopes(tile: Tile, seen: Seen) -> Slopes:
    """Return the gradient of the metric by everything that receivers make of what they read."""
    assert seen.values is not None  # `passed` measured them
    last = max(seen.streams)
    wanted: dict[tuple[int, str], Tensor] = {(last, "stream"): seen.streams[last]}
    for layer, parts in seen.parts.items():
        wanted |= {(layer, name): value for name, value in parts.items() if name != "mlp"}
    given = torch.autograd.grad(seen.values.sum(), list(wanted.values()), allow_unused=True)
    by_part = {
        key: torch.zeros_like(value) if slope is None else slope.detach()
        for (key, value), slope in zip(wanted.items(), given, strict=True)
    }
    streams = {layer: stream.detach() for layer, stream in seen.streams.items()}
    middles = {layer: parts["mlp"].detach() for layer, parts in seen.parts.items() if "mlp" in parts}
    return Slopes(tile, by_part, streams, middles)


@dataclass
class Slopes:
    """Gradients of one run.

    Attributes:
        tile: The batch.
        gradients: By layer and word: of what projections gave, of the normed input of the MLP, of the final stream.
        streams: The input of each layer.
        middles: What the MLP of each layer read.
    """

    tile: Tile
    gradients: dict[tuple[int, str], Tensor]
    streams: dict[int, Tensor]
    middles: dict[int, Tensor]

    @property
    def layers(self) -> range:
        """The layers whose receivers have gradients; the last stands for the logits."""
        return range(min(self.streams), len(self.tile.inputs.layers) + 1)

    def of(self, wiring: Wiring, layers: Sequence[int]) -> Tensor:
        """Return the gradient by what each receiver of some layers reads, [row receiver pos model]."""
        return torch.cat([self.by(wiring, layer) for layer in layers], dim=1)

    def by(self, wiring: Wiring, layer: int) -> Tensor:
        """Return the gradient by what each receiver of a layer reads, [row receiver pos model]."""
        inputs = self.tile.inputs
        if layer == len(inputs.layers):
            return self.gradients[layer, "stream"][:, None]
        made = []
        for kind in INPUTS:
            number = next(i for i, p in enumerate(inputs.layers[layer].projections) if kind in p.kinds)
            weight, _ = inputs.rows(layer, kind)
            if wiring.split:
                shared = wiring.n_heads // wiring.n_kv_heads
                turns = [
                    inputs.of_kind(self.gradients[layer, f"p{number}@{turn}"], layer, kind) for turn in range(shared)
                ]
                # A query belongs to one turn and has no gradient in the others.
                slope = sum(turns[1:], turns[0]) if kind == "q" else torch.stack(turns, dim=3).flatten(2, 3)
                weight = weight if kind == "q" else weight.repeat_interleave(shared, 0)
            else:
                slope = inputs.of_kind(self.gradients[layer, f"p{number}"], layer, kind)
            made.append(torch.einsum("bpnk,nkd->bnpd", slope, weight.to(slope.dtype)))
        into_heads = _through(inputs.layers[layer].norm, self.streams[layer], torch.cat(made, dim=1))
        if not wiring.mlps:
            return into_heads
        shape = self.streams[layer].shape
        slope = self.gradients[layer, "normed mlp"].reshape(shape)[:, None]
        into_mlp = _through(inputs.layers[layer].norm_mlp, self.middles[layer].reshape(shape), slope)
        return torch.cat([into_heads, into_mlp], dim=1)


def _through(norm: nn.Module | None, stream: Tensor, slope: Tensor) -> Tensor:
    """Return gradients by the stream from those by what a norm makes of it, [row receiver pos model]."""
    if norm is None:
        return slope
    with torch.enable_grad():
        given = stream[:, None].expand_as(slope).detach().requires_grad_(True)
        return torch.autograd.grad(tensor_of(norm(given)), given, slope)[0]


@torch.no_grad()
def edge_scores(
    tile: Tile, wiring: Wiring, run_slopes: Slopes, senders: range | None = None, budget: int = _BUDGET
) -> Tensor:
    """Return the first-order effect of every edge, [row sender receiver position].

    Args:
        tile: The batch.
        wiring: The edges of the model.
        run_slopes: The gradients of the run.
        senders: The layers whose senders are scored, `EMBEDDING` for the embedding; all if None.
        budget: How many bytes gradients of one block of receivers may take.
    """
    out = _no_scores(tile, wiring)
    for block in _blocks(tile, wiring, run_slopes.layers, budget):
        _score(out, tile, wiring, run_slopes.of(wiring, block), block, senders)
    return out


def path_scores(
    tile: Tile, wiring: Wiring, path: Iterable[tuple[Slopes, Sequence[float]]], budget: int = _BUDGET
) -> list[Tensor]:
    """Return the first-order effects of every edge, summed over a path of runs, [row sender receiver position] for each sum.

    What an edge loses is the same at every point of the path. So gradients are summed first and met with it once, where
    those of all receivers fit into the budget.

    Args:
        tile: The batch.
        wiring: The edges of the model.
        path: The gradients at each point, and what the point counts in each sum.
        budget: How many bytes gradients may take.
    """
    sums: list[Tensor] = []
    block: list[int] = []
    for run_slopes, counts in path:
        if not block and (1 + len(counts)) * _bytes(tile, wiring, run_slopes.layers) <= budget:
            block = list(run_slopes.layers)
        with torch.no_grad():
            part = run_slopes.of(wiring, block) if block else edge_scores(tile, wiring, run_slopes, budget=budget)
            sums = sums or [torch.zeros_like(part) for _ in counts]
            for total, count in zip(sums, counts, strict=True):
                total.add_(part, alpha=count)
    if not block:
        return sums
    with torch.no_grad():
        scores = [_no_scores(tile, wiring) for _ in sums]
        for out, slope in zip(scores, sums, strict=True):
            _score(out, tile, wiring, slope, block)
    return scores


def _no_scores(tile: Tile, wiring: Wiring) -> Tensor:
    places = 1 if tile.places is None else len(tile.places)
    return tile.base.hidden[0].new_zeros(len(tile), *wiring.possible.shape, places)


def _score(
    out: Tensor, tile: Tile, wiring: Wiring, slope: Tensor, block: Sequence[int], senders: range | None = None
) -> None:
    """Write the scores of all edges into the receivers of some layers, from the gradients of these, [row receiver pos model]."""
    layers = range(EMBEDDING, len(tile.inputs.layers)) if senders is None else senders
    receivers = slice(wiring.receivers_of(block[0]).start, wiring.receivers_of(block[-1]).stop)
    for layer in layers:
        skipped = max(0, layer - block[0]) if layer <= block[-1] else len(block)
        if skipped == len(block):
            continue
        some = slice(receivers.start + skipped * wiring.per_layer[1], receivers.stop)
        layer_senders = wiring.senders_of(layer) if layer != EMBEDDING else slice(0, 1)
        met = _met(tile.lost(layer), slope[:, some.start - receivers.start :], tile.places)
        possible = torch.as_tensor(wiring.possible[layer_senders, some], device=out.device)[None, :, :, None]
        out[:, layer_senders, some] = met * possible


def _met(change: Tensor, slope: Tensor, places: Tensor | None) -> Tensor:
    """Return [row sender receiver position]: changes times gradients, [row ... pos model] both, summed over the stream."""
    if places is None:
        return (change.flatten(2) @ slope.flatten(2).transpose(1, 2))[..., None]
    by_column = change.transpose(1, 2) @ slope.permute(0, 2, 3, 1)  # [row pos sender receiver]
    return torch.einsum("rpsd,qrp->rsdq", by_column, places)


def _bytes(tile: Tile, wiring: Wiring, layers: Sequence[int]) -> int:
    """Return how many bytes the gradients of all receivers of some layers take."""
    return tile.base.hidden[0].numel() * 4 * wiring.per_layer[1] * len(layers)


def _blocks(tile: Tile, wiring: Wiring, layers: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Cut the layers of receivers into blocks whose gradients fit into the budget."""
    size = max(1, budget // _bytes(tile, wiring, layers[:1]))
    for low in range(0, len(layers), size):
        yield list(layers[low : low + size])
