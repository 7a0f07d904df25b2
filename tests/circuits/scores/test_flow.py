"""Information flow, against the formula written out for one receiver."""

import numpy as np
import zoo

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.tiles import contributions
from mechcausal.circuits.scores import SCORERS, Scoring


def test_shares_of_one_receiver_written_out():
    masked = Masked(zoo.loaded("llama"), zoo.make_pairs(lengths=(7, 5), side="left"))
    scored = SCORERS["ifr"](masked, Scoring(progress=False))
    (tile,) = masked.tiles
    expected = []
    for row in range(2):
        real = tile.clean.mask[row]
        stream = tile.base.hidden[1][row, real]
        added = [
            contributions(masked.inputs, tile.base, layer)[row, real, n]
            for layer, size in ((-1, 1), (0, 5))
            for n in range(size)
        ]
        near = np.array([(stream.abs().sum(-1) - (stream - part).abs().sum(-1)).clamp(min=0).numpy() for part in added])
        expected.append((near / near.sum(0)).mean(1))
    receiver = masked.wiring.receiver("L1.k.H1")
    assert np.allclose(scored.edges[:6, receiver, 0], np.mean(expected, axis=0), atol=1e-5)
    assert np.isnan(scored.edges[6:, receiver]).all()


def test_shares_of_every_receiver_add_up_to_one():
    masked = Masked(zoo.loaded("neox"), zoo.make_pairs())
    scored = SCORERS["ifr"](masked, Scoring(progress=False))
    assert np.allclose(np.nansum(scored.edges, axis=0), 1, atol=1e-4)
