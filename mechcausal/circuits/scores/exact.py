"""The exact effect of every edge: the clean run with this one edge replaced, the model computing everything after it.

What a receiver makes of its changed input is known before anything is run: a head enters the stream through its rows of
the output matrix, an MLP sees one token at a time. So each edge becomes a change of the stream at the end of its layer,
and the engine runs what comes after it (`models/replay`): many edges in one stack, from the first changed token on, and
of the last layer only what the metric reads. Where that is not known (a norm behind all heads, an MLP that cannot be
called by itself) the edges are cut in whole runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Site
from mechcausal.circuits.edges.attention import Attention
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, Sums, impossible
from mechcausal.models.replay.changes import Made
from mechcausal.models.replay.evaluate import Job

Index = tuple[int, int, int]
_BLOCK = 256  # edges whose changes are held at once, at most


def exact_effects(masked: Masked, edges: Sequence[Index], *, progress: bool = False) -> np.ndarray:
    """Return the effect of replacing each edge alone, [edge pair]: clean metric minus that of the run without it.

    Args:
        masked: The pairs.
        edges: Sender, receiver and position of each.
        progress: Whether a progress bar is shown.
    """
    out = np.zeros((len(edges), masked.n))
    bar = tqdm(total=len(edges), desc="exact edges", unit="edge", disable=None if progress else True, leave=False)
    for numbers in _by_receiver(masked, edges):
        receiver = masked.wiring.receivers[edges[numbers[0]][1]]
        if _is_carried(masked, receiver):
            continue
        layer = len(masked.inputs.layers) if receiver.layer is None else receiver.layer
        for low in range(0, len(numbers), _BLOCK):
            some = numbers[low : low + _BLOCK]
            out[some] = masked.clean - masked.of(_alone(masked, [edges[number] for number in some]), layer)
            bar.update(len(some))
    carried = [number for number, edge in enumerate(edges) if _is_carried(masked, masked.wiring.receivers[edge[1]])]
    carried.sort(key=lambda number: (edges[number][1], edges[number][0], edges[number][2]))
    for tile in masked.tiles if carried else ():
        values = _carried(masked, tile, [edges[number] for number in carried], bar)
        out[np.array(carried)[:, None], tile.index] = masked.clean[tile.index] - values
    bar.close()
    return out


def _alone(masked: Masked, edges: Sequence[Index]) -> Tensor:
    """Return variants in each of which one edge is cut."""
    cut = torch.zeros(len(edges), *masked.shape)
    for row, edge in enumerate(edges):
        cut[(row, *edge)] = 1
    return cut.to(masked.inputs.device)


def _by_receiver(masked: Masked, edges: Sequence[Index]) -> Iterator[list[int]]:
    """Yield the numbers of edges into one receiver each."""
    order: dict[int, list[int]] = {}
    for number, (_, receiver, _) in enumerate(edges):
        order.setdefault(receiver, []).append(number)
    yield from order.values()


def _is_carried(masked: Masked, receiver: Site) -> bool:
    """Say whether what a receiver makes of a change is known at the end of its layer."""
    if receiver.layer is None:
        return True
    if masked.wiring.mlps and not masked.wiring.parallel and not masked.inputs.twin.chains[receiver.layer]:
        return False
    if receiver.component == "mlp_out":
        return bool(masked.inputs.twin.chains[receiver.layer])
    return masked.inputs.layers[receiver.layer].norm_out is None


@torch.no_grad()
def _carried(masked: Masked, tile: Tile, edges: Sequence[Index], bar: tqdm) -> np.ndarray:
    """Return the metric of a tile without each edge alone, [edge prompt]; edges stand by receiver."""
    job = Job(masked.inputs.twin, tile.base, tile.meter, masked.budget)
    made = job.changed(_changes(masked, tile, edges, bar), len(edges))
    masked.forwards += job.economy.token_layers / (tile.base.width * len(masked.inputs.layers))
    return tile.of_prompts(torch.as_tensor(made)).numpy()


def _changes(masked: Masked, tile: Tile, edges: Sequence[Index], bar: tqdm) -> Iterator[Made]:
    """Yield what edges that are replaced change in the stream, and at the input of which layer."""
    wiring, hidden = masked.wiring, tile.base.hidden[0]
    size = max(1, min(_BLOCK, masked.budget // (8 * hidden.numel() * 4)))
    low = 0
    while low < len(edges):
        site = wiring.receivers[edges[low][1]]
        # Heads of one layer that read the same kind share runs of attention.
        high = low
        while high < min(len(edges), low + size) and _together(wiring.receivers[edges[high][1]], site):
            high += 1
        some = edges[low:high]
        delta = hidden.new_zeros(len(some), *hidden.shape)
        delta[:, :, tile.start :] = _felt(masked, tile, site, some)
        delta *= tile.clean.mask[None, :, :, None]
        layer = len(masked.inputs.layers) if site.layer is None else site.layer + 1
        moved = (delta != 0).any(-1)
        if site.layer is None and tile.meter.read is not None:
            moved &= torch.arange(hidden.shape[1], device=moved.device) == tile.meter.read[:, None]
        yield Made([layer] * len(some), delta, moved)
        bar.update(len(some) * len(tile.index) / masked.n)
        low = high


def _together(site: Site, other: Site) -> bool:
    return (site.component, site.layer) == (other.component, other.layer)


def _felt(masked: Masked, tile: Tile, site: Site, edges: Sequence[Index]) -> Tensor:
    """Return the change of the stream behind the layer of receivers of one kind, [edge row pos model]."""
    layer = site.layer
    senders = sorted({sender for sender, _, _ in edges})
    differs = dict(zip(senders, _differences(masked, tile, senders), strict=True))
    changes = torch.stack([differs[sender] * _place(tile, position) for sender, _, position in edges])
    if layer is None:
        return changes
    out = (
        tile.base.values[Site("mlp_out", layer)].reshape(tile.base.hidden[0].shape)[:, tile.start :]
        if masked.wiring.mlps
        else None
    )
    if site.component != "mlp_out":
        changes = _decisive(tile, layer, _of_heads(masked, tile, site, edges, changes))
        if out is None or masked.wiring.parallel:
            return changes
        middle = tile.base.hidden[layer + 1][:, tile.start :] - out
        return changes + _of_mlp(masked, layer, middle, out, changes)
    assert out is not None  # else there would be no such receiver
    changes = _decisive(tile, layer, changes)
    middle = (
        tile.base.hidden[layer][:, tile.start :]
        if masked.wiring.parallel
        else tile.base.hidden[layer + 1][:, tile.start :] - out
    )
    return _of_mlp(masked, layer, middle, out, changes)


def _decisive(tile: Tile, layer: int, changes: Tensor) -> Tensor:
    """Return changes behind attention where they matter: in the last layer, where the metric reads."""
    if layer + 1 < len(tile.inputs.layers) or tile.meter.read is None:
        return changes
    columns = torch.arange(tile.start, tile.base.width, device=changes.device)
    return changes * (columns == tile.meter.read[:, None])[None, :, :, None]


def _of_heads(masked: Masked, tile: Tile, site: Site, edges: Sequence[Index], changes: Tensor) -> Tensor:
    """Return how what attention adds changes, where each edge's own heads read its change, [edge row pos model]."""
    assert site.layer is not None  # heads lie in layers
    attention = Attention(tile, site.layer)
    # Edges from one sender at one position differ only by whose reading counts.
    shared = {key: number for number, key in enumerate(dict.fromkeys((s, p) for s, _, p in edges))}
    first = {key: next(n for n, (s, _, p) in enumerate(edges) if (s, p) == key) for key in shared}
    z = attention.changed(site.component, changes[list(first.values())]) - attention.z
    made = torch.zeros_like(changes)
    matrix = masked.inputs.written(site.layer)
    start = masked.wiring.senders_of(site.layer).start
    for receiver in dict.fromkeys(receiver for _, receiver, _ in edges):
        heads = [owner - start for owner in masked.wiring.owners(masked.wiring.receivers[receiver])]
        numbers = [number for number, edge in enumerate(edges) if edge[1] == receiver]
        which = [shared[edges[number][0], edges[number][2]] for number in numbers]
        made[numbers] = torch.einsum("erphd,hdm->erpm", z[which][:, :, :, heads], matrix[heads])
    return made


