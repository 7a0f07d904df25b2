"""Information-flow routes (Ferrando and Voita 2024): how much of what a receiver reads comes from each sender.

    proximity(sender, receiver) = max(0, |input| - |input - contribution|), in the sum of absolute values
    score                       = proximity / sum of the proximities of all senders

No metric and no corrupt prompt is asked: it is a description of the clean run, and says nothing of what an edge does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile, contributions
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, Sums, impossible, tiles_of


@SCORERS.register("ifr")
def information_flow(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by the share of what a receiver reads that comes from a sender."""
    sums = Sums(masked, masked.shape)
    for tile in tiles_of(masked, scoring, "information flow"):
        sums.add(tile, _flows(masked, tile))
        masked.forwards += len(tile)
    edges, spread = sums.mean(), sums.spread()
    return Scored(
        impossible(masked, edges), edges.sum(1), None if spread is None else impossible(masked, spread),
        {"is": "shares of what receivers read in the clean run; no effect on the metric"},
    )  # fmt: skip


@torch.no_grad()
def _flows(masked: Masked, tile: Tile) -> Tensor:
    wiring, inputs, base = masked.wiring, tile.inputs, tile.base
    n_layers = len(inputs.layers)
    added = torch.cat([contributions(inputs, base, layer) for layer in range(EMBEDDING, n_layers)], dim=2)
    out = torch.zeros(len(tile), *masked.shape)
    places = (
        tile.clean.mask[None].float()
        if tile.places is None
        else torch.stack([tile.clean.select(at) for at in tile.positions]).float()
    )
    for layer in range(n_layers + 1):
        stream = base.hidden[layer]
        receivers = wiring.receivers_of(layer)
        numbers = range(receivers.start, receivers.stop)
        middle = stream
        if layer < n_layers and wiring.mlps and not wiring.parallel:
            middle = base.hidden[layer + 1] - base.values[Site("mlp_out", layer)].reshape(stream.shape)
        for reads, given in ((False, stream), (True, middle)):
            chosen = [n for n in numbers if (wiring.receivers[n].component == "mlp_out") == reads]
            if not chosen:
                continue
            part = added[:, :, : wiring.reach(wiring.receivers[chosen[0]])]
            near = (given.abs().sum(-1)[..., None] - (given[:, :, None] - part).abs().sum(-1)).clamp(min=0)
            share = near / near.sum(-1, keepdim=True).clamp(min=1e-30)  # [row pos sender]
            by_place = torch.einsum("bps,qbp->bsq", share, places.to(share.device))
            out[:, : part.shape[2], chosen] = by_place[:, :, None].expand(-1, -1, len(chosen), -1).cpu()
    return out / places.sum(-1).permute(1, 0)[:, None, None].clamp(min=1).cpu()
