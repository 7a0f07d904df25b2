"""The runs behind mediation, a few mediators at a time so that they survive, and the effects that they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from mechcausal.address import Place, Site
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.journal import digest
from mechcausal.causal.mediation.mediate import EFFECTS, effects_of, mediate
from mechcausal.causal.mediation.mediators import Mediator, mediators_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import bound
from mechcausal.results.multiplicity import benjamini_hochberg, max_t, t_test

Scale = Literal["log_odds", "odds_ratio"]
_AT_A_TIME = 16  # mediators that are measured before their numbers are written down
_MUCH = 0.2  # of the effect at a place; with more in the error, the features say too little
_ROUNDING = 1e-6  # of the largest outcome: a difference in the last digits repeats, and would pass for a finding


@dataclass(frozen=True)
class Mediated:
    """The outcomes of mediation, [mediator example], on a scale.

    Attributes:
        mediators: The mediators.
        high: The log-odds of every clean prompt.
        low: The log-odds of every corrupt prompt.
        through: The log-odds of the corrupt prompts with each mediator as in the clean ones.
        past: The log-odds of the clean prompts with each mediator as in the corrupt ones.
        clusters: The cluster of every pair.
        scale: The scale that effects are on.
    """

    mediators: tuple[Mediator, ...]
    high: np.ndarray
    low: np.ndarray
    through: np.ndarray
    past: np.ndarray
    clusters: tuple[str, ...]
    scale: Scale = "log_odds"

    @cached_property
    def effects(self) -> dict[str, np.ndarray]:
        """The effects of every pair, by name."""
        if self.scale == "log_odds":
            return effects_of(self.high, self.low, self.through, self.past)
        return ratio_effects(self.high, self.low, self.through, self.past)

    @property
    def te(self) -> np.ndarray:
        """The total effect of every pair."""
        return self.high - self.low if self.scale == "log_odds" else np.expm1(self.high - self.low)

    @property
    def nie_total(self) -> np.ndarray:
        """The total indirect effect, [mediator example]."""
        return self.effects["nie_total"]

    def rows(self, level: float = 0.95) -> list[dict[str, Any]]:
        """Return a row with all effects and their intervals for each mediator."""
        rows = []
        for number, mediator in enumerate(self.mediators):
            sites = " + ".join(dict.fromkeys(str(part.site) for part in mediator.parts))
            row: dict[str, Any] = {"mediator": mediator.name, "site": sites}
            for name in EFFECTS:
                estimate = Estimate.mean(self.effects[name][number], self.clusters, level)
                row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            share = Estimate.ratio(self.nie_total[number], self.effects["te"][number], self.clusters, level)
            rows.append(row | {"proportion": share.value, "proportion_low": share.low, "proportion_high": share.high})
        return rows

    def tested(self, seed: int) -> dict[str, np.ndarray]:
        """Return `p`, `q` and `p_max` of "the total indirect effect is zero"; the mediators are the family."""
        floor = _ROUNDING * max(float(np.abs(side).max()) for side in (self.high, self.low))
        kept = np.where(np.abs(self.nie_total) <= floor, 0.0, self.nie_total)
        p = t_test(kept, self.clusters)[1]
        return {"p": p, "q": benjamini_hochberg(p), "p_max": max_t(kept, self.clusters, seed=seed)}


def ratio_effects(high: np.ndarray, low: np.ndarray, through: np.ndarray, past: np.ndarray) -> dict[str, np.ndarray]:
    """Return effects on the scale of Vig et al. (2020), odds over those of the base run, from log-odds.

    TE = y(x') / y(x) - 1, NIE = y(x, M(x')) / y(x) - 1, NDE = y(x', M(x)) / y(x) - 1, with x the low world. What NIE and NDE
    leave of TE is the interaction; on this scale it is not zero where the log-odds add up.
    """
    return effects_of(np.exp(high - low), np.ones_like(low), np.exp(through - low), np.exp(past - low))


def mediated(
    desk: Desk, pairs: Contrast, what: Any, at: Positions, name: str, *, scale: Scale = "log_odds",  # noqa: ANN401
) -> Mediated:  # fmt: skip
    """Run mediation, a few mediators at a time, each few a row that survives.

    Args:
        desk: The desk.
        pairs: The pairs.
        what: Mediators as `mediate` takes them, or a list of `Mediator`.
        at: Where, for sites that do not say it.
        name: What these are, to tell their rows from others.
        scale: The scale that effects are on.
    """
    given = isinstance(what, list) and bool(what) and isinstance(what[0], Mediator)
    chosen = what if given else mediators_of(what, at, abilities(desk.model), pairs.clean)
    parts = [chosen[start : start + _AT_A_TIME] for start in range(0, len(chosen), _AT_A_TIME)]

    def run(few: Sequence[Mediator]) -> dict[str, Any]:
        named = {mediator.name: list(mediator.parts) for mediator in few}
        result = mediate(desk.model, pairs, named, metric=desk.outcome, batch_size=desk.batch_size, seed=desk.seed)
        base = result.baselines
        return {"high": base["clean"], "low": base["corrupt"], "through": result.examples, "past": base["reversed"]}

    def key(few: Sequence[Mediator]) -> tuple[str, ...]:
        return ("mediated", pairs.hash, *(f"{m.name} {[part.to_json() for part in m.parts]}" for m in few))

    runs = []
    for few in desk.bar(parts, f"mediation, {name}", "batch"):
        runs.append(
            desk.once(key(few), lambda few=few: desk.rows.row(f"{name} {digest(*key(few))}", lambda few=few: run(few)))
        )
    first = runs[0]
    through, past = (
        np.concatenate([np.array(each[side], dtype=float) for each in runs]) for side in ("through", "past")
    )
    high, low = (np.array(first[side], dtype=float) for side in ("high", "low"))
    return Mediated(tuple(chosen), high, low, through, past, pairs.clean.clusters, scale)


def forwards_of_mediation(mediators: int, pairs: int) -> int:
    """Return how many prompts `mediated` runs: both sides of the pairs for every few mediators, and two for each."""
    return (2 * math.ceil(mediators / _AT_A_TIME) + 2 * mediators) * pairs


@dataclass(frozen=True)
class LeftOut:
    """What the error of a dictionary carries of the effect at its place.

    Attributes:
        dictionary: The dictionary.
        share: The share of the effect there that passes through the error.
        rows: The error and the whole activation as rows of the table.
    """

    dictionary: str
    share: Estimate
    rows: pd.DataFrame

    @property
    def carries_much(self) -> bool:
        """Whether its features cannot be judged."""
        return bool(abs(self.share.value) > _MUCH)

    @property
    def says(self) -> str:
        """What was found, in a sentence."""
        return (
            f"the error of the dictionary {self.dictionary!r} carries {self.share.value:.0%} of the effect at its place"
        )


def incomplete(desk: Desk, pairs: Contrast, mediators: Sequence[Mediator], scale: Scale) -> list[LeftOut]:
    """Return for each dictionary whose features are mediators what its error carries."""
    out = []
    for dictionary, at in dict.fromkeys(
        (part.site.dictionary, part.at)
        for mediator in mediators
        for part in mediator.parts
        if part.site.dictionary is not None and part.site.feature is not None
    ):
        assert dictionary is not None
        binding = bound(desk.model, dictionary)
        if binding.site_out is not None:
            continue  # a transcoder writes elsewhere than it reads, so it has no error at one place
        place = binding.site
        error = Site(place.component, place.layer, dictionary=dictionary, error=True)
        both = [
            Mediator(f"error of {dictionary}", (Place(error, at),)),
            Mediator(f"{place} as a whole", (Place(place, at),)),
        ]
        measured = mediated(desk, pairs, both, None, f"error of {dictionary}", scale=scale)
        share = Estimate.ratio(*measured.nie_total, pairs.clean.clusters, desk.level)
        out.append(LeftOut(dictionary, share, pd.DataFrame(measured.rows(desk.level))))
    return out
