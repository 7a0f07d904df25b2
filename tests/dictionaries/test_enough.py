"""What is shown several times counts once."""

import pytest
import torch
from zoo import make_pairs

import mechcausal as mc
from mechcausal.dictionaries import training
from mechcausal.dictionaries.activations import Activations
from mechcausal.dictionaries.enough import require_enough
from mechcausal.errors import DataError

PROMPTS = make_pairs(lengths=(7, 5, 6, 8)).clean


def test_enough_is_enough():
    require_enough(PROMPTS, 26)
    require_enough([PROMPTS, make_pairs(seed=5, lengths=(4, 4)).clean], 34)
    require_enough(make_pairs(lengths=(7, 5)), 13)
    require_enough(Activations.of(torch.randn(50, 8)), 50)
    require_enough("a folder that is read later", 50)


@pytest.mark.parametrize(
    ("data", "width", "said"),
    [
        (PROMPTS, 27, "got 26 tokens for 27 features"),
        (PROMPTS.take([0] * 64), 64, "got 7 different tokens for 64 features"),
        (PROMPTS.take([0] * 64), 4, "learned from one prompt .got 64 times the same"),
        ([PROMPTS.take([0]), PROMPTS.take([0, 0])], 4, "learned from one prompt .got 3 times the same"),
        (PROMPTS.take([0]), 4, "learned from one prompt .got 1 prompt;"),
        ([], 4, "got 0 tokens"),
        (Activations.of(torch.ones(500, 8)), 4, "got 1 different tokens for 4 features"),
        (Activations.of(torch.ones(500, 8)), 1, "got 1 different tokens for 1 features"),
        (Activations.of(torch.randn(3, 8).repeat(200, 1)), 4, "got 3 different tokens for 4 features"),
        (Activations.of(torch.randn(3, 8).repeat(99, 1) * (1 + 1e-7 * torch.randn(297, 1))), 64, "different tokens"),
    ],
)
def test_too_little_is_refused(data, width, said):
    with pytest.raises(DataError, match=said):
        require_enough(data, width)


@pytest.mark.parametrize("harvested", [False, True])
def test_it_is_refused_before_training(gpt2, monkeypatch, harvested):
    monkeypatch.setattr(training, "Trainer", None)
    again = PROMPTS.take([0] * 64)
    data = mc.features.harvest(gpt2, again, "L1.resid_post") if harvested else again
    with pytest.raises(DataError, match="got 7 different"):
        mc.features.train(gpt2, data, "L1.resid_post", width=16)


def test_halves_are_asked_before_anything_is_trained(gpt2, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "gathered", None)
    with pytest.raises(DataError, match=r"got 1[0-9] tokens for 20 features"):
        mc.features.train(gpt2, PROMPTS, "L1.resid_post", width=20, companions=1, out=tmp_path / "sae")
