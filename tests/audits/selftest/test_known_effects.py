"""A1 holds for the network by hand, and not for another one."""

import torch

from mechcausal.audits.selftest import known_effects, run_checks
from mechcausal.models.load import load


def test_all_effects_are_as_they_follow_from_the_weights():
    found = list(run_checks(["A1"]))
    assert len(found) == 13
    assert all(check.passed for check in found), [str(check) for check in found if not check.passed]


def test_a_network_with_another_neuron_does_not_pass(monkeypatch):
    def altered(name):
        model = load(name)
        with torch.no_grad():
            model.blocks[1].mlp.W_out.mul_(2)
        return model

    monkeypatch.setattr(known_effects, "load", altered)
    wrong = {check.what for check in run_checks(["A1"]) if not check.passed}
    assert "indirect effect through the neuron" in wrong
    assert "effect along the path through the neuron" in wrong
    assert "effect along the path past the neuron" not in wrong
