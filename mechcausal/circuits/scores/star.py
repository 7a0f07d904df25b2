"""AtP* (Kramar et al. 2024), for edges: attribution with its two known failures mended.

    QK fix      a changed query or key moves a softmax, which is far from linear where attention is saturated. For edges
                into queries and keys attention is computed anew, and only what comes after it is linear:
                score = change of what the head computes x gradient by it
    GradDrop    direct and indirect effects of opposite sign can cancel in a gradient. It is taken once for each layer,
                with nothing flowing back through that layer's sublayers; the score is the mean over layers of the
                absolute values, times L / (L - 1), with the sign of the score without any drop

The paper scores nodes: queries, keys, values, heads and MLPs. This is the same with each edge in the place of a node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.circuits.edges.attention import Attention
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.slopes import Slopes, edge_scores, passed, slopes
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, Sums, impossible, tiles_of


@SCORERS.register("atp*")
def star(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by attribution with attention computed anew and cancelling effects told apart."""
    masked.metric_of_prompts.require_gradient(at_reference=True)
    n_layers = len(masked.inputs.layers)
    plain, sizes = Sums(masked, masked.shape), torch.zeros(n_layers, *masked.shape)
    for tile in tiles_of(masked, scoring, "scoring edges (AtP*)"):
        runs = []
        for dropped in (None, *range(n_layers)):
            masked.forwards += 3 * len(tile)
            runs.append(slopes(tile, passed(tile, masked.wiring, dropped=dropped)))
        made = [edge_scores(tile, masked.wiring, run) for run in runs]
        _fix(masked, tile, runs, made)
        plain.add(tile, made[0])
        sizes += torch.stack([part.sum(0) for part in made[1:]]).float().cpu()
    mean = plain.mean()
    size = (sizes / masked.n).abs().sum(0).numpy() / max(1, n_layers - 1)
    edges = np.sign(mean) * size
    return Scored(impossible(masked, edges), mean.sum(1), about={"dropped": n_layers})


@torch.no_grad()
def _fix(masked: Masked, tile: Tile, runs: Sequence[Slopes], made: Sequence[Tensor]) -> None:
    """Put the scores of edges into queries and keys in the place of their linear ones."""
    wiring = masked.wiring
    for layer in range(len(masked.inputs.layers)):
        slope = torch.stack([run.gradients[layer, "z"] for run in runs])
        slope = slope.reshape(len(runs), *tile.base.hidden[0][:, tile.start :].shape[:2], wiring.n_heads, -1)
        attention = Attention(tile, layer)
        for sending in range(EMBEDDING, layer):
            differs = tile.differences(sending).permute(2, 0, 1, 3)
            first = 0 if sending == EMBEDDING else wiring.senders_of(sending).start
            for kind in ("q", "k"):
                shared = wiring.n_heads // wiring.heads(kind)
                receivers = [wiring.receiver(Site(kind, layer, head=head)) for head in range(wiring.heads(kind))]
                for number, after in enumerate(attention.changed(kind, differs)):
                    effect = ((attention.z - after)[None] * slope).sum(-1)  # [run row pos head]
                    by_receiver = effect.unflatten(-1, (-1, shared)).sum(-1)
                    for which, part in enumerate(_at(tile, by_receiver)):
                        made[which][:, first + number, receivers] = part.to(made[which])


def _at(tile: Tile, effect: Tensor) -> Tensor:
    """Return effects by position, [run row receiver position]; the position is that of the receiver where told apart."""
    if tile.places is None:
        return effect.sum(2)[..., None]
    return torch.einsum("xbpr,qbp->xbrq", effect, tile.places)
