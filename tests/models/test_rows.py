"""Pairs of different length: patched where named spans say so, against hooks written out on the plain model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unequal import PAIRS, columns, unequal
from written import logprobs, odds, stream
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.data.targets import filled
from mechcausal.errors import DataError, SiteError
from mechcausal.models.rows import in_two, together, uneven
from mechcausal.models.sources import by_number


def written_out(name, pairs, mode, layer, direction):
    """Return the metric of every position of every pair: hooks on the plain model."""
    model, rows = bare(name), []
    for number, (before, first, after, second) in enumerate(PAIRS):
        size = min(len(first), len(second))
        clean, corrupt = [*before, *first, *after], [*before, *second, *after]
        places = columns(before, first, after, mode, size), columns(before, second, after, mode, size)
        base, source = (corrupt, clean) if direction == "denoise" else (clean, corrupt)
        here, there = places[::-1] if direction == "denoise" else places
        states = stream(model, name, source, layer)
        answer, foil = [[int(pairs.clean.answer[number])]], [[int(pairs.clean.foil[number])]]
        rows.append(
            [
                odds(model, name, base, answer, foil, layer, dict.fromkeys(own, states[other].mean(0)))
                for own, other in zip(here, there, strict=True)
            ]
        )
    return rows


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("mode", ["last", "mean", "each"])
@pytest.mark.parametrize(("name", "side"), [("llama", "right"), ("gpt2", "left")])
def test_patched_as_written_out(name, side, mode, direction):
    pairs = unequal(mode, side)
    found = mc.patch(loaded(name), pairs, sites="L1.resid_pre", at="each", direction=direction, batch_size=3)
    expected = written_out(name, pairs, mode, 1, direction)
    assert len(found) == max(map(len, expected))
    for row, values in enumerate(expected):
        assert found.examples[: len(values), row] == pytest.approx(values, abs=1e-4)
        assert np.isnan(found.examples[len(values) :, row]).all()
    told = found.provenance.compute
    count = 2 + (mode == "mean")
    assert told["naive_because"]["pairs of different length"].startswith(f"{count} of 4 pairs")
    assert told["engine"] == "replay and naive"


def test_a_named_span_is_its_position():
    for mode in ("last", "mean", "each"):
        pairs = unequal(mode)
        named = mc.patch(loaded("llama"), pairs, sites="L1.resid_pre", at="@who")
        each = mc.patch(loaded("llama"), pairs, sites="L1.resid_pre", at="each")
        if mode != "each":
            at = [len(before) for before, *_ in PAIRS]
            assert named.examples[0] == pytest.approx(each.examples[at, range(4)], abs=1e-5)
        assert each.frame["label"].iloc[-1]


def test_all_positions_are_those_that_both_have():
    pairs = unequal("mean")
    found = mc.patch(loaded("llama"), pairs, sites="L0.resid_pre", at="all")
    # Where the spans are single tokens everything is exchanged.
    assert found.examples[0, 3] == pytest.approx(found.baselines["clean"][3], abs=1e-4)
    assert np.isfinite(found.examples).all()


def test_with_a_metric_that_compares():
    pairs = unequal()
    found = mc.patch(loaded("llama"), pairs, sites="L1.resid_pre", at="@-1", metric="kl")
    model = bare("llama")
    for row in range(4):
        clean, corrupt = pairs.clean.real_tokens[row], pairs.corrupt.real_tokens[row]
        old = model(torch.tensor([clean])).logits[0, -1].log_softmax(-1)
        new = logprobs(model, "llama", corrupt, 1, {len(corrupt) - 1: stream(model, "llama", clean, 1)[-1]})[-1]
        assert found.examples[0, row] == pytest.approx(float((old.exp() * (old - new)).sum()), abs=1e-4)


def test_with_answers_of_several_tokens():
    sets = {"answers": filled([[[40, 44]], [[41]], [[42], [45, 46]], [[43]]]), "foils": filled([[[50]]] * 4)}
    pairs = unequal("each")
    both = [replace(side, answer=None, foil=None, **sets) for side in (pairs.clean, pairs.corrupt)]
    pairs = replace(pairs, clean=both[0], corrupt=both[1])
    found = mc.patch(loaded("llama"), pairs, sites="L1.resid_pre", at="@0")
    for row, answers in enumerate([[[40, 44]], [[41]], [[42], [45, 46]], [[43]]]):
        base, source = pairs.corrupt.real_tokens[row], pairs.clean.real_tokens[row]
        put = {0: stream(bare("llama"), "llama", source, 1)[0]}
        assert found.examples[0, row] == pytest.approx(
            odds(bare("llama"), "llama", base, answers, [[50]], 1, put), abs=1e-4
        )


def test_other_methods_and_costs():
    model, pairs = loaded("llama"), unequal()
    assert mc.patch.cost(model, pairs, sites="z").cells == 12
    assert len(mc.ablate(model, pairs, sites="z", do="mean")) == 12
    assert len(mc.ablate(model, pairs, sites="L1.resid_pre", at="@who", do="zero")) == 1
    assert mc.measure(model, pairs, "logit_diff").value(side="corrupt") != 0
    with pytest.raises(DataError, match="differ in length"):
        mc.causal.mediate(model, pairs, "L1.z.H0")
    with pytest.raises(SiteError, match="attention pattern cannot be taken from a prompt of another length"):
        mc.patch(model, pairs, sites="pattern")


def test_which_pairs_are_matched():
    pairs = unequal("mean")
    assert uneven(pairs.clean, pairs.corrupt).tolist() == [True, True, True, False]
    assert uneven(unequal("each").clean, unequal("each").corrupt).tolist() == [True, True, False, False]
    plain = make_pairs()
    assert not uneven(plain.clean, plain.corrupt).any()
    values, parts = in_two(np.array([True, False, True]), lambda rows, other: (rows[None] + 10 * other, other))
    assert (values.tolist(), parts) == ([[10, 1, 12]], [False, True])
    told = together(
        [
            {"engine": "replay", "cells": 2, "examples": 1, "cells_and_examples": 2},
            {"engine": "naive", "cells": 2, "examples": 3},
        ],
        {"x": "y"},
    )
    assert told == {"engine": "replay and naive", "cells": 2, "cells_and_examples": 8, "naive_because": {"x": "y"}}


def test_several_tokens_of_one_position_are_averaged():
    pairs = unequal("mean")
    values = torch.arange(pairs.clean.tokens.numel()).float().reshape(*pairs.clean.tokens.shape, 1)
    moved = by_number(values, pairs.corrupt, pairs.clean)
    assert moved.shape == (*pairs.corrupt.tokens.shape, 1)
    assert moved[0, :, 0].tolist()[:5] == [0, 1, 3, 5, 6]  # 2, 3 and 4 are the span of the clean prompt
    assert moved[3, 2, 0] == values[3, 2, 0]
