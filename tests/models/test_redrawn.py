"""Weights that are redrawn, and restored."""

import pytest
import torch

from mechcausal.models import abilities as measuring
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.redrawn import redrawing


def test_weights_are_redrawn_in_place_and_restored_bit_for_bit(hiring):
    weights = list(bridge.underlying(hiring).parameters())
    before, digest = [weight.detach().clone() for weight in weights], weights_fingerprint(hiring)
    with redrawing(hiring) as draw:
        draw(0)
        first = [weight.detach().clone() for weight in weights]
        assert weights_fingerprint(hiring) != digest
        draw(1)
        assert not torch.equal(weights[0], first[0])
        draw(0)
        assert all(torch.equal(weight, value) for weight, value in zip(weights, first, strict=True))
    assert all(torch.equal(weight, value) for weight, value in zip(weights, before, strict=True))
    assert weights_fingerprint(hiring) == digest

    def interrupted():
        with redrawing(hiring) as draw:
            draw(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert weights_fingerprint(hiring) == digest
    large = [(float(new.std()), float(old.std())) for new, old in zip(first, before, strict=True) if old.numel() > 2400]
    assert large
    assert all(new == pytest.approx(old, rel=0.06) for new, old in large)


def test_what_it_can_do_is_handed_on_and_not_measured_again(hiring, monkeypatch):
    own = abilities(hiring)
    with redrawing(hiring) as draw:
        draw(0)
        assert measuring._measure(hiring) == own
        monkeypatch.setattr(measuring, "_measure", None)
        draw(1)
        assert abilities(hiring) == own
