"""Drawing tokens: shares by softmax, and what top_k and top_p leave."""

import numpy as np
import torch

from mechcausal.generation.sampling import draws, next_tokens

CHANCES = torch.tensor([0.5, 0.3, 0.15, 0.05])


def shares(temperature=1.0, top_k=None, top_p=None, n=4000):
    logits = CHANCES.log().expand(n, -1)
    drawn = next_tokens(logits, temperature, top_k, top_p, np.random.default_rng(0).random(n))
    return torch.bincount(drawn, minlength=4).double() / n


def test_shares():
    assert torch.allclose(shares(), CHANCES.double(), atol=0.03)
    assert torch.allclose(shares(0.5), (CHANCES.double() ** 2) / (CHANCES.double() ** 2).sum(), atol=0.03)
    assert torch.allclose(shares(top_k=2), torch.tensor([0.625, 0.375, 0, 0]).double(), atol=0.03)
    assert torch.allclose(shares(top_p=0.6), torch.tensor([0.625, 0.375, 0, 0]).double(), atol=0.03)
    assert shares(0).tolist() == [1, 0, 0, 0]


def test_each_text_has_its_own_numbers():
    assert draws(0, 1, 0, 3).tolist() == draws(0, 1, 0, 3).tolist()
    assert draws(0, 1, 0, 3).tolist() != draws(0, 1, 1, 3).tolist()
