"""The tour of a real language model: what can be found in it in a few minutes, with intervals and controls.

Four questions: which heads carry the indirect object, and what is left without them; where gender enters an occupation
and how it reaches the pronoun; what a lens reads on the way, and whether that is used; what a steering vector does at each
dose, and what it costs. Nobody knows the truth here, so that what was found on some pairs is checked on others.
"""

from __future__ import annotations

from typing import Any

from mechcausal.arguments import Model
from mechcausal.models.load import load
from mechcausal.report.real_tour.dosing import steered
from mechcausal.report.real_tour.findings import RealFindings
from mechcausal.report.real_tour.indirect import indirect_objects
from mechcausal.report.real_tour.occupations import gender
from mechcausal.results.result import Result

__all__ = ["MODEL", "RealFindings", "tour"]
MODEL = "smollm2"


def tour(model: str | Model = MODEL, *, n: int = 16, seed: int = 0) -> RealFindings:
    """Run the tour on a language model that knows English.

    Args:
        model: The model, or its name or folder, as `mc.load` takes it.
        n: How many pairs the heads are found on; twice as many are used where runs are cheap.
        seed: The seed of everything random.
    """
    loaded = load(model) if isinstance(model, str) else model
    name = model if isinstance(model, str) else str(loaded.cfg.model_name)
    numbers: dict[str, Any] = {"model": name, "pairs": n, "seed": seed}
    sweeps: dict[str, Result] = {}
    for topic, part in (("indirect_objects", indirect_objects), ("gender", gender), ("steering", steered)):
        numbers[topic], swept = part(loaded, n=n, seed=seed)
        sweeps |= swept
    return RealFindings(name, numbers, sweeps)
