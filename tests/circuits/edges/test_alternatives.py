"""What edges outside carry: zero, means and resamples against sums written out; a mean is never one over senders."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import zoo

from mechcausal.circuits.edges.alternatives import means
from mechcausal.circuits.edges.inputs import inputs_of
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.tiles import contributions, recorded
from mechcausal.errors import DataError


def added(model, prompts):
    inputs = inputs_of(model)
    base = recorded(inputs, prompts)
    return torch.cat([contributions(inputs, base, layer) for layer in range(-1, 3)], dim=2)


@pytest.mark.parametrize("name", ["gpt2", "neox", "gemma2"])
def test_with_nothing_kept_and_zeros_the_logits_are_those_of_the_shared_biases(name):
    model, pairs = zoo.loaded(name), zoo.make_pairs()
    masked = Masked(model, pairs, ablation="zero")
    # What is left of the stream is rounding, which the last norm makes larger.
    assert np.abs(masked.corrupt - _final_of_zeros(masked)).max() < 5e-3 < np.abs(masked.clean).max()


def _final_of_zeros(masked):
    """Return the metric of a stream that holds the biases of attention alone."""
    tile = masked.tiles[0]
    shared = tile.base.hidden[-1] - added(masked.model, tile.clean).sum(2)
    rows = torch.arange(len(tile))
    with torch.no_grad():
        return tile.scores(shared, rows).numpy()


def test_a_mean_is_one_for_each_sender_and_position():
    model, pairs = zoo.loaded("llama"), zoo.make_pairs()
    both = torch.cat([added(model, pairs.clean), added(model, pairs.corrupt)])
    per_position = means(inputs_of(model), [pairs.clean, pairs.corrupt], per_position=True)
    assert torch.allclose(per_position, both.mean(0), atol=1e-5)
    senders = means(inputs_of(model), [pairs.clean, pairs.corrupt], per_position=False)
    assert torch.allclose(senders, both.mean((0, 1)), atol=1e-5)
    assert float(senders.std(0).mean()) > 1e-3  # senders differ: nothing was averaged over them


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mean_counts_real_tokens_alone(side):
    model, pairs = zoo.loaded("qwen3"), zoo.make_pairs(lengths=(7, 4, 5), side=side)
    padded = means(inputs_of(model), [pairs.clean], per_position=False)
    total = sum(added(model, pairs.clean.take([row]).padded(n)).sum((0, 1)) for row, n in enumerate((7, 4, 5)))
    assert torch.allclose(padded, total / 16, atol=1e-5)


def test_everything_cut_to_means_is_the_mean_stream():
    model, pairs = zoo.loaded("neox"), zoo.make_pairs()
    masked = Masked(model, pairs, ablation="mean")
    tile = masked.tiles[0]
    shared = tile.base.hidden[-1] - added(model, tile.clean).sum(2)
    final = means(masked.inputs, [pairs.clean, pairs.corrupt], per_position=True).sum(1) + shared
    with torch.no_grad():
        expected = tile.scores(final, torch.arange(len(tile))).numpy()
    assert np.abs(masked.corrupt - expected).max() < 2e-5


def test_a_resample_is_another_prompt_of_the_same_length():
    model, pairs = zoo.loaded("gpt2"), zoo.make_pairs(lengths=(7, 5, 7, 5, 7, 5))
    masked = Masked(model, pairs, ablation="resample", seed=3)
    drawn = masked.alternative.prompts
    assert torch.equal(drawn.lengths, pairs.clean.lengths)
    assert not any(a == b for a, b in zip(drawn.real_tokens, pairs.clean.real_tokens, strict=True))
    other = replace(drawn, answer=pairs.clean.answer, foil=pairs.clean.foil)
    as_pairs = Masked(model, type(pairs)(pairs.clean, other, "resample"))
    assert np.abs(masked.corrupt - as_pairs.corrupt).max() < 2e-5
    with pytest.raises(DataError, match="the only one of 5 tokens"):
        Masked(model, zoo.make_pairs(lengths=(7, 7, 5)), ablation="resample")