def _of_mlp(masked: Masked, layer: int, middle: Tensor, out: Tensor, changes: Tensor) -> Tensor:
    """Return how what an MLP adds changes with what it reads, [edge row pos model]; at changed tokens alone."""
    made = torch.zeros_like(changes)
    live = (changes != 0).any(-1)
    where = live.nonzero(as_tuple=True)
    read = middle[where[1:]] + changes[where]
    parts = [masked.inputs.twin.after_attention(layer, some) for some in read.split(4096)]
    if parts:
        made[where] = torch.cat(parts) - out[where[1:]]
    return made


def _differences(masked: Masked, tile: Tile, senders: Sequence[int]) -> Iterator[Tensor]:
    """Yield how what stands in for each sender differs from what it adds, [row pos model]."""
    cached: tuple[int, Tensor] | None = None
    for number in senders:
        site = masked.wiring.senders[number]
        layer = EMBEDDING if site.layer is None else site.layer
        if cached is None or cached[0] != layer:
            cached = layer, tile.differences(layer)
        first = 0 if site.layer is None else masked.wiring.senders_of(site.layer).start
        yield cached[1][:, :, number - first]


def _place(tile: Tile, position: int) -> Tensor | float:
    """Return where a position is, [row pos 1]; everywhere where they are not told apart."""
    return 1.0 if tile.places is None else tile.places[position][..., None]


