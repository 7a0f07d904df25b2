"""Edge attribution: the gradient of the mask, finite differences, and an einsum written out; nothing is left on the way."""

import numpy as np
import pytest
import torch
import zoo

from mechcausal.address import Selection
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.slopes import edge_scores, passed, path_scores, slopes

CAUSAL = tuple(name for name in zoo.ARCHITECTURES if name != "bert")


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("padded", [False, True])
def test_edge_attribution_is_the_gradient_of_the_mask(name, padded):
    pairs = zoo.make_pairs(**({"lengths": (7, 5, 6, 7), "side": "left"} if padded else {}))
    masked = Masked(zoo.loaded(name), pairs)
    (tile,) = masked.tiles
    scores = edge_scores(tile, masked.wiring, slopes(tile, passed(tile, masked.wiring))).sum(0)
    kept = torch.ones(masked.shape, requires_grad=True)
    gradient = torch.autograd.grad(masked.run(tile, masked.cut(kept)[None]).sum(), kept)[0]
    assert float((scores - gradient).abs().max()) < 1e-5 * max(1, float(gradient.abs().max()))


def test_told_apart_query_heads_add_up_to_the_shared_key():
    pairs = zoo.make_pairs()
    whole, split = (Masked(zoo.loaded("llama"), pairs, split=split) for split in (False, True))
    tables = []
    for masked in (whole, split):
        (tile,) = masked.tiles
        tables.append(edge_scores(tile, masked.wiring, slopes(tile, passed(tile, masked.wiring))).sum(0).numpy())
    for kind in "kv":
        one = whole.wiring.receiver(f"L1.{kind}.H1")
        two = [split.wiring.receiver(f"L1.{kind}.H{head}") for head in (2, 3)]
        assert np.abs(tables[0][:, one] - tables[1][:, two].sum(1)).max() < 1e-5
        assert np.abs(tables[1][:, two]).max() > 1e-2


def test_positions_add_up_and_small_blocks_change_nothing():
    pairs = zoo.make_pairs()
    masked = Masked(zoo.loaded("qwen3"), pairs)
    each = Masked(zoo.loaded("qwen3"), pairs, positions=[Selection.parse(f"@{number}") for number in range(7)])
    tile, apart = masked.tiles[0], each.tiles[0]
    found = slopes(tile, passed(tile, masked.wiring))
    scores = edge_scores(tile, masked.wiring, found)
    by_position = edge_scores(apart, each.wiring, slopes(apart, passed(apart, each.wiring)))
    assert float((by_position.sum(-1, keepdim=True) - scores).abs().max()) < 1e-5
    assert float((edge_scores(tile, masked.wiring, found, budget=1) - scores).abs().max()) < 1e-5
    assert not by_position[..., 0].any()  # nothing differs at the first token


def test_no_graph_is_left_behind():
    masked = Masked(zoo.loaded("gpt2"), zoo.make_pairs())
    (tile,) = masked.tiles
    scores = edge_scores(tile, masked.wiring, slopes(tile, passed(tile, masked.wiring)))
    assert not scores.requires_grad
    assert not tile.instead(1).requires_grad


@pytest.mark.parametrize("budget", [1, 2**28])
def test_a_path_is_the_sum_of_its_points(budget):
    """Whether gradients are summed before they meet what edges lose, or scores after."""
    places = [Selection.parse(f"@{number}") for number in range(5)]
    masked = Masked(zoo.loaded("llama"), zoo.make_pairs((7, 5, 6)), positions=places)
    (tile,) = masked.tiles
    start = tile.base.hidden[0][:, tile.start :]
    points = [slopes(tile, passed(tile, masked.wiring, 0, start * share)) for share in (1.0, 0.9, 0.7)]
    counts = [(0.25, 0.5), (0.5, 0.0), (0.25, 0.5)]
    found = path_scores(tile, masked.wiring, zip(points, counts, strict=True), budget=budget)
    for number, scores in enumerate(found):
        expected = sum(
            count[number] * edge_scores(tile, masked.wiring, at) for at, count in zip(points, counts, strict=True)
        )
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
