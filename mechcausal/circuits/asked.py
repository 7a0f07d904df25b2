"""How a circuit was found, where one who runs it does not say how: the metric and the ablation of its search."""

from __future__ import annotations

from typing import cast, get_args

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.alternatives import Ablation
from mechcausal.errors import ArgumentError
from mechcausal.metrics import METRICS, Metric, MetricFunction
from mechcausal.metrics import metric as metric_of


def metric_for(circuit: Circuit, given: str | MetricFunction | Metric | None) -> Metric:
    """Return the metric that is given, or that of the search; `logit_diff` where the circuit says nothing."""
    if given is not None:
        return metric_of(given)
    name = str(circuit.about.get("metric", "logit_diff"))
    if name not in METRICS:
        raise ArgumentError(
            f"the circuit was found by the metric {name!r}, which is not one of this package",
            fix="pass the function that it was found by, or another metric, as metric=",
        )
    return metric_of(name)


def ablation_for(circuit: Circuit, given: Ablation | None) -> Ablation:
    """Return the ablation that is given, or that of the search; `counterfactual` where the circuit says nothing."""
    name = given or circuit.about.get("ablation", "counterfactual")
    if name not in get_args(Ablation):
        raise ArgumentError(
            "the circuit was found by an ablation that is not one of this package", got=name,
            expected=", ".join(get_args(Ablation)), fix="pass one as ablation=",
        )  # fmt: skip
    return cast("Ablation", name)
