"""The tour of the embedded model: a small audit of a model whose true mechanism is known.

`organism:hiring` decides about applicants. By construction gender moves its decision through two heads, one that reads
the pronoun and one that reads the hobby, and the model has memorized the secret numbers of some people. The tour works
in two steps, kept apart in two modules: `measuring` finds everything by intervening and reads no shipped truth;
`comparing` then holds what was found against the truth.
"""

from __future__ import annotations

from mechcausal.data.tasks import hiring
from mechcausal.models.load import load
from mechcausal.organisms import truth
from mechcausal.report.tour.comparing import compare
from mechcausal.report.tour.findings import Findings
from mechcausal.report.tour.measuring import measure

__all__ = ["MODEL", "Findings", "tour"]
MODEL = "organism:hiring"


def tour(*, n: int = 200, seed: int = 0) -> Findings:
    """Run the tour on `n` pairs of applicants.

    The auditor is given the model, the two questions it was trained on, with the names of their positions, and the
    records that the owner of the training data holds. Places in the network are not given.
    """
    model = load(MODEL)
    numbers, sweeps = measure(model, n=n, seed=seed, records=hiring.SECRETS)
    numbers["comparison"] = compare(numbers, truth("hiring"))
    return Findings(MODEL, numbers, sweeps)
