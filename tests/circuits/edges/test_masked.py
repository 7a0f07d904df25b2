"""Pairs under any set of edges: batches, budgets, positions, several answers; and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import zoo

import mechcausal as mc
from mechcausal.circuits.edges.masked import Masked
from mechcausal.errors import MechcausalError


def test_the_ends_are_runs_with_everything_and_nothing_kept():
    masked = Masked(zoo.loaded("llama"), zoo.make_pairs(lengths=(7, 5, 7), side="left"))
    ends = masked.metric(np.stack([np.ones(masked.shape), np.zeros(masked.shape)]))
    assert np.abs(ends - [masked.clean, masked.corrupt]).max() < 2e-5


def test_batches_and_budgets_change_nothing():
    model, pairs = zoo.loaded("gpt2"), zoo.make_pairs(lengths=(7, 5, 6, 7, 7), side="left")
    kept = np.random.default_rng(0).uniform(size=(3, *Masked(model, pairs).shape)) < 0.5
    whole = Masked(model, pairs).metric(kept)
    small = Masked(model, pairs, batch_size=2, budget=40_000)
    assert len(small.tiles) >= 3
    assert np.abs(small.metric(kept) - whole).max() < 2e-5


def test_the_model_may_be_used_nowhere_else():
    masked = Masked(mc.load(zoo.build("llama")), zoo.make_pairs())  # nobody else keeps the bridge alive
    assert np.isfinite(masked.metric(np.zeros(masked.shape))).all()


def test_a_mask_that_is_learned_carries_a_graph():
    masked = Masked(zoo.loaded("neox"), zoo.make_pairs())
    kept = torch.full(masked.shape, 0.5, requires_grad=True)
    values = masked.run(masked.tiles[0], masked.cut(kept)[None])
    values.sum().backward()
    possible = torch.as_tensor(masked.wiring.possible)[..., None]
    assert bool((kept.grad[possible] != 0).any())
    assert not bool(kept.grad[~possible].any())
    assert np.abs(values[0].detach().numpy() - masked.metric(kept.detach())).max() < 2e-5


def test_a_metric_that_compares_is_given_the_clean_logits():
    masked = Masked(zoo.loaded("qwen3"), zoo.make_pairs(), "kl")
    assert np.abs(masked.clean).max() < 1e-5
    assert masked.corrupt.min() > 1e-3


def test_pairs_of_different_lengths_and_other_models_prompts_are_refused():
    pairs = zoo.make_pairs()
    far = [replace(side, tokens=side.tokens + 1000) for side in (pairs.clean, pairs.corrupt)]
    with pytest.raises(MechcausalError, match="vocabulary"):
        Masked(zoo.loaded("gpt2"), type(pairs)(*far, "far"))
    bare = [replace(side, answer=None, foil=None) for side in (pairs.clean, pairs.corrupt)]
    with pytest.raises(MechcausalError, match="needs the answer"):
        Masked(zoo.loaded("gpt2"), type(pairs)(*bare, "none"))
