"""Methods by name: all that discovery knows, chance last, and scorers of one's own."""

import pytest

import mechcausal as mc
from mechcausal.circuits.benchmark.methods import forwards_of, names, scorers
from mechcausal.circuits.scores import SCORERS
from mechcausal.errors import ArgumentError


def test_all_methods_are_compared():
    assert set(names()) == set(SCORERS)
    assert names()[-1] == "random"
    assert list(scorers(None)) == names()


def test_a_scorer_is_discovery_with_its_method():
    model = mc.load("organism:by_hand")
    pairs = mc.contrast("by_hand/gender", model, n=8)
    circuit = scorers(["eap"])["eap"](model, pairs, 3)
    assert circuit == mc.discover(model, pairs, method="eap", seed=3)
    assert forwards_of(circuit) > 0


def test_scorers_of_ones_own():
    made = object()
    assert scorers({"mine": lambda *_: made})["mine"](1, 2, 3) is made
    with pytest.raises(ArgumentError, match="did you mean 'eap-ig'"):
        scorers(["eapig"])
