"""Ablate or clamp heads, neurons and features, or what one part adds to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site, Vector, expand, vector
from mechcausal.arguments import Number, Share, Text
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.spec import Mitigation, Treatment, require_positions
from mechcausal.audits.sources import DATA, digest_of
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import SiteSpec
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, SiteError, all_of, of_each
from mechcausal.interventions.specs import Add, Edit, Scale, Set
from mechcausal.metrics import Metric
from mechcausal.models.abilities import abilities
from mechcausal.patching.reading import Reading


@dataclass(frozen=True, kw_only=True)
class Ablate(Mitigation):
    """Set heads, neurons, features or whole activations to their mean, to zero, or to a number (clamping).

    Attributes:
        sites: What: `"L1.z.H2"`, `"L2.resid_post.sae:NAME.F17"`, or a list of these.
        at: At which positions; all of them unless said.
        to: What they are set to: `"mean"`, `"zero"`, or a number.
        share: How far they are moved there: 0 leaves them, 1 is the ablation.
        data: The prompts or pairs that means are taken over, or their name in the plan.
    """

    word: ClassVar[str] = "ablate"
    sites: SiteSpec
    at: str | None = None
    to: Literal["mean", "zero"] | Number = "mean"
    share: Share = 1.0
    data: Any = field(default=None, metadata=DATA)

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse sites that the model does not have, and positions that no prompt has."""
        able = abilities(desk.model)
        all_of(
            lambda: able.require(expand(self.sites, able.shape)),
            lambda: require_positions(self.at, prompts),
        )

    def made(self, desk: Desk) -> Treatment:
        """Return edits that set the sites to numbers."""
        return Treatment(self.edits_of(desk, expand(self.sites, abilities(desk.model).shape)))

    def edits_of(self, desk: Desk, sites: Sequence[Site]) -> tuple[Edit, ...]:
        """Return the edits of some sites."""
        at = Selection.parse(self.at)
        abilities(desk.model).require(sites)
        if self.to == "mean":
            means = mean_of(desk, sites, at, self.require("data", "over which the mean is taken"))
            edits = [Edit(site, Set(means[site]), at) for site in sites]
        else:
            edits = [Edit(site, Set(0.0 if self.to == "zero" else float(self.to)), at) for site in sites]
        return tuple(part for edit in edits for part in self._part(edit))

    def _part(self, edit: Edit) -> list[Edit]:
        """Return the edits that go a share of the way: x + share (value - x)."""
        if self.share == 1:
            return [edit]
        assert isinstance(edit.do, Set)
        value = edit.do.value
        return [replace(edit, do=Scale(1 - self.share)), replace(edit, do=Add(value, self.share))]


def mean_of(
    desk: Desk, sites: Sequence[Site], at: Selection, reference: PromptSet | Contrast
) -> dict[Site, float | Vector]:
    """Return the mean of each site over prompts (of pairs, both sides) and over the positions that are selected.

    Args:
        desk: The desk of the model as it is.
        sites: Heads, neurons, features or whole activations.
        at: The positions.
        reference: The prompts or pairs.
    """
    sides = [reference.clean, reference.corrupt] if isinstance(reference, Contrast) else [reference]
    if any(site.component == "pattern" for site in sites):
        raise SiteError("an attention pattern has no mean that fits every prompt", fix="ablate z instead")
    parts: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for side in sides:
        run = Reading(sites=list(map(str, sites)), at=str(at), batch_size=desk.batch_size).run(desk.model, side)
        for site in sites:
            value = run[site].double()
            one_number = site.unit is not None
            flat = value.reshape(-1) if one_number else value.reshape(-1, value.shape[-1])
            parts[site].append(flat[torch.isfinite(flat if one_number else flat[:, 0])])
    means = {site: torch.cat(pieces).mean(0) for site, pieces in parts.items()}
    return {site: float(mean) if mean.ndim == 0 else vector(mean) for site, mean in means.items()}


@dataclass(frozen=True, kw_only=True)
class MeanPath(Mitigation):
    """Let one receiver read the mean of what a sender adds, while everything else reads what it adds now.

    Attributes:
        sender: What writes to the stream: a head (`"L1.z.H2"`), `"L2.mlp_out"` or `"embed"`.
        receiver: What reads it: `"L2.mlp_out"`, the query, key or value of a head (`"L3.q.H1"`), or `"logits"`.
        data: The prompts or pairs that the mean is taken over, or their name in the plan.
    """

    word: ClassVar[str] = "mean_path"
    sender: Text
    receiver: Text
    data: Any = field(default=None, metadata=DATA)

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse a path that the model does not have."""
        self._edge(desk)

    def made(self, desk: Desk) -> Treatment:
        """Return what runs prompts without the path."""
        return Treatment(runner=WithoutPath(*self._edge(desk), self.require("data", "over which the mean is taken")))

    def _edge(self, desk: Desk) -> tuple[int, int]:
        """Return the numbers of the sender and the receiver."""
        wiring = Wiring.of(abilities(desk.model))
        ends = ((wiring.sender, self.sender), (wiring.receiver, self.receiver))
        sender, receiver = of_each(lambda end: end[0](end[1]), ends)
        if not wiring.possible[sender, receiver]:
            raise SiteError(f"no path leads from {self.sender} to {self.receiver}", fix="choose a later receiver")
        return sender, receiver


@dataclass(frozen=True)
class WithoutPath:
    """Run prompts with one edge that carries its mean.

    Attributes:
        sender: The number of the sender in the wiring.
        receiver: The number of the receiver.
        reference: The prompts that the mean is taken over.
    """

    sender: int
    receiver: int
    reference: PromptSet | Contrast

    @property
    def key(self) -> str:
        """What it is, so that outcomes are remembered by it."""
        return f"without {self.sender} -> {self.receiver}, mean of {digest_of(self.reference)}"

    def __call__(self, desk: Desk, prompts: PromptSet, metric: Metric) -> np.ndarray:
        """Return the metric of every prompt."""
        if desk.edits:
            raise ArgumentError("a path is not ablated together with edits", fix="compare them one by one")
        if metric.compares:
            raise ArgumentError(f"the metric {metric.name!r} is not measured with a path ablated")
        runs = Masked(
            desk.model, _beside_others(prompts), metric, "mean", reference=self.reference, batch_size=desk.batch_size
        )
        kept = np.ones(runs.shape)
        kept[self.sender, self.receiver] = 0
        return runs.metric(kept)


def _beside_others(prompts: PromptSet) -> Contrast:
    """Return the prompts as the clean side of pairs: edges take two sides, and the mean does not look at the other."""
    rows = [row[-1:] + row[:-1] for row in prompts.real_tokens]
    tokens = prompts.tokens.clone()
    for number, row in enumerate(rows):
        tokens[number][prompts.mask[number]] = torch.tensor(row, device=tokens.device)
    return Contrast(prompts, replace(prompts, tokens=tokens), "nothing")
