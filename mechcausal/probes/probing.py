"""Fit a probe at one place of a model, and say what it and its controls reach on held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mechcausal.address import Place, Selection, Site, expand
from mechcausal.arguments import CountOrZero, Model
from mechcausal.data.places import places
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import SiteError
from mechcausal.interventions.specs import Edit
from mechcausal.method import function
from mechcausal.models.abilities import abilities
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.probes.fitted import Probe
from mechcausal.probes.labels import Labels, one_set
from mechcausal.probes.procedure import (
    At,
    ProbeCost,
    ProbeKind,
    ProbingMethod,
    Procedure,
    Prompts,
    best_possible,
    check_pool,
    edits_of,
    examples,
    kind_for,
    read_labels,
    task_of,
    task_or_name,
)
from mechcausal.probes.readings import Pool, readings


@dataclass(frozen=True, kw_only=True)
class Probing(ProbingMethod[Prompts, Probe]):
    """Fit a probe: can this concept be read at this place?

    Estimand of `report.accuracy`: the chance that a probe fitted in this way to prompts of other clusters reads the
    concept of a new prompt right. Of a continuous concept
    it is `report.r2`, the share of the held-out variance that is foretold. Both say what is *available*, never what the
    model uses. Examples of one cluster, and
    prompts with the same text, are never on both sides.

    Attributes:
        labels: What is to be read: a variable or column of the prompts by its name, or one value for each prompt (or
            for each token, [prompt pos], with `pool="each"`). None and NaN leave an example out.
        site: Where: a stream, a head, a neuron, the features of a dictionary.
        at: At which positions.
        pool: What becomes of several positions: their mean, their maximum, or an example `"each"`.
        kind: `"means"`, `"logistic"`, `"sparse"`, `"quadratic"` or `"mlp"` for classes, `"ridge"` for numbers; by default
            `"logistic"` or `"ridge"`, by the labels.
        concept: What the concept is called.
        types: The type of each prompt for the control tasks, as labels are given; the token at the position (or the
            prompt, where several are pooled) by default.
        task: The task that the prompts are from, or its name, so that the best possible accuracy can be computed.
        control: Whether to run control tasks.
        mdl: Whether to compute the online code.
        permutations: How many times labels are shuffled for a p-value.
        edits: Edits under which the model runs, for what can still be read after them.

    Example:
        >>> import mechcausal as mc
        >>> model, task = mc.load("organism:hiring"), mc.task("hiring")
        >>> fitted = mc.features.probe(model, task.prompts(model, 200), "gender", "L2.resid_post", at="@decision")
        >>> bool(fitted.report.accuracy.estimate > 0.9)
        True
    """

    word: ClassVar[str] = "probe"
    labels: Any = field(kw_only=False)
    site: str | Site = field(kw_only=False)
    at: At = "@-1"
    pool: Pool = "mean"
    kind: ProbeKind | None = None
    concept: str | None = None
    types: Any = None
    task: Task | str | None = field(default=None, metadata={"read": task_or_name})
    control: bool = True
    mdl: bool = True
    permutations: CountOrZero = 0
    edits: Sequence[Edit] = field(default=(), metadata={"read": edits_of})

    def run(self, model: Model, data: Prompts) -> Probe:
        """Fit the probe and measure it on held-out examples."""
        prompts, labels, place = self._asked(model, data)
        reading = readings(model, prompts, [place], pool=self.pool, edits=self.edits, batch_size=self.batch_size)[0]
        rows = examples(prompts, reading, labels, self.types)
        procedure = self._procedure(labels)
        readout, settings = procedure.fitted(rows)
        bayes = best_possible(task_of(self.task), prompts, labels, place)
        return Probe(
            concept=labels.concept,
            site=place.site,
            at=place.at,
            pool=self.pool,
            kind=procedure.kind,
            classes=labels.classes,
            readout=readout,
            report=procedure.report(rows, procedure.held_out(rows), bayes),
            settings=settings,
            fitted={
                "n": len(rows.y), "n_clusters": len(np.unique(rows.clusters)), "width": rows.x.shape[1],
                "prompts": prompts.hash, "weights": weights_fingerprint(model), "seed": self.seed,
            },
        )  # fmt: skip

    def cost(self, model: Model, data: Prompts) -> ProbeCost:
        """Return what it would take; nothing is run."""
        prompts, labels, _ = self._asked(model, data)
        return ProbeCost(1, len(prompts), len(prompts), len(prompts), self._procedure(labels).fits + 1)

    def _procedure(self, labels: Labels) -> Procedure:
        kind = kind_for(labels, self.kind)
        return self.procedure(kind, control=self.control, mdl=self.mdl, permutations=self.permutations)

    def _asked(self, model: Model, data: Prompts) -> tuple[PromptSet, Labels, Place]:
        """Return the prompts, what is to be read from them, and where."""
        prompts = one_set(data)
        labels = read_labels(prompts, self.labels, self.concept, self.kind, task_of(self.task))
        sites = expand([Site.parse(self.site)], abilities(model).shape)
        where = places(sites, Selection.parse(self.at), prompts)
        if len(where) > 1:
            raise SiteError("one probe reads one place", got=f"{len(where)} places", fix="use probe_sweep")
        check_pool(labels, where[0], self.pool)
        return prompts, labels, where[0]


probe = function(Probing, data="prompts", about="The prompts, or pairs, of which both sides are taken.")
