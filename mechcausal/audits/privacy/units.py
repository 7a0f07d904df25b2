"""What each unit of a network (a head, a neuron, a feature) does for secrets: ablated, attributed, and how active it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from mechcausal.address import ALL, Site
from mechcausal.audits.desk import Desk
from mechcausal.data.forced import forced
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Edit, Mean, Scale, Zero
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.engine import evaluate, mean_activations
from mechcausal.models.hooked import forward, gradients
from mechcausal.models.plan import Plan
from mechcausal.patching.activation import dry_run

Ablation = Literal["zero", "mean"]
STEPS = 10
"""How many points the path of integrated gradients has."""


class Ablator:
    """Ablates units and measures what that does.

    Args:
        desk: The desk; its edits hold too.
        do: `"zero"`, or `"mean"` over the reference.
        reference: The prompts that means are taken over.
    """

    def __init__(self, desk: Desk, do: Ablation, reference: PromptSet) -> None:
        self.desk, self.do, self.reference = desk, do, reference
        self._means: dict[Site, torch.Tensor] = {}

    def edits(self, units: Sequence[Site]) -> tuple[Edit, ...]:
        """Return the edits that ablate these units together, at all positions."""
        return tuple(Edit(site, Zero() if self.do == "zero" else Mean(), ALL) for site in units)

    def measured(self, prompts: PromptSet, metric: str, cells: Sequence[Sequence[Site]]) -> np.ndarray:
        """Return the metric of every prompt with the units of each cell ablated together, [cell prompt].

        Args:
            prompts: The prompts.
            metric: The metric.
            cells: For each cell its units; none is the model as it is.
        """
        desk = self.desk
        given = prompts if desk.rewrite is None else desk.rewrite(prompts)
        made = [(*desk.edits, *self.edits(units)) for units in cells]
        plan = Plan(given, made, metric_of(metric), means=self._means_of(cells))
        values = evaluate(desk.model, plan, batch_size=desk.batch_size, progress="ablating")
        return values.values

    def _means_of(self, cells: Sequence[Sequence[Site]]) -> dict[Site, torch.Tensor]:
        if self.do == "zero":
            return {}
        missing = [
            site for site in dict.fromkeys(unit.whole for units in cells for unit in units) if site not in self._means
        ]
        if missing:
            self._means |= mean_activations(
                self.desk.model, self.reference, missing, batch_size=self.desk.batch_size, per_position=False
            )
        return self._means


def forwards_of_ablations(desk: Desk, prompts: PromptSet, cells: Sequence[Sequence[Site]]) -> float:
    """Return how many forwards of one prompt it takes to ablate the units of each cell, besides the unedited run."""
    edits = [tuple(Edit(site, Zero(), ALL) for site in units) for units in cells]
    return dry_run(desk.model, Plan(prompts, edits, metric_of("logprob")), desk.batch_size, "replay").forwards


def attributed(
    desk: Desk, prompts: PromptSet, units: Sequence[Site], steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the integrated gradient of the answer's log-probability by each unit, and how active each unit is, [unit].

    The path goes from a site's activation times zero to the activation, one whole site at a time (Sundararajan et al.
    2017; Dai et al. 2022 for neurons of knowledge); both are means over prompts, summed over positions.

    Args:
        desk: The desk.
        prompts: Prompts with their answers.
        units: The units.
        steps: How many points the path has.
    """
    metric, model = metric_of("logprob"), desk.model
    several = metric.forces(prompts)
    rows, scored = (forced(prompts).prompts, metric.piece) if several else (prompts, metric)
    rows = rows.to(bridge.device_of(model))
    wholes = list(dict.fromkeys(unit.whole for unit in units))
    credit, active = np.zeros(len(units)), np.zeros(len(units))
    with torch.inference_mode(False), torch.enable_grad():
        for site in wholes:
            chosen = [number for number, unit in enumerate(units) if unit.whole == site]
            plain = forward(model, rows, desk.edits, read=[site]).read[site].detach()
            slope = torch.zeros_like(plain)
            for step in range(steps):
                scale = Edit(site, Scale((step + 0.5) / steps), ALL)
                run = forward(model, rows, (*desk.edits, scale), read=[site], grad=True)
                slope += gradients(run.score(scored, rows).sum(), run, [site])[site].detach() / steps
            keep = rows.mask.reshape(*rows.mask.shape, *[1] * (plain.ndim - 2))
            product, size = plain * slope * keep, plain.abs() * keep
            for number in chosen:
                credit[number] = float(view(product, units[number]).sum()) / len(rows)
                active[number] = float(view(size, units[number]).sum()) / len(rows)
    return credit, active


def ablated_desk(desk: Desk, edits: Sequence[Edit]) -> Desk:
    """Return the desk with further edits in every run."""
    return replace(desk, edits=(*desk.edits, *edits))


def listed(units: Sequence[Site], numbers: Any) -> list[Site]:  # noqa: ANN401 - an array of numbers
    """Return the units of these numbers."""
    return [units[int(number)] for number in numbers]
