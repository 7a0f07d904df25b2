"""The loss that searches keep small."""

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.search.damage import damage, smooth_damage, whole


@pytest.fixture(scope="module")
def by_metric():
    return {name: Masked(loaded("gpt2"), make_pairs(), name) for name in ("kl", "logit_diff")}


def test_opposite_changes_do_not_cancel(by_metric):
    masked = by_metric["logit_diff"]
    signs = np.where(np.arange(masked.n) % 2, 1.0, -1.0)
    assert damage(masked, (masked.clean + signs)[None])[0] == pytest.approx(1)
    assert damage(masked, masked.clean[None])[0] == 0
    assert whole(masked) == pytest.approx(np.abs(masked.corrupt - masked.clean).mean())


def test_a_divergence_is_its_own_loss(by_metric):
    masked = by_metric["kl"]
    assert whole(masked) == pytest.approx(masked.corrupt.mean())
    assert damage(masked, masked.clean[None])[0] == pytest.approx(0, abs=1e-6)


def test_the_smooth_loss_is_one_where_all_is_lost(by_metric):
    clean = torch.tensor([1.0, 2.0])
    assert smooth_damage(by_metric["logit_diff"], (clean - 3)[None], clean, 3.0).item() == pytest.approx(1)
    assert smooth_damage(by_metric["kl"], torch.tensor([[0.5, 1.5]]), clean, 3.0).item() == pytest.approx(1)
