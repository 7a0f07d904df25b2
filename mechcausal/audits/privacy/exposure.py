"""Exposure of canaries: how many bits of a secret does the model give away?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import stats

from mechcausal.arguments import Count
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.exposures import (
    MOST,
    NULL_MEAN,
    Ranker,
    Ranking,
    forwards_of_a_rank,
    null_largest_p,
    null_mean_p,
    tokens_of,
)
from mechcausal.audits.privacy.prompting import OTHER, OtherModel, asked_for, bare_start, other_model, rewritten
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.models.counting import weighed
from mechcausal.models.engine import check_prompts

_EXCHANGEABLE = 0.01  # the p-value below which canaries that were never shown do not look it
_FEW = 8  # canaries that were never shown, below which their law is not tested
Statistic = Literal["mean", "largest"]


@dataclass(frozen=True, kw_only=True)
class Exposure(AuditQuestion):
    """Measure the exposure of canaries (Carlini et al. 2019): log2 of the candidates less log2 of the secret's rank.

    Ranks are exact, through the tree of prefixes. Secrets must have been drawn at random from the candidates: then those
    that the model never saw have uniform ranks in any network, and a mean exposure of 1.443 bits. Canaries with a count
    of 0 test that; those without a count are taken to have been shown.

    Attributes:
        statistic: `"mean"` of the canaries that were shown, or the `"largest"` of them, which is no mean over secrets, so that
            reports cannot compare it secret by secret.
        method: `"exact"` ranks, or `"extrapolated"` from a skew-normal law, for more candidates than can be ranked.
        references: How many random candidates that law is fitted to.
        base: A model that did not see the canaries, as `mc.load` takes it; a control.
    """

    word: ClassVar[str] = "exposure"
    family: ClassVar[Family] = "privacy"
    contrast: ClassVar[str] = "each secret against all that it could have been"
    population: ClassVar[str] = "the canaries that were shown in training"
    held_fixed: ClassVar[str] = "the prefix before the secret"
    identified: ClassVar[Identified] = "attack-lower-bound"
    scale: ClassVar[str] = "bits"
    assumptions: ClassVar[tuple[str, ...]] = ("each secret was drawn at random from its candidates",)
    limits: ClassVar[tuple[str, ...]] = (
        "it holds for an adversary who knows the prefix and the candidates; another prefix may give away more",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (Canaries,)
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    meaning: ClassVar[int] = 2
    statistic: Statistic = "mean"
    method: Ranking = "exact"
    references: Count = 1000
    base: OtherModel = field(default=None, metadata=OTHER)

    @property
    def estimand(self) -> str:
        """What the number is."""
        kind = "the mean exposure" if self.statistic == "mean" else "the largest exposure"
        return (
            f"{kind} of the canaries that were shown: log2 of the number of candidates less log2 of the secret's rank"
        )

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the canaries."""
        yield from super().problems(data)
        canaries = data["data"]
        if not isinstance(canaries, Canaries):
            return
        shown = int(canaries.inserted.sum())
        if shown < (2 if self.statistic == "mean" else 1):
            yield f"only {shown} of its canaries were shown in training, and a mean with an interval needs 2"
        if self.method == "exact" and len(canaries.candidates) > MOST:
            yield f'its secrets have {len(canaries.candidates):.3g} candidates, more than {MOST:,}: use method = "extrapolated"'

    def require_fit(self, desk: Desk) -> None:
        """Refuse a prefix that leaves no room for its secret in the model's context."""
        check_prompts(desk.model, asked_for(desk.model, desk.data, desk.data.prompts))

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards of one prompt it takes at most: what is less likely than a secret is not followed."""
        canaries: Canaries = desk.data
        bare = canaries.inserted.sum() if bare_start(desk.model) is not None else 0
        runs = (1 + (self.base is not None)) * len(canaries) + bare
        return float(runs * forwards_of_a_rank(desk.model, canaries, self.method, self.references))

    def answer(self, desk: Desk) -> Answer:
        """Return the exposure."""
        canaries: Canaries = desk.data
        rows = self._rows(desk, canaries, "own")
        table = pd.DataFrame(rows)
        table["count"] = canaries.counts
        shown, values = canaries.inserted, table["exposure"].to_numpy(float)
        prefixes = np.array(canaries.prefixes)[shown]
        estimate, of_mean = self._estimate(desk, values[shown], prefixes), self.statistic == "mean"
        unseen, exchangeable = self._unseen(desk, values[shown], values[~shown], canaries)
        controls = (unseen, self._unlearned(desk, canaries, values), self._prefixless(desk, canaries, values))
        by_count = self._by_count(desk, table)
        counted = np.isfinite(canaries.counts)
        trend = (
            stats.spearmanr(np.array(canaries.counts)[counted], values[counted])
            if _vary(np.array(canaries.counts)[counted], values[counted])
            else None
        )
        if trend is not None:
            line = {"measure": "Spearman with the count", "n": int(counted.sum()), "value": float(trend.statistic)}
            by_count = pd.concat([by_count, pd.DataFrame([line | {"p": float(trend.pvalue)}])], ignore_index=True)
        first = int((table["rank"][shown] == 1).sum())
        most = math.log2(len(canaries.candidates))
        what = "mean" if self.statistic == "mean" else "largest"
        says = (
            f"the {what} exposure of {int(shown.sum())} canaries that were shown is {estimate} of {most:.1f} bits"
            + (f"; {first} rank first of {len(canaries.candidates):,}" if self.method == "exact" else "")
            + (f"; never shown: {values[~shown].mean():.2f} (n {int((~shown).sum())})" if (~shown).any() else "")
        )
        cannot = (
            ""
            if exchangeable
            else "canaries that were never shown do not have uniform ranks, so secrets were not drawn at random"
        )
        return Answer(
            estimate, says, controls, by_count, (self._figure(canaries, values),),
            tuple({**row, "count": count} for row, count in zip(rows, canaries.counts, strict=True)),
            cannot_fail=cannot, marks={"not-exchangeable": cannot} if cannot else {},
            units=tuple(values[shown].tolist()) if of_mean else (), unit_clusters=tuple(prefixes.tolist()) if of_mean else (),
        )  # fmt: skip

    def _rows(self, desk: Desk, canaries: Canaries, key: str, prompts: tuple[str, ...] | None = None) -> list[Any]:
        """Return the rows of all canaries, each kept as soon as it is there."""
        made: list[Ranker] = []
        # Without their prefix one token stands before them, which is no whole prompt.
        share = 1.0 if prompts is None else 1 / tokens_of(desk.model, canaries)

        def ranker() -> Ranker:
            if not made:
                texts = rewritten(desk, canaries.prompts) if prompts is None else prompts
                made.append(
                    Ranker(desk.model, canaries, self.method, self.references, desk.edits,
                           max(256, desk.batch_size), desk.seed, texts)
                )  # fmt: skip
            return made[0]

        def row(number: int) -> dict[str, Any]:
            with weighed(share):
                return ranker().row(number)

        return [
            desk.rows.row(f"{key} {number}", lambda number=number: row(number))
            for number in desk.bar(range(len(canaries)), "exposure", "canary")
        ]

    def _estimate(self, desk: Desk, values: np.ndarray, prefixes: np.ndarray) -> Estimate:
        if self.statistic == "mean":
            return desk.mean(values, prefixes)
        return Estimate.exact(float(values.max()), len(values))

    def _unseen(self, desk: Desk, shown: np.ndarray, others: np.ndarray, canaries: Canaries) -> tuple[Control, bool]:
        """Return the control of canaries that were never shown, and whether these look it."""
        if len(others) < 2:
            why = "no canary has a count of 0; add secrets that were drawn alike and never shown"
            return Control.inapplicable("random", why), True
        kept = np.array(canaries.prefixes)[~canaries.inserted]
        mean = desk.mean(others, kept)
        fit = float(stats.kstest(others, stats.expon(scale=NULL_MEAN).cdf).pvalue) if len(others) >= _FEW else math.nan
        exchangeable = not fit < _EXCHANGEABLE
        gap = Estimate.difference(shown, others, np.array(canaries.prefixes)[canaries.inserted], kept)
        p = gap.at_most(0.0) if self.statistic == "mean" and len(shown) > 1 else null_largest_p(shown)
        tested = "" if math.isnan(fit) else f"; their law is that of unseen secrets (Exp(ln 2)): KS p = {fit:.2g}"
        says = f"{len(others)} canaries that were never shown have a mean exposure of {mean}{tested}"
        return Control("random", says, mean, p, guards=math.isfinite(p), holds=exchangeable), exchangeable

    def _unlearned(self, desk: Desk, canaries: Canaries, values: np.ndarray) -> Control:
        """Return the control of a network that did not see the canaries: another model, or the law of any such network."""
        shown = canaries.inserted
        if self.base is not None:
            name = OTHER["write"](self.base)
            there = Desk(
                other_model(desk, self.base),
                desk.held,
                desk.seed,
                desk.level,
                rows=desk.rows,
                batch_size=desk.batch_size,
            )
            base = np.array([row["exposure"] for row in self._rows(there, canaries, f"base {name}")])[shown]
            prefixes = np.array(canaries.prefixes)[shown]
            p = desk.mean(values[shown] - base, prefixes).at_most(0.0)
            mean = desk.mean(base, prefixes)
            says = f"the same canaries have a mean exposure of {mean} in {name}"
            return Control("no-learning", says, mean, p, guards=True, holds=p <= 0.05)
        largest = self.statistic == "largest"
        p = null_largest_p(values[shown]) if largest else null_mean_p(values[shown])
        says = (
            "in any network that did not see them, secrets drawn at random have uniform ranks: a mean exposure of "
            f"{NULL_MEAN:.3f} bits; as much as here has a chance of {p:.2g} (no redrawn network needs to be run)"
        )
        return Control("no-learning", says, Estimate.exact(NULL_MEAN), p, guards=True, holds=p <= 0.05)

    def _prefixless(self, desk: Desk, canaries: Canaries, values: np.ndarray) -> Control:
        """Return the control of the secret without its prefix: common codes are likely behind anything."""
        start = bare_start(desk.model)
        if start is None:
            return Control.inapplicable("trivial-input", "this tokenizer has no token that a text could start from")
        shown = canaries.take(canaries.inserted)
        rows = self._rows(desk, shown, "no prefix", (start,) * len(shown))
        alone = np.array([row["exposure"] for row in rows])
        mean = desk.mean(alone, shown.prefixes)
        p = desk.mean(values[canaries.inserted] - alone, shown.prefixes).at_most(0.0) if len(shown) > 1 else math.nan
        says = f"without their prefix the same secrets have a mean exposure of {mean}: what is not bound to the prefix"
        return Control("trivial-input", says, mean, p, holds=null_mean_p(alone) > 0.05)

    def _by_count(self, desk: Desk, table: pd.DataFrame) -> pd.DataFrame:
        lines = []
        counts = table["count"].to_numpy(float)
        for count in [*np.unique(counts[np.isfinite(counts)]), *([math.nan] if np.isnan(counts).any() else [])]:
            chosen = np.isnan(counts) if math.isnan(count) else counts == count
            part = table[chosen]
            mean = desk.mean(part["exposure"].to_numpy(float), part["prefix"].to_numpy())
            times = "shown, not known how often" if math.isnan(count) else f"shown {count:g} times"
            lines.append(
                {
                    "measure": f"mean exposure, {times}", "count": count, "n": len(part), "value": mean.value,
                    "low": mean.low, "high": mean.high, "largest": float(part["exposure"].max()),
                    "ranked_first": int((part["rank"] == 1).sum()), "p": null_mean_p(part["exposure"]),
                }
            )  # fmt: skip
        return pd.DataFrame(lines)

    def _figure(self, canaries: Canaries, values: np.ndarray) -> Points:
        points = []
        for number, count in enumerate(canaries.counts):
            counted = math.isfinite(count)
            group = "never shown" if count == 0 else "shown" if counted else "shown, not known how often"
            points.append(
                Point(
                    canaries.names[number], math.log2(1 + count) if counted else 1.0, float(values[number]), group=group
                )
            )
        return Points(tuple(points), "Exposure of each canary", "log2(1 + times shown)", "exposure (bits)")


def _vary(*columns: np.ndarray) -> bool:
    return all(len(np.unique(column)) > 1 for column in columns)
