"""Mediation: how much of the effect of a protected attribute there is, and which parts of the network carry it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Count
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.controls import (
    cluster_problem,
    detectable,
    drawn_places,
    embedding_alone,
    forwards_of_controls,
    halves,
    unclear,
)
from mechcausal.audits.fairness.mediated import Mediated, forwards_of_mediation, incomplete, mediated
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_ratio
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.redrawn import redrawn_effect
from mechcausal.causal.fields import read_places
from mechcausal.causal.mediation.mediators import Mediator, joint
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions
from mechcausal.errors import all_of
from mechcausal.models.abilities import abilities
from mechcausal.results.charts import Bar, Bars, bar_chart

_RANDOM_SETS = 4  # sets of random sites that declared mediators are compared with
_SHOWN = {"nde": "direct", "nie_pure": "indirect (pure)", "interaction": "interaction"}


@dataclass(frozen=True, kw_only=True)
class Mediation(AuditQuestion):
    """Split the effect of the attribute into what passes through each part of the network and what goes past it.

    The estimate is the mean total effect, or, where mediators are declared with `through`, the share of it that passes
    through them together: 1 if all of it does, 0 if nothing does, negative where they work against it. The table has total,
    natural direct, pure and total indirect effect and the interaction of every mediator (Vig et al. 2020; Pearl 2001).

    Attributes:
        mediators: Sites or patterns of sites, one mediator each: heads (`"z"`), MLPs (`"mlp_out"`), neurons, features.
        through: Sites that mediate together, of which the share of the total effect is the estimate.
        at: Where, for sites that do not say it.
        units: `"log_odds"`, on which effects add up, or `"odds_ratio"`, the scale of Vig et al.: y(x') / y(x) - 1.
        correction: How the p-values of the table are adjusted: `"max-t"`, `"bh"`, or `"auto"`: Benjamini-Hochberg where there
            are neurons or features, else max-T.
        most: How many mediators are shown in the figure.
    """

    word: ClassVar[str] = "mediation"
    family: ClassVar[Family] = "fairness"
    contrast: ClassVar[str] = "each prompt against its counterpart, in the parts named and past them"
    population: ClassVar[str] = "pairs like those in the data"
    identified: ClassVar[Identified] = "intervention"
    assumptions: ClassVar[tuple[str, ...]] = ("the factor acts through the swapped words alone",)
    limits: ClassVar[tuple[str, ...]] = ("indirect effects of several mediators overlap and need not add up",)
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    under_edits: ClassVar[bool] = False
    reads_outcome: ClassVar[bool] = True
    better: ClassVar[Literal["low", "high", "zero"]] = "zero"
    null: ClassVar[float | None] = 0.0
    mediators: Any = field(default="z", metadata={"read": read_places})
    through: Any = field(default=None, metadata={"read": read_places})
    at: Positions = None
    units: Literal["log_odds", "odds_ratio"] = "log_odds"
    correction: Literal["auto", "max-t", "bh"] = "auto"
    most: Count = 12

    @property
    def estimand(self) -> str:
        """What the estimate is."""
        if self.through is not None:
            return "the share of the total effect of the factor that passes through the declared mediators"
        return "the mean total effect of the factor on the outcome"

    @property
    def held_fixed(self) -> str:
        """What is held fixed."""
        return "every other word; for a direct effect, the mediator as it is in the other prompt of the pair"

    @property
    def scale(self) -> str:
        """The unit of the estimate."""
        if self.through is not None:
            return "share of the total effect"
        return "log-odds" if self.units == "log_odds" else "odds ratio - 1"

    @property
    def site(self) -> str:
        """Where."""
        return str(self.mediators if self.through is None else self.through)

    def answer(self, desk: Desk) -> Answer:
        """Return the effects."""
        pairs: Contrast = desk.data
        able = abilities(desk.model)
        declared = () if self.through is None else joint(self.through, able, self.at)
        swept = mediated(desk, pairs, self.mediators, self.at, "swept", scale=self.units)
        clusters = pairs.clean.clusters
        total = desk.mean(swept.te, clusters)
        table, family = self._table(swept, desk)
        errors = incomplete(desk, pairs, [*swept.mediators, Mediator("declared", declared)], self.units)
        table = pd.concat([table, *(error.rows for error in errors)], ignore_index=True)
        top, top_says = self._top(desk, pairs, swept)
        share, units = Estimate(float("nan")), tuple(map(float, swept.te))
        random = top
        if declared:
            together = mediated(
                desk, pairs, [Mediator("declared mediators", declared)], None, "declared", scale=self.units
            )
            table = pd.concat([self._rows(together, desk), table], ignore_index=True)
            share = Estimate.ratio(together.nie_total[0], together.te, clusters, desk.level)
            units = as_units(of_ratio(together.nie_total[0], together.te))
            random = self._random_sites(desk, pairs, declared, together)
        controls = (
            random,
            redrawn_effect(desk, pairs, swept.high, swept.low),
            embedding_alone(desk, pairs),
        )
        estimate = share if declared else total
        much = [error.says for error in errors if error.carries_much]
        marks = {"sae-incomplete": "; ".join(much)} if much else {}
        named = {place.site.dictionary for place in declared} - {None}
        judged_by_features = any(error.carries_much and error.dictionary in named for error in errors)
        cannot_fail = unclear(total) if declared else ""
        if judged_by_features:
            cannot_fail = (
                "the error of a dictionary carries more than a fifth of the effect, so its features cannot be judged"
            )
        return Answer(
            estimate, self._says(total, share, bool(declared), top_says), controls, table,
            (self._figure(table, swept, family),), self._examples(pairs, swept), n_tests=len(swept.mediators),
            dropped=tuple(pairs.dropped), marks=marks, cannot_fail=cannot_fail,
            limits=() if top_says else ("there are too few clusters to choose a mediator on one half and measure it on the other",),
            smallest_detectable=detectable(estimate), units=units, unit_clusters=tuple(clusters),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards it takes, with one mediator for each part of the model that is named."""
        from mechcausal.causal.mediation.mediate import Mediating

        asked = Mediating(mediators=self.mediators, at=self.at, metric=desk.outcome).cost(desk.model, desk.data)
        rows = round(asked.forwards) // (2 + 2 * asked.cells)
        swept, declared = forwards_of_mediation(asked.cells, rows), 0
        if self.through is not None:
            declared = sum(forwards_of_mediation(count, rows) for count in (1, _RANDOM_SETS))
        return swept + declared + forwards_of_controls(desk, desk.data)

    def require_fit(self, desk: Desk) -> None:
        """Refuse mediators that the model does not have."""
        able = abilities(desk.model)
        through = () if self.through is None else self.through
        all_of(
            lambda: self.forwards(desk),
            lambda: through and able.require([place.site for place in joint(through, able, self.at)]),
        )

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs."""
        yield from super().problems(data)
        if problem := cluster_problem(data["data"]):
            yield problem

    def _says(self, total: Estimate, share: Estimate, declared: bool, top: str) -> str:
        unit = "log-odds" if self.units == "log_odds" else "odds ratio"
        says = f"the total effect on the {unit} is {total}"
        if declared:
            low, high = (f"{end:.0%}" for end in (share.low, share.high))
            return f"{share.value:.0%} [{low}, {high}] of the effect passes through the declared mediators; {says}"
        return f"{says}; {top}" if top else says

    def _by_features(self, swept: Mediated) -> bool:
        sites = [part.site for mediator in swept.mediators for part in mediator.parts]
        return any(site.neuron is not None or site.feature is not None for site in sites)

    def _table(self, swept: Mediated, desk: Desk) -> tuple[pd.DataFrame, str]:
        by_features = self._by_features(swept)
        chosen = ("bh" if by_features else "max-t") if self.correction == "auto" else self.correction
        table = self._rows(swept, desk)
        tests = swept.tested(desk.seed)
        table = table.assign(**tests, adjusted=tests["p_max" if chosen == "max-t" else "q"])
        return table, chosen

    @staticmethod
    def _rows(measured: Mediated, desk: Desk) -> pd.DataFrame:
        return pd.DataFrame(measured.rows(desk.level))

    def _top(self, desk: Desk, pairs: Contrast, swept: Mediated) -> tuple[Control, str]:
        """Choose the mediator that carries most on one half, and measure it on the other, beside a random one."""
        sides = halves(desk, pairs)
        if sides is None or len(swept.mediators) < 2:
            why = "there is one mediator" if len(swept.mediators) < 2 else "too few clusters to choose on one half"
            return Control.inapplicable("random", f"no mediator is compared with a random one: {why}"), ""
        first, second = sides
        means = np.nan_to_num(np.nanmean(swept.nie_total[:, first], axis=1))
        best = int(np.abs(means).argmax())
        sign = 1.0 if means[best] >= 0 else -1.0
        names = tuple(np.asarray(pairs.clean.clusters)[second]) if pairs.clean.clusters else ()
        own = swept.nie_total[best, second]
        others = sign * np.nanmean(np.delete(swept.nie_total[:, second], best, axis=0), axis=0)
        top, other = desk.mean(own, names), desk.mean(others, names)
        beyond = desk.mean(sign * own - others, names).at_most(0.0)
        name = swept.mediators[best].name
        says = f"a mediator drawn at random carries {other} on the other half, where {name} carries {top}"
        return (
            Control("random", says, other, beyond, holds=beyond <= 0.05),
            f"{name}, chosen on one half of the clusters, carries {top} on the other",
        )

    def _random_sites(self, desk: Desk, pairs: Contrast, declared: Any, together: Mediated) -> Control:  # noqa: ANN401
        """Compare the declared mediators with as many sites of their kind, drawn at random."""
        sets = drawn_places(desk, declared, _RANDOM_SETS)
        if not sets:
            return Control.inapplicable("random", "the model has too few other sites of this kind to draw from")
        drawn = mediated(
            desk, pairs, [Mediator(f"random set {number}", parts) for number, parts in enumerate(sets)], None, "random",
            scale=self.units,
        )  # fmt: skip
        average = drawn.nie_total.mean(0)
        estimate = Estimate.ratio(average, together.te, pairs.clean.clusters, desk.level)
        beyond = Estimate.ratio(together.nie_total[0] - average, together.te, pairs.clean.clusters).at_most(0.0)
        says = f"{len(sets)} random sets of as many sites of the same kind carry {estimate.value:.1%} of the effect on average"
        return Control("random", says, estimate, beyond, holds=beyond <= 0.05)

    def _figure(self, table: pd.DataFrame, swept: Mediated, family: str) -> Bars:
        shown = table["nie_total"].abs().sort_values(ascending=False, kind="stable").index[: self.most]
        rows = [
            Bar(str(row["mediator"]), row[name], row[f"{name}_low"], row[f"{name}_high"], word)
            for _, row in table.loc[shown].iterrows()
            for name, word in _SHOWN.items()
        ]
        title = f"Effects past and through each of {len(swept.mediators)} mediators (adjusted by {family})"
        return bar_chart(rows, title, f"effect ({'log-odds' if self.units == 'log_odds' else 'odds ratio'})")

    @staticmethod
    def _examples(pairs: Contrast, swept: Mediated) -> tuple[dict[str, Any], ...]:
        texts = [side.texts or ("",) * len(pairs) for side in (pairs.clean, pairs.corrupt)]
        return tuple(
            {
                "pair": number, "clean": texts[0][number], "corrupt": texts[1][number],
                "clean_log_odds": float(swept.high[number]), "corrupt_log_odds": float(swept.low[number]),
            }
            for number in range(len(pairs))
        )  # fmt: skip
