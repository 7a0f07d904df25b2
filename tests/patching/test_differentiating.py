"""Gradients with answers of several tokens and with pairs of different length: against finite differences and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from unequal import unequal
from written import ANSWERS, FOILS, SINGLE, odds, several, stream
from zoo import bare, loaded

import mechcausal as mc

ONE = [[[5, 6]], [[7, 8]], [[11, 12, 13]]]
ONE_FOIL = [[[20]], [[21, 22]], [[23]]]


def slope(name, base, source, row, answers, foils, at, layer, step=1e-2):
    """Return (source - base) . gradient by a central difference of log-odds that are written out."""
    model = bare(name)
    low, high = (stream(model, name, tokens, layer)[at] for tokens in (base, source))
    ends = [
        odds(model, name, base, answers, foils, layer, {at % len(base): low + sign * step * (high - low)})
        for sign in (-1, 1)
    ]
    return (ends[1] - ends[0]) / (2 * step)


@pytest.mark.parametrize("exact", ["replay", "naive"])
@pytest.mark.parametrize("answers", [ANSWERS, SINGLE], ids=["tokens", "sets"])
def test_the_gradient_is_a_difference_quotient(answers, exact):
    pairs = several(answers=answers)
    found = mc.attribute(loaded("llama"), pairs, sites="L1.resid_pre", at="@1", exact=exact)
    assert found.provenance.compute["engine"] == exact
    for row in range(3):
        base, source = pairs.corrupt.real_tokens[row], pairs.clean.real_tokens[row]
        expected = slope("llama", base, source, row, answers[row], FOILS[row], 1, 1)
        assert found.frame is not None
        assert found.examples[0, row] - found.baselines["base"][row] == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("path", ["joint", "cell"])
@pytest.mark.parametrize("metric", ["logit_diff", "prob"])
def test_steps_of_the_engine_are_those_of_the_loop(path, metric):
    pairs = several(answers=ONE, foils=ONE_FOIL)
    options = {"sites": "z", "at": "@-1", "steps": 3, "path": path, "metric": metric}
    fast, slow = (mc.attribute(loaded("llama"), pairs, **options, exact=exact) for exact in ("replay", "naive"))
    assert fast.examples == pytest.approx(slow.examples, abs=1e-4)
    told = fast.provenance.compute
    assert told["engine"] == ("replay" if metric == "logit_diff" else "naive")
    if metric == "prob":
        assert "along the path" in told["naive_because"]["sets of texts"]


def test_many_steps_are_exact_for_sets_too():
    pairs = several()
    options = {"sites": "L1.resid_pre", "at": "@1"}
    estimate = mc.attribute(loaded("llama"), pairs, **options, steps=32, path="cell").examples
    assert estimate == pytest.approx(mc.patch(loaded("llama"), pairs, **options).examples, abs=5e-3)


@pytest.mark.parametrize("mode", ["last", pytest.param("mean", marks=pytest.mark.slow), "each"])
def test_pairs_of_different_length(mode):
    pairs = unequal(mode)
    options = {"sites": "L1.resid_pre", "at": "each"}
    estimate = mc.attribute(loaded("llama"), pairs, **options, steps=32, path="cell")
    exact = mc.patch(loaded("llama"), pairs, **options)
    assert np.nan_to_num(estimate.examples) == pytest.approx(np.nan_to_num(exact.examples), abs=1e-2)
    told = estimate.provenance.compute
    assert told["engine"] == "replay and naive"
    assert "matched span by span" in told["naive_because"]["pairs of different length"]
    assert mc.attribute.cost(loaded("llama"), pairs, sites="z").cells == 12
    assert torch.is_grad_enabled()