def node_effects(masked: Masked, *, progress: bool = False) -> np.ndarray:
    """Return the effect of replacing all that each sender adds, [sender position pair]."""
    senders, _, places = masked.shape
    out = np.zeros((senders, places, masked.n))
    layers = [EMBEDDING, *range(len(masked.inputs.layers))]
    bar = tqdm(total=senders, desc="exact nodes", unit="node", disable=None if progress else True, leave=False)
    for layer in layers:
        layer_senders = slice(0, 1) if layer == EMBEDDING else masked.wiring.senders_of(layer)
        numbers = range(layer_senders.start, layer_senders.stop)
        cut = torch.zeros(len(numbers), places, *masked.shape)
        for row, number in enumerate(numbers):
            for place in range(places):
                cut[row, place, number, masked.wiring.possible[number], place] = 1
        values = masked.of(cut.flatten(0, 1).to(masked.inputs.device), max(layer, 0))
        out[layer_senders] = masked.clean - values.reshape(len(numbers), places, -1)
        bar.update(len(numbers))
    bar.close()
    return out


@SCORERS.register("exact")
def exact(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges and senders by their exact effects."""
    possible = np.broadcast_to(masked.wiring.possible[..., None], masked.shape)
    edges = [tuple(index) for index in np.argwhere(possible).tolist()]
    edges.sort(key=lambda edge: (edge[1], edge[0], edge[2]))
    means, spread = np.full(masked.shape, np.nan), np.full(masked.shape, np.nan)
    for low in range(0, len(edges), 4096):
        some = edges[low : low + 4096]
        effects = exact_effects(masked, some, progress=scoring.progress)
        sums = Sums(masked, (len(some),))
        sums.add_all(effects.T)
        index = tuple(np.array(some).T)
        means[index] = sums.mean()
        some_spread = sums.spread()
        spread[index] = np.nan if some_spread is None else some_spread
    nodes = node_effects(masked, progress=scoring.progress).mean(-1)
    return Scored(impossible(masked, means), nodes, spread if np.isfinite(spread).any() else None)
