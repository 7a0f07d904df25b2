"""The self-test: it passes on what ships, and fails on a model that has something else in it."""

import pytest
import torch
from commands import refused, run

from mechcausal.causal import selftest as module
from mechcausal.causal.selftest import selftest
from mechcausal.models.load import load

WRONG = {"missing variable", "wrong parent", "wrong site", "swapped variables", "over-coarse"}


@pytest.mark.slow
def test_what_ships_passes_and_every_kind_of_mistake_is_caught():
    done = run("selftest", "causal", "--organism", "by_hand", "--json")
    assert done.code == 0, done.output
    checks = {check["what"]: check for check in done.document}
    assert set(checks) >= WRONG | {"scrubbing, true", "IIA, worst placebo", "effects, largest gap"}
    assert checks["scrubbing, true"]["value"] == pytest.approx(1, abs=1e-6)
    assert all(checks[kind]["value"] < 0.7 for kind in WRONG)
    assert checks["effects, largest gap"]["value"] < 1e-5


@pytest.mark.slow
def test_a_model_with_its_variables_elsewhere_does_not_pass(monkeypatch):
    def exchanged(name):
        """The heads that hold the gender, and one that nothing reads, trade places; the behavior is the same."""
        model = load(name)
        attention = model.blocks[0].attn
        with torch.no_grad():
            for weight in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O):
                weight[[0, 3]] = weight[[3, 0]].clone()
        return model

    monkeypatch.setattr(module, "load", exchanged)
    checks = {check.what: check for check in selftest(("by_hand",))}
    assert not checks["scrubbing, true"].passed
    assert not checks["IIA, gender"].passed
    assert not checks["effects, largest gap"].passed
    assert checks["IIA, worst placebo"].value > 0.9  # it is found where it went


def test_a_failure_is_said_and_leaves_with_one(monkeypatch):
    checks = [
        module.Check("by_hand", "by_hand", "scrubbing, true", 0.5, "at least 0.99", False),
        module.Check("by_hand", "by_hand", "IIA, gender", 1.0, "at least 0.98", True),
    ]
    monkeypatch.setattr(module, "selftest", lambda organisms: checks)
    done = run("selftest", "causal", "--organism", "by_hand")
    assert done.code == 1
    assert "  FAIL scrubbing, true" in done.output
    assert done.output.splitlines()[-1].startswith("1 of 2 checks passed")


def test_an_unknown_organism_is_refused_before_any_work():
    assert "did you mean 'hiring'" in refused("selftest", "causal", "--organism", "by_hand", "--organism", "hirring")
