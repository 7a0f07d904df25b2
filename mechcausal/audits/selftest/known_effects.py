"""A1: the network by hand, whose effects follow from its weights: a decision takes 2.6 for he, and 0.9 more at a high level."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mechcausal.audits.fairness.controlled import ControlledEffect
from mechcausal.audits.fairness.mediation import Mediation
from mechcausal.audits.fairness.path_effect import PathEffect
from mechcausal.audits.selftest.checks import Check, answered, checks_of, near
from mechcausal.data.tasks import contrast
from mechcausal.models.load import load

DIRECT, JOINT = "L0.z.H0@end -> logits", "L0.z.H0@end -> L1.mlp_out@end -> logits"
LEVEL = {"site": "L0.z.H2", "at": "end", "basis": [[1.0, 0, 0]]}  # the head's first entry is the level, -1 or 1
GENDER, BOTH = 2.6, 0.9
EXACT = 1e-5


@checks_of("A1", "effects of a network written by hand")
def effects(quick: bool) -> Iterator[Check]:
    """Compare total, direct, indirect, controlled and path-specific effects with their closed forms."""
    del quick
    model = load("organism:by_hand")
    pairs = contrast("by_hand/gender", model, n=16)
    high = float(np.mean([group == "high" for group in pairs.clean.groups]))
    total = GENDER + BOTH * high

    table = answered(Mediation(pairs, mediators=["z", "mlp_out"], at="end"), model).table.set_index("mediator")
    carrier, neuron = table.loc["L0.z.H0@end"], table.loc["L1.mlp_out@end"]
    yield near("total effect of gender", total, carrier["te"], EXACT)
    yield near("indirect effect through the head that carries gender", total, carrier["nie_pure"], EXACT)
    yield near("direct effect past that head", 0.0, carrier["nde"], EXACT)
    yield near("indirect effect through the neuron", BOTH * high, neuron["nie_pure"], EXACT)
    yield near("direct effect past the neuron", GENDER, neuron["nde"], EXACT)
    yield near("interaction of the two", 0.0, neuron["interaction"], EXACT)
    yield near("indirect effect through a head that carries nothing", 0.0, table.loc["L0.z.H1@end", "nie_total"], EXACT)
    levels = np.array([-1.0, 0.0, 0.5, 1.0])
    curve = answered(ControlledEffect(pairs, mediator=LEVEL, values=levels.tolist()), model).table["effect"]
    for level, effect in zip(levels, curve, strict=True):
        yield near(
            f"controlled direct effect with the level held at {level:g}", GENDER + BOTH * max(level, 0), effect, EXACT
        )
    paths = answered(PathEffect(pairs, unfair={"direct": [DIRECT]}, fair={"joint": [JOINT]}), model).table.set_index(
        "paths"
    )["effect"]
    yield near("effect along the path past the neuron", GENDER, paths["direct"], EXACT)
    yield near("effect along the path through the neuron", BOTH * high, paths["joint"], EXACT)
