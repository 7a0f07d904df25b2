"""What mitigations are compared with: the model as it is, and edits of the same size at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from mechcausal.address import Selection, Site, expand, vector
from mechcausal.arguments import Count, Seed
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.ablating import Ablate, mean_of
from mechcausal.audits.mitigation.spec import Mitigation, Treatment, require_positions
from mechcausal.audits.sources import DATA
from mechcausal.data.places import SiteSpec
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, all_of, of_each
from mechcausal.interventions.specs import Edit, Erase, Project
from mechcausal.models.abilities import abilities


@dataclass(frozen=True, kw_only=True)
class Unchanged(Mitigation):
    """Leave the model as it is; everything else is compared with this."""

    word: ClassVar[str] = "none"

    def made(self, desk: Desk) -> Treatment:
        """Return nothing to do."""
        del desk
        return Treatment()


@dataclass(frozen=True, kw_only=True)
class RandomSites(Ablate):
    """Ablate as many heads, neurons or features as a mitigation does, drawn at random.

    Attributes:
        sites: Among which they are drawn: `"z"` for all heads, `"L2.resid_post.sae:NAME.F*"` for all features.
        n: How many.
        but: Sites that are not drawn: those of the mitigation.
        seed: The seed of the draw.
    """

    word: ClassVar[str] = "random_sites"
    control: ClassVar[bool] = True
    n: Count = 1
    but: SiteSpec | None = None
    seed: Seed = 0

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse sites that the model does not have, or of which there are too few."""
        ablated = super().require_fit
        all_of(lambda: ablated(desk, prompts), lambda: self._drawn(desk))

    def made(self, desk: Desk) -> Treatment:
        """Return the ablation of the sites that were drawn."""
        return Treatment(self.edits_of(desk, self._drawn(desk)))

    def _drawn(self, desk: Desk) -> list[Site]:
        shape = abilities(desk.model).shape
        named, left_out = of_each(lambda sites: [] if sites is None else expand(sites, shape), (self.sites, self.but))
        pool = [site for site in named if site not in left_out]
        if self.n > len(pool):
            raise ArgumentError("there are too few sites to draw from", got=len(pool), expected=f"at least {self.n}")
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(self.seed)).tolist()
        return sorted(pool[number] for number in order[: self.n])


@dataclass(frozen=True, kw_only=True)
class RandomDirections(Mitigation):
    """Take out as many directions as an erasure does, drawn at random.

    Attributes:
        sites: Where: a stream such as `"L2.resid_post"`, or several; each has directions of its own.
        at: At which positions.
        n: How many directions at each site.
        seed: The seed of the draw.
        data: The prompts or pairs whose mean stays, as it does when a concept is erased, or their name in the plan;
            without them all that lies along the directions is taken out, the mean too.
    """

    word: ClassVar[str] = "random_directions"
    control: ClassVar[bool] = True
    sites: SiteSpec
    at: str | None = None
    n: Count = 1
    seed: Seed = 0
    data: Any = field(default=None, metadata=DATA)

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse sites that the model does not have, and positions that no prompt has."""
        able = abilities(desk.model)
        all_of(
            lambda: able.require(expand(self.sites, able.shape)),
            lambda: require_positions(self.at, prompts),
        )

    def made(self, desk: Desk) -> Treatment:
        """Return projections that remove the directions that were drawn."""
        able = abilities(desk.model)
        sites = expand(self.sites, able.shape)
        able.require(sites)
        draw, at, edits = torch.Generator().manual_seed(self.seed), Selection.parse(self.at), []
        reference = None if self.data is None else self.require("data", "whose mean stays")
        means = {} if reference is None else mean_of(desk, sites, at, reference)
        for site in sites:
            width = able.shape_at(site)[-1]
            drawn = torch.randn(width, min(self.n, width), generator=draw, dtype=torch.float64)
            basis = tuple(map(vector, torch.linalg.qr(drawn).Q.T))
            mean = means.get(site)
            do = Erase(basis, basis, mean) if isinstance(mean, tuple) else Project(basis)
            edits.append(Edit(site, do, at))
        return Treatment(tuple(edits))
