"""One batch: where it begins, what stands in for senders, which position is which."""

import torch
import zoo

from mechcausal.address import Selection
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.tiles import EMBEDDING


def test_a_batch_begins_where_its_pairs_first_differ():
    assert Masked(zoo.loaded("gpt2"), zoo.make_pairs()).tiles[0].start == 1
    assert Masked(zoo.loaded("gpt2"), zoo.make_pairs(changed=(4, 5))).tiles[0].start == 4
    assert Masked(zoo.loaded("gpt2"), zoo.make_pairs(), ablation="zero").tiles[0].start == 0


def test_differences_are_those_of_the_two_runs():
    tile = Masked(zoo.loaded("llama"), zoo.make_pairs()).tiles[0]
    embed = zoo.bare("llama").model.embed_tokens
    with torch.no_grad():
        expected = embed(tile.other.tokens) - embed(tile.clean.tokens)
    assert torch.allclose(tile.differences(EMBEDDING)[:, :, 0], expected[:, 1:], atol=1e-6)


def test_the_mean_of_a_position_is_counted_from_the_first_token():
    tile = Masked(zoo.loaded("gpt2"), zoo.make_pairs(side="left"), ablation="mean").tiles[0]
    constants = tile.alternative.constants
    assert torch.allclose(tile.instead(0)[2, 3], constants[3, 1:6], atol=1e-6)


def test_positions_are_masks_over_the_columns_that_are_run():
    places = [Selection.parse("@3"), Selection.parse("@-1")]
    tile = Masked(zoo.loaded("gpt2"), zoo.make_pairs(), positions=places).tiles[0]
    assert tile.places.shape == (2, 6, 6)
    assert tile.places[0, 0].tolist() == [0, 0, 1, 0, 0, 0]
    assert tile.places[1, 0].tolist() == [0, 0, 0, 0, 0, 1]
