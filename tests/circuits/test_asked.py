"""Metric and ablation are those of the search unless said otherwise."""

import pytest
from small_circuit import circuit_of

from mechcausal.circuits.asked import ablation_for, metric_for
from mechcausal.errors import ArgumentError


def test_what_is_given_comes_first():
    circuit = circuit_of(metric="prob", ablation="mean")
    assert metric_for(circuit, "kl").name == "kl"
    assert metric_for(circuit, None).name == "prob"
    assert metric_for(circuit_of(), None).name == "logit_diff"
    assert ablation_for(circuit, "zero") == "zero"
    assert ablation_for(circuit, None) == "mean"
    assert ablation_for(circuit_of(), None) == "counterfactual"


def test_what_is_not_known_is_refused():
    with pytest.raises(ArgumentError, match=r"metric 'mine'.*metric="):
        metric_for(circuit_of(metric="mine"), None)
    with pytest.raises(ArgumentError, match=r"got patching.*ablation="):
        ablation_for(circuit_of(ablation="patching"), None)
