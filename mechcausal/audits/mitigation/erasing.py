"""Erase what can be read of a concept, or steer against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from mechcausal.address import Selection, expand, vector
from mechcausal.arguments import Number, Seed, Share, Text
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.spec import Mitigation, Treatment, require_positions
from mechcausal.audits.sources import DATA
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import SiteSpec
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, all_of
from mechcausal.interventions.specs import Add, Edit
from mechcausal.interventions.specs import Erase as ErasingEdit
from mechcausal.models.abilities import abilities
from mechcausal.probes.erasure import Erasing, Erasure, Guarding
from mechcausal.steering.vectors import VectorSpec, as_vector, direction_of, steered_site

BIASED = 0.2
"""From which correlation of concept and outcome in the fit set on an erasure is marked as a biased fit."""


@dataclass(frozen=True, kw_only=True)
class Erase(Mitigation):
    """Erase a concept at one site or at several (LEACE, Belrose et al. 2023), fitted to declared data.

    Two notes can stand beside it. `biased fit`: concept and outcome are correlated in the fit set by more than 0.2, so
    that erasing one takes the other along. `leak`: probes that were fitted after the erasure still read the concept on
    held-out prompts; `leak (nonlinear)` where only those that are not linear do.

    Attributes:
        labels: The concept, as for `mc.features.erase`: the name of a variable, `"group"`, or labels.
        sites: Where; several are fitted in the order of the model, each to what those before it leave.
        at: At which positions.
        method: `"leace"` or `"means"`.
        share: How much of the erasure is made.
        outcome: What the concept should be independent of in the fit set; the labels or answers of the prompts unless said.
        guard: Whether fresh probes look for what is left.
        data: The prompts or pairs that it is fitted to, or their name in the plan.
        seed: The seed of the split into fitted and held out.
    """

    word: ClassVar[str] = "erase"
    labels: Any
    sites: SiteSpec = "resid_post"
    at: str = "@all"
    method: Literal["leace", "means"] = "leace"
    share: Share = 1.0
    outcome: Any = None
    guard: bool = True
    data: Any = field(default=None, metadata=DATA)
    seed: Seed = 0

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse sites that the model does not have, and labels that the data do not have."""
        able = abilities(desk.model)
        all_of(
            lambda: able.require(expand(self.sites, able.shape)),
            lambda: require_positions(self.at, prompts),
        )
        if self.data is not None:
            self._erasing(desk).cost(desk.model, self.data)

    def made(self, desk: Desk) -> Treatment:
        """Fit the erasure, and look for what is left of the concept."""
        data = self.require("data", "to which the erasure is fitted")
        erasure = self._erasing(desk).run(desk.model, data)
        notes = {**_biased(erasure), **(_left(desk, erasure) if self.guard and self.share == 1 else {})}
        return Treatment(tuple(_weakened(edit, self.share) for edit in erasure.edits), notes=notes)

    def _erasing(self, desk: Desk) -> Erasing:
        return Erasing(
            labels=self.labels, sites=self.sites, at=self.at, method=self.method, outcome=self.outcome,
            batch_size=desk.batch_size, seed=self.seed,
        )  # fmt: skip


def _biased(erasure: Erasure) -> dict[str, str]:
    """Return the note that concept and outcome go together in the fit set."""
    correlation = erasure.correlation
    if correlation is None or correlation.v <= BIASED:
        return {}
    return {
        "biased fit": f"{erasure.concept!r} and {correlation.outcome} are correlated in the fit set (Cramer's V "
        f"{correlation.v:.2f}), so erasing one takes the other along and may turn the effect around"
    }


def _left(desk: Desk, erasure: Erasure) -> dict[str, str]:
    """Return the note that probes still read the concept, where they do."""
    frame = Guarding(kinds=("logistic", "quadratic"), batch_size=desk.batch_size).run(desk.model, erasure).frame
    leaks = frame[frame["verdict"] == "leaks"]
    if not len(leaks):
        return {}
    worst = leaks.loc[leaks["value"].idxmax()]
    word = "leak" if "logistic" in set(leaks["kind"]) else "leak (nonlinear)"
    says = f"a {worst['kind']} probe reads {erasure.concept!r} at {worst['site']} with accuracy {worst['value']:.2f} after the erasure (guessing: {worst['guess']:.2f})"
    return {word: says}


def _weakened(edit: Edit, share: float) -> Edit:
    """Return an edit of which a share is made."""
    if share == 1 or not isinstance(edit.do, ErasingEdit):
        return edit
    left = tuple(tuple(share * part for part in row) for row in edit.do.left)
    return replace(edit, do=replace(edit.do, left=left))


@dataclass(frozen=True, kw_only=True)
class Steer(Mitigation):
    """Add a vector: so many lengths of the mean difference between the two sides of pairs.

    Attributes:
        site: Where: a stream such as `"L2.resid_post"`, or a head.
        dose: How much: 1 is the length of the mean difference, from the corrupt side to the clean one.
        vector: `"mean"`, `"probe"`, a feature, or the numbers themselves.
        at: At which positions it is added.
        read_at: Which position the vector is estimated at.
        data: The pairs that it is estimated on, or their name in the plan.
        seed: The seed of the probe.
    """

    word: ClassVar[str] = "steer"
    site: Text
    dose: Number = 1.0
    vector: VectorSpec = field(default="mean", metadata={"read": as_vector})
    at: str | None = None
    read_at: str = "@-1"
    data: Any = field(default=None, metadata=DATA)
    seed: Seed = 0

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse a site that the model does not have, and positions that no prompt has."""
        all_of(lambda: steered_site(desk.model, self.site), lambda: require_positions(self.at, prompts))

    def made(self, desk: Desk) -> Treatment:
        """Estimate the vector."""
        pairs = self.require("data", "on which the vector is estimated")
        if not isinstance(pairs, Contrast):
            raise ArgumentError(f"the edit {self.called!r} is estimated on pairs", got=f"a {type(pairs).__name__}")
        site = steered_site(desk.model, self.site)
        direction = direction_of(
            desk.model, pairs, site, self.vector, Selection.parse(self.read_at), desk.batch_size, self.seed
        )
        edit = Edit(site, Add(vector(direction.vector), float(self.dose)), Selection.parse(self.at))
        return Treatment((edit,))
