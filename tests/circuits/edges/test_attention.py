"""Attention with one kind reading a changed stream: for each head what comes out when it alone reads the change."""

import pytest
import torch
import zoo

from mechcausal.circuits.edges.attention import Attention
from mechcausal.circuits.edges.masked import Masked


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "neox"])
@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_each_head_computes_what_it_would_if_it_alone_read_the_change(name, kind):
    masked = Masked(zoo.loaded(name), zoo.make_pairs(lengths=(7, 5, 6), side="left"))
    (tile,) = masked.tiles
    inputs, attention = masked.inputs, Attention(tile, 2)
    changes = tile.differences(0).permute(2, 0, 1, 3)[:2]
    together = attention.changed(kind, changes)
    rows, stream = torch.arange(len(tile)), tile.base.hidden[2][:, tile.start :]
    shared = 4 // inputs.heads[kind]
    for head in (0, 3):
        read = head // shared
        made = inputs.project(2, kind, [read], (stream + changes[1])[None])

        def only(word, value, read=read, made=made):
            return value.index_copy(-2, torch.tensor([read]), made) if word == kind else None

        call = lambda: inputs.twin.layer(tile.base, 2, stream, rows, tile.start)  # noqa: E731
        alone = inputs.attended(2, call, only).reshape(together.shape[1:])
        assert float((alone[:, :, head] - together[1][:, :, head])[tile.clean.mask[:, tile.start :]].abs().max()) < 1e-5
    assert float((together - attention.z).abs().max()) > 1e-3
