"""Padding in double precision: the same numbers on either side, in the loop and in the engine, on every architecture."""

from functools import cache

import numpy as np
import pytest
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from zoo import build, make_pairs

import mechcausal as mc
from mechcausal.models.hooked import forward
from mechcausal.models.masks import finite_masks

LENGTHS = (4, 6, 5)


@cache
def double(name):
    return mc.load(build(name).double())


@pytest.mark.slow
def test_padding_in_double_changes_nothing(architecture):
    model = double(architecture)
    right, left = (make_pairs(LENGTHS, side=side) for side in ("right", "left"))
    alone = [forward(model, right.clean.take([row]).padded(length)).logits[0, -1] for row, length in enumerate(LENGTHS)]
    for pairs in (right, left):
        columns = torch.arange(len(LENGTHS)), pairs.clean.read_columns
        logits = forward(model, pairs.clean).logits[columns]
        torch.testing.assert_close(logits, torch.stack(alone), atol=1e-6, rtol=1e-6)
    chosen = {"sites": ["L1.resid_pre", "L2.z"], "at": [1, -1]}
    values = [
        mc.patch(model, pairs, **chosen, exact=way).examples for pairs in (right, left) for way in ("replay", "naive")
    ]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], atol=1e-6, rtol=1e-6)
    assert np.ptp(values[0]) > 1e-3


@pytest.mark.parametrize("name", ["llama", "opt", "mixtral"])
def test_left_padded_prompts_are_answered_in_double(name):
    """What has no number in it (accuracy, a text) is the same on both sides too."""
    sides = [make_pairs(LENGTHS, side=side).clean for side in ("right", "left")]
    for metric in ("accuracy", "logprob"):
        right, left = (mc.measure(double(name), prompts, metric=metric).examples for prompts in sides)
        np.testing.assert_allclose(left, right, atol=1e-6)
    runs = [(double(name), sides[0]), (double(name), sides[1]), (mc.load(build(name)), sides[0])]
    texts = [mc.generate(model, prompts, tokens=3).frame["tokens"].map(list).tolist() for model, prompts in runs]
    assert texts[0] == texts[1] == texts[2]


def test_masks_of_other_runs_stay_as_they_are():
    made = ALL_MASK_ATTENTION_FUNCTIONS["eager"]
    shape = {"batch_size": 1, "q_length": 2, "kv_length": 2, "dtype": torch.float64}
    with finite_masks():
        with finite_masks():  # a run within a run
            pass
        assert ALL_MASK_ATTENTION_FUNCTIONS["eager"](**shape).min() == torch.finfo(torch.float32).min
    assert ALL_MASK_ATTENTION_FUNCTIONS["eager"] is made
    assert made(**shape).min() == torch.finfo(torch.float64).min
