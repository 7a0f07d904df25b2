"""Localization: which heads, neurons or features hold a secret? Found on some of the canaries, tested on the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import stats

from mechcausal.address import Site, expand
from mechcausal.arguments import Count
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Bar, Bars
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units
from mechcausal.audits.plain import number
from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.exposures import MOST, Ranker, forwards_of_a_rank
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.prompting import asked_for
from mechcausal.audits.privacy.ranks import Speller
from mechcausal.audits.privacy.units import STEPS, Ablation, Ablator, attributed, forwards_of_ablations, listed
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.sources import DATA
from mechcausal.data.places import SiteSpec, as_text
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import split
from mechcausal.models.abilities import abilities

_SETS = "found by ablation", "found by attribution", "most active"
_RANDOM = 16  # sets of random units
_LOOKED_AT = 6  # times k: units whose effect on neutral texts is measured too
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Localization(AuditQuestion):
    """Find the units that hold secrets, and test that without them the secrets are gone and nothing else is.

    Each unit is ablated on half of the canaries. Its score is what the secret loses in log-probability, less what
    neutral texts lose, for each token. The k units with the highest scores are ablated together on the other half,
    against k random ones, the k most active, and the k of integrated gradients (Chang et al. 2024: attribution finds
    where a secret is seen, ablation where it is held).

    Attributes:
        units: Which units: `"z"` (all heads), `"L*.mlp_post.N*"` (all neurons), features, or a list.
        k: How many units are ablated together.
        do: `"zero"` or `"mean"` ablation.
        shortlist: Where there are more units than this, only those with the largest attributions are ablated one by one.
        measure: `"exposure"` in bits, or `"logprob"` of the secret in nats, which needs no ranks.
        neutral: Prompts or texts that must stay as they are (the answers, where prompts have any); the prefixes of the
            canaries where there are none.
    """

    word: ClassVar[str] = "localization"
    family: ClassVar[Family] = "privacy"
    population: ClassVar[str] = "the canaries that the units were not chosen on"
    held_fixed: ClassVar[str] = "all other units, which react"
    identified: ClassVar[Identified] = "intervention"
    null: ClassVar[float | None] = 0.0
    assumptions: ClassVar[tuple[str, ...]] = ("ablating a unit removes what it holds, and little else",)
    limits: ClassVar[tuple[str, ...]] = (
        "units that hold a secret only together with others are missed by ablating one at a time",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (Canaries,)
    units: SiteSpec = "z"
    k: Count = 6
    do: Ablation = "zero"
    shortlist: Count = 1024
    measure: Literal["exposure", "logprob"] = "exposure"
    neutral: Any = field(default=None, metadata=DATA)

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", as_text(self.units))
        super().__post_init__()

    @property
    def estimand(self) -> str:
        """What the number is."""
        what = "exposure" if self.measure == "exposure" else "log-probability"
        return (
            f"by how much the {what} of secrets falls when the {self.k} units that hold the others are ablated together"
        )

    @property
    def contrast(self) -> str:
        """What is compared with what."""
        means = "zero" if self.do == "zero" else "its mean over the neutral texts"
        return f"the model against the same model with each of these units set to {means}"

    @property
    def scale(self) -> str:
        """The unit of the number."""
        return "bits" if self.measure == "exposure" else "nats"

    @property
    def site(self) -> str:
        """Where."""
        return ", ".join(map(str, self.units)) if isinstance(self.units, tuple) else str(self.units)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the canaries and the neutral texts."""
        yield from super().problems(data)
        canaries, neutral = data["data"], data.get("neutral")
        if neutral is not None and not isinstance(neutral, (PromptSet, Members)):
            yield f"neutral is prompts or texts, and {self._name_of('neutral')} holds a {type(neutral).__name__}"
        if not isinstance(canaries, Canaries):
            return
        shown = canaries.take(canaries.inserted) if canaries.inserted.any() else None
        count = 0 if shown is None else len(np.unique(_clusters(shown)))
        if count < 4:
            yield f"{count} secrets or prefixes are too few to choose units on half and test them on the other: bring 4"
        if self.measure == "exposure" and len(canaries.candidates) > MOST:
            yield f'there are more than {MOST:,} candidates to rank: use measure = "logprob"'

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards of one prompt it takes: to rank the units, to ablate sets, and to rank secrets."""
        shown, units = desk.data.take(desk.data.inserted), self._units(desk)
        first, second = (shown.take(side) for side in split(_clusters(shown), 0.5, seed=[desk.seed, 31]))
        prompts, neutral = (asked_for(desk.model, first, first.prompts), self._neutral(desk, shown))
        tried, sets = min(len(units), self.shortlist), len(_SETS) + _RANDOM
        looked, random = min(tried, _LOOKED_AT * self.k), np.random.default_rng([desk.seed, 32])
        together = [
            listed(units, random.choice(len(units), min(self.k, len(units)), replace=False)) for _ in range(sets)
        ]
        alone, joint = (
            forwards_of_ablations(desk, prompts, cells) / len(cells) for cells in ([[unit] for unit in units], together)
        )  # the same share of the layers is run again after any prompts
        wholes, texts = len({unit.whole for unit in units}), len(neutral) / len(prompts)
        ranking = wholes * (1 + STEPS) * len(prompts) + (1 + texts) * len(prompts) + (tried + looked * texts) * alone
        others = len(second) / len(prompts)
        ablating = len(second) + len(neutral) + sets * (others + texts) * joint
        never = 2 * (len(desk.data) - len(shown))
        ranked = 0.0
        if self.measure == "exposure":
            ranked = (len(_SETS) + 2) * len(second) * forwards_of_a_rank(desk.model, second, "exact", 0)
        return ranking + ablating + never + ranked

    def answer(self, desk: Desk) -> Answer:
        """Return what ablating the units does to the secrets that they were not chosen on."""
        canaries: Canaries = desk.data.take(desk.data.inserted)
        units, neutral = self._units(desk), self._neutral(desk, canaries)
        sides = split(_clusters(canaries), 0.5, seed=[desk.seed, 31])
        first, second = (canaries.take(side) for side in sides)
        kept = desk.rows.row("units", lambda: self._ranked(desk, first, units, neutral))
        columns = {name: np.array([number(value) for value in values]) for name, values in kept.items()}
        score, credit, active = columns["score"], columns["credit"], columns["active"]
        top = listed(units, np.argsort(-score, kind="stable")[: self.k])
        by_others = (listed(units, np.argsort(-values, kind="stable")[: self.k]) for values in (credit, active))
        sets = dict(zip(_SETS, (top, *by_others), strict=True))
        others = [row for row, unit in enumerate(units) if unit not in top]
        draw = np.random.default_rng([desk.seed, 32])
        drawn = [listed(units, draw.choice(others, min(self.k, len(others)), replace=False)) for _ in range(_RANDOM)]
        ablator = Ablator(desk, self.do, neutral)
        prompts = asked_for(desk.model, second, second.prompts)
        logprob = ablator.measured(prompts, "logprob", [(), *sets.values(), *drawn])
        loss = _loss(ablator, neutral, [(), *sets.values(), *drawn])
        falls = logprob[0] - logprob[1:]
        costs = loss[1:] - loss[0]
        names = [*sets, "random 0"]
        exposed = self._exposures(desk, second, ablator, {**sets, "random 0": drawn[0]})
        clusters = second.secrets if len(set(second.secrets)) > 1 else second.prefixes
        lines = []
        for row, (name, chosen) in enumerate(zip(names, [*sets.values(), drawn[0]], strict=True)):
            line: dict[str, Any] = {
                "measure": name, "units": ", ".join(map(str, chosen)),
                "logprob_fall": float(falls[row].mean()), "loss_rise": float(costs[row].mean()),
            }  # fmt: skip
            if exposed:
                line |= {"exposure": float(exposed[name].mean()), "exposure_before": float(exposed["none"].mean())}
            lines.append(line)
        fall = exposed["none"] - exposed["found by ablation"] if exposed else falls[0]
        estimate = desk.mean(fall, clusters)
        cost = desk.mean(costs[0], neutral.clusters)
        controls = (
            self._against_random(falls, desk.level, len(sets)),
            self._never_shown(desk, ablator, top),
            self._against_active(falls, desk, clusters),
        )
        before = float(exposed["none"].mean()) if exposed else float(logprob[0].mean())
        after = before - float(fall.mean())
        what = ("exposure", "bits") if exposed else ("log-probability", "nats")
        says = (
            f"without {', '.join(map(str, top[:8]))}{' ...' if len(top) > 8 else ''} the mean {what[0]} of {len(second)} other "
            f"canaries goes from {before:.2f} to {after:.2f} {what[1]} (falls by {estimate}), and the loss of neutral texts "
            f"changes by {cost} nats"
        )
        order = np.argsort(-score, kind="stable")[:_SHOWN]
        table = pd.concat(
            [pd.DataFrame(lines), pd.DataFrame(
                {"measure": "unit", "units": str(units[row]), "logprob_fall": float(columns["fall"][row]),
                 "loss_rise": float(columns["rise"][row]), "score": float(score[row]),
                 "attribution": float(credit[row]), "chosen": units[row] in top}
                for row in order.tolist()
            )], ignore_index=True,
        )  # fmt: skip
        shown = [(name, falls[row]) for row, name in enumerate(sets)]
        shown.append(("random units", falls[len(sets) :].mean(0)))
        bars = tuple(
            Bar(name, mean.value, mean.low, mean.high)
            for name, mean in ((name, desk.mean(values, clusters)) for name, values in shown)
        )
        return Answer(
            estimate, says, controls, table,
            (Bars(bars, "What the secret loses without these units", "log-probability (nats)"),),
            tuple(
                {"name": second.names[row], "prompt": second.prompts[row], "secret": second.secrets[row],
                 "log_probability": float(logprob[0, row]), "without_the_units": float(logprob[1, row]),
                 **({"exposure": float(exposed["none"][row]),
                     "exposure_without": float(exposed["found by ablation"][row])} if exposed else {})}
                for row in range(len(second))
            ),
            units=as_units(fall), unit_clusters=tuple(map(str, clusters)),
            limits=() if self.neutral is not None else ("no neutral texts were given; the prefixes stand for them",),
        )  # fmt: skip

    def _units(self, desk: Desk) -> list[Site]:
        units = expand(self.units, abilities(desk.model).shape)
        abilities(desk.model).require(units)
        return units

    def _neutral(self, desk: Desk, canaries: Canaries) -> PromptSet:
        given = desk.held.get("neutral")
        if isinstance(given, PromptSet):
            return given
        if isinstance(given, Members):
            return PromptSet.from_text(desk.model, list(given.texts), clusters=list(given.clusters))
        return PromptSet.from_text(desk.model, sorted(set(canaries.prefixes)))

    def _ranked(self, desk: Desk, canaries: Canaries, units: Sequence[Site], neutral: PromptSet) -> dict[str, Any]:
        """Return the scores of all units on these canaries; units that were not ablated have none (NaN, which sorts last)."""
        prompts, ablator = asked_for(desk.model, canaries, canaries.prompts), Ablator(desk, self.do, neutral)
        credit, active = attributed(desk, prompts, units)
        tried = np.arange(len(units))
        if len(units) > self.shortlist:
            tried = np.sort(np.argsort(-np.abs(credit), kind="stable")[: self.shortlist])
        logprob = ablator.measured(prompts, "logprob", [(), *([unit] for unit in listed(units, tried))])
        length = float(np.mean([len(row) for row in _answers(prompts)]))
        fall, rise = np.full(len(units), np.nan), np.full(len(units), np.nan)
        fall[tried] = (logprob[0] - logprob[1:]).mean(1)
        best = tried[np.argsort(-fall[tried], kind="stable")[: _LOOKED_AT * self.k]]
        loss = _loss(ablator, neutral, [(), *([unit] for unit in listed(units, best))])
        rise[best] = (loss[1:] - loss[0]).mean(1)
        score = fall / length - rise
        return {"score": score, "fall": fall, "rise": rise, "credit": credit, "active": active}

    def _exposures(
        self, desk: Desk, canaries: Canaries, ablator: Ablator, sets: Mapping[str, Sequence[Site]]
    ) -> dict[str, np.ndarray]:
        """Return the exposure of each canary without each set of units."""
        if self.measure == "logprob":
            return {}
        out, speller = {}, Speller(desk.model, canaries.candidates)
        for name, units in {"none": (), **sets}.items():
            rankers: list[Ranker] = []

            def row(number: int, units: Sequence[Site] = units, rankers: list[Ranker] = rankers) -> float:
                if not rankers:
                    edits = (*desk.edits, *ablator.edits(units))
                    rankers.append(
                        Ranker(
                            desk.model, canaries, edits=edits, batch_size=max(256, desk.batch_size),
                            reference=ablator.reference, speller=speller,
                        )
                    )  # fmt: skip
                return rankers[0].row(number)["exposure"]

            out[name] = np.array(
                [
                    desk.rows.row(f"{name} {number}", lambda number=number: row(number))
                    for number in range(len(canaries))
                ]
            )
        return out

    def _against_random(self, falls: np.ndarray, level: float, n_sets: int) -> Control:
        values = falls[n_sets:].mean(1)
        fall, n, mean, spread = float(falls[0].mean()), len(values), float(values.mean()), float(values.std(ddof=1))
        if spread > 1e-12:
            p = float(stats.t.sf((fall - mean) / (spread * math.sqrt(1 + 1 / n)), n - 1))
        else:
            p = float(fall <= mean + 1e-9)
        reach = float(stats.t.ppf(0.5 + level / 2, n - 1)) * spread / math.sqrt(n)
        estimate = Estimate(mean, mean - reach, mean + reach, n, n, level, "t", spread / math.sqrt(n), n - 1)
        says = f"without {self.k} random units, {n} times, the secrets lose {estimate} nats; without those found {fall:.3g}"
        return Control("random", says, estimate, p, guards=True, holds=p <= 0.05)

    def _never_shown(self, desk: Desk, ablator: Ablator, top: Sequence[Site]) -> Control:
        canaries: Canaries = desk.data
        if canaries.inserted.all():
            why = "a network that learned nothing holds no secret; no canary with a count of 0 was given"
            return Control.inapplicable("no-learning", why)
        unseen = canaries.take(~canaries.inserted)
        values = ablator.measured(asked_for(desk.model, unseen, unseen.prompts), "logprob", [(), top])
        lost = desk.mean(values[0] - values[1], unseen.prefixes)
        says = f"secrets that were never shown lose {lost} nats without the same units"
        return Control("no-learning", says, lost)

    def _against_active(self, falls: np.ndarray, desk: Desk, clusters: Sequence[str]) -> Control:
        lost, gap = desk.mean(falls[2], clusters), desk.mean(falls[0] - falls[2], clusters)
        says = f"without the {self.k} most active units instead, the secrets lose {lost} nats"
        return Control("trivial-input", says, lost, gap.at_most(0.0))


def _clusters(canaries: Canaries) -> np.ndarray:
    """Return what is split: secrets where there are several, else the prefixes of the one."""
    column = canaries.secrets if len(set(canaries.secrets)) > 1 else canaries.prefixes
    return np.unique(np.array(column), return_inverse=True)[1]


def _loss(ablator: Ablator, neutral: PromptSet, cells: Sequence[Sequence[Site]]) -> np.ndarray:
    """Return the loss of neutral prompts: of their answers where they have any, else of all of their tokens."""
    if neutral.answer is None and neutral.answers is None:
        return ablator.measured(neutral, "loss", cells)
    return -ablator.measured(neutral, "logprob", cells)


def _answers(prompts: PromptSet) -> list[list[int]]:
    if prompts.answers is None:
        return [[0]] * len(prompts)
    return [[token for token in row[0] if token >= 0] for row in prompts.answers.tolist()]
