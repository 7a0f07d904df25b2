"""Group gaps: how much rates of decisions differ between groups, and which gaps cannot be closed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from mechcausal.arguments import Count, Number
from mechcausal.audits.decisions import TOKENS, undecidable, unnamed
from mechcausal.audits.decisions import decisions as decided
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.controls import detectable
from mechcausal.audits.fairness.group_metrics import SMALLEST, TRUTHS, group_metrics, group_problem, zero_or_one
from mechcausal.audits.fairness.impossibility import forced, identity, picture, sentence
from mechcausal.audits.fairness.metric_frame import GroupMetrics
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import among, as_units
from mechcausal.audits.moved import forwards_with_odds
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.redrawn import MOST_PAIRS, on_two_scales, over_spread, some_of
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import FEWEST, cluster_numbers, split
from mechcausal.errors import DataError
from mechcausal.results.charts import Bar, Bars, bar_chart

Rate = Literal[
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "positive_predictive_value",
    "accuracy",
    "calibration",
]
_SHUFFLES = 199
_FEW_CLUSTERS = "with so few clusters the groups that lie farthest apart cannot be chosen on one half alone"
_BINS = 8  # of predicted chances, in the figure of calibration


@dataclass(frozen=True, kw_only=True)
class GroupGaps(AuditQuestion):
    """Compare the rates of decisions between groups: demographic parity, equal opportunity, predictive parity, calibration.

    The estimate is the size of the gap of two groups; of several groups, that of the two which lie farthest apart on one half
    of the clusters, measured on the other half. 0 is equality. The decision is the answer where the log-odds of answer
    against foil are above `cutoff`, or what a column of the prompts says.

    Attributes:
        metric: The rate whose gap is judged: `"selection_rate"` (demographic parity), `"true_positive_rate"`,
            `"false_positive_rate"`, `"positive_predictive_value"`, `"accuracy"` or `"calibration"`.
        group: The column or variable that holds the group of each prompt; its groups unless said.
        positive: The label that calls for the answer; a label of 1, or the text of the answer, unless said.
        decisions: A column that holds decisions that were made elsewhere (1 or 0); no model is asked then.
        against: Whether the log-odds of answer against foil decide, or (`"written"`) which of the two stands first in what the
            model writes.
        cutoff: The log-odds above which the answer is taken, against the foil.
        tokens: How many tokens are written at most, where decisions are written.
        smallest: A group with fewer prompts is refused.
    """

    word: ClassVar[str] = "group_gaps"
    family: ClassVar[Family] = "fairness"
    contrast: ClassVar[str] = "one group against another"
    held_fixed: ClassVar[str] = "nothing: groups may differ in whatever goes with them"
    population: ClassVar[str] = "prompts like those in the data, of the groups named"
    identified: ClassVar[Identified] = "descriptive"
    assumptions: ClassVar[tuple[str, ...]] = ("groups and labels are recorded rightly",)
    null: ClassVar[float | None] = 0.0
    limits: ClassVar[tuple[str, ...]] = (
        "a gap says nothing about its cause: groups may differ in what the decision is rightly about",
        "no gap on average does not exclude that single decisions depend on the group",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (PromptSet,)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    metric: Rate = "selection_rate"
    group: str = ""
    positive: str | None = None
    decisions: str | None = None
    against: Literal["foil", "written"] = "foil"
    cutoff: Number = 0.0
    tokens: Count = TOKENS
    smallest: Count = SMALLEST

    @property
    def reads_outcome(self) -> bool:
        """Whether the model decides."""
        return self.decisions is None

    @property
    def estimand(self) -> str:
        """What the estimate is."""
        return f"the difference in {self.metric.replace('_', ' ')} between two groups"

    @property
    def scale(self) -> str:
        """The unit of the estimate."""
        return "difference of two rates"

    def answer(self, desk: Desk) -> Answer:
        """Return the gaps."""
        prompts: PromptSet = desk.data
        metrics = self._metrics(desk, prompts)
        half, first, second, chosen = self._compared(metrics, desk.seed)
        gap = half.gap(self.metric, first, second)
        estimate, says, cannot_fail = self._judged(metrics, gap, (first, second), chosen)
        table, limits = self._by_group(metrics), ()
        figures: list[Any] = [self._bars(metrics)]
        if metrics.table["y_true"].notna().all():
            table = pd.concat([table, _between(metrics)], ignore_index=True)
            figures += [picture(metrics)]
            limits = (sentence(metrics),)
            if metrics.table["y_score"].notna().all():
                figures += [self._calibration(metrics)]
        units = self._units(half, first, second)
        marks = unnamed(desk, prompts, self.against, self.tokens) if self.decisions is None else {}
        controls = self._shuffled(metrics, desk.seed), self._redrawn(desk, prompts), self._perfect(metrics)
        return Answer(
            estimate, says, controls, table, tuple(figures),
            self._examples(prompts, metrics), limits=limits, marks=marks, cannot_fail=cannot_fail,
            smallest_detectable=detectable(estimate), units=units,
            unit_clusters=tuple(map(str, half.table["cluster"])) if units else (),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run at most, in the model and in networks with redrawn weights."""
        if self.decisions is not None:
            return 0.0
        prompts: PromptSet = desk.data
        asked = forwards_with_odds(desk, prompts, self.against, self.tokens)
        return asked + desk.networks * min(len(prompts), 2 * MOST_PAIRS)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the prompts."""
        yield from super().problems(data)
        prompts = data["data"]
        if not isinstance(prompts, PromptSet):
            return
        try:
            groups = column_of(prompts, self.group or "groups")
        except DataError as error:
            yield str(error)
            return
        if problem := group_problem(groups, None, self.smallest):
            yield problem
        if self.metric != "selection_rate" or prompts.labels:
            try:
                self._labels(prompts)
            except DataError as error:
                yield str(error)
        yield from self._problems_of_decisions(prompts)

    def _problems_of_decisions(self, prompts: PromptSet) -> Iterator[str]:
        if self.decisions is not None:
            try:
                zero_or_one(column_of(prompts, self.decisions), self.decisions)
            except DataError as error:
                yield str(error)
            return
        if prompts.answer is not None and len(prompts.answer.unique()) > 1:
            yield "its prompts have different answers, so that a decision does not mean the same in all of them"

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Say why the model makes no decision about the prompts."""
        yield from super().unreadable(desk)
        if self.against == "written":
            if self.metric == "calibration" or self.decisions is not None:
                yield "what is written has no predicted chance, and was not decided elsewhere: leave out against"
            elif (why := undecidable(desk, desk.data, self.against, tokens=self.tokens)) is not None:
                yield f"the prompts in {self._name_of('data')} {why}"

    def _metrics(self, desk: Desk, prompts: PromptSet) -> GroupMetrics:
        """Return the metrics of the model at a desk."""
        if self.decisions is not None:
            decisions, score = zero_or_one(column_of(prompts, self.decisions), self.decisions), None
        else:
            decisions = (decided(desk, prompts, self.against, self.cutoff, self.tokens) == 1).astype(int)
            score = 1 / (1 + np.exp(-desk.outcomes(prompts))) if self.against == "foil" else None
        labels = self._labels(prompts) if prompts.labels or self.metric != "selection_rate" else None
        names = ["selection_rate"]
        if labels is not None:
            names += ["true_positive_rate", "false_positive_rate", "positive_predictive_value", "accuracy", "base_rate"]
            names += [] if score is None else ["calibration"]
        if self.metric not in names:
            raise DataError("calibration needs predicted chances", fix="leave out decisions and against")
        return group_metrics(
            labels, decisions, sensitive_features=list(column_of(prompts, self.group or "groups")), y_score=score,
            clusters=prompts.clusters or None, metrics=names, smallest=self.smallest, level=desk.level,
        )  # fmt: skip

    def _labels(self, prompts: PromptSet) -> np.ndarray:
        """Return which prompts call for the answer."""
        if not prompts.labels:
            raise DataError("its prompts have no labels", fix="add a column 'label': what is true of each prompt")
        labels = [str(label).strip() for label in prompts.labels]
        kinds = set(labels)
        if self.positive is not None:
            if self.positive not in kinds:
                raise DataError(f"no prompt has the label {self.positive!r}", got=", ".join(sorted(kinds)[:5]))
            return np.array([int(label == self.positive) for label in labels])
        if kinds <= set(TRUTHS):
            return np.array([TRUTHS[label] for label in labels])
        words = {str(word).strip() for word in prompts.given.get("answer", ()) if isinstance(word, str)}
        if len(words) == 1 and words < kinds and len(kinds) == 2:
            return np.array([int(label in words) for label in labels])
        raise DataError(
            "it is not clear which label calls for the answer",
            got=", ".join(sorted(kinds)[:5]),
            fix="say it with positive=",
        )

    def _compared(self, metrics: GroupMetrics, seed: int) -> tuple[GroupMetrics, Any, Any, bool]:
        """Return the units that are judged, the two groups, and whether these were chosen on other units if there are more."""
        if len(metrics.groups) == 2:
            return metrics, *metrics.groups, True
        halves = self._halves(metrics, seed)
        return halves[1] if halves else metrics, *self._apart(halves[0] if halves else metrics), bool(halves)

    def _judged(
        self, metrics: GroupMetrics, gap: Estimate, pair: tuple[Any, Any], chosen: bool
    ) -> tuple[Estimate, str, str]:
        """Return the gap that is judged, a sentence, and why it cannot be judged."""
        word, groups, (first, second) = self.metric.replace("_", " "), metrics.groups, pair
        difference = float(metrics.difference()[self.metric])
        how = ", the groups farthest apart on the other half of the clusters" if chosen and len(groups) > 2 else ""
        cannot_fail = "" if chosen else _FEW_CLUSTERS
        estimate = gap.size() if len(groups) == 2 else gap
        if not np.isfinite(estimate.value):
            cannot_fail = f"a group has no unit of which the {word} is a rate"
        says = (
            f"the {word} of {first!r} less that of {second!r} is {gap}{how}; over all units the largest difference of "
            f"{len(groups)} groups is {difference:.3g}"
        )
        return estimate, says, cannot_fail

    def _units(self, half: GroupMetrics, first: Any, second: Any) -> tuple[float, ...]:  # noqa: ANN401
        """Return what each prompt adds to the gap of two groups; of two in all with the sign of the gap as it was found."""
        values = half.gap_units(self.metric, first, second)
        sign = -1.0 if len(half.groups) == 2 and values.mean() < 0 else 1.0
        return as_units(among(sign * values.to_numpy(), half.table.index.isin(values.index)))

    def _halves(self, metrics: GroupMetrics, seed: int) -> tuple[GroupMetrics, GroupMetrics] | None:
        numbers = cluster_numbers(metrics.table["cluster"].to_numpy(), len(metrics.table))
        try:
            rows = split(numbers, 0.5, seed, fewest=FEWEST, what="units")
        except DataError:
            return None
        sides = tuple(replace(metrics, table=metrics.table.iloc[side]) for side in rows)
        complete = all(len(side.groups) == len(metrics.groups) for side in sides)
        return (sides[0], sides[1]) if complete else None

    def _apart(self, metrics: GroupMetrics) -> tuple[Any, Any]:
        rates = metrics.by_group[self.metric].dropna()
        return (rates.idxmax(), rates.idxmin()) if len(rates) > 1 else tuple(metrics.groups[:2])  # type: ignore[return-value]

    def _difference(self, metrics: GroupMetrics, codes: np.ndarray | None = None) -> float:
        """Return the largest difference of two groups; `codes` gives other groups to the units."""
        rates = metrics.rates(self.metric, codes)
        return float(np.nanmax(rates) - np.nanmin(rates)) if np.isfinite(rates).any() else 0.0

    def _shuffled(self, metrics: GroupMetrics, seed: int) -> Control:
        """Give the groups to other units at random."""
        random, codes = np.random.default_rng([seed, 17]), metrics.codes
        clusters = cluster_numbers(metrics.table["cluster"].to_numpy(), len(codes))
        first = codes[np.unique(clusters, return_index=True)[1]]
        one_group = bool((codes == first[clusters]).all())  # a cluster is of one group
        order = np.argsort(clusters, kind="stable")
        difference, drawn = self._difference(metrics), []
        for _ in range(_SHUFFLES):
            if one_group:  # whole clusters change places
                other = random.permutation(first)[clusters]
            else:  # units change places within their cluster
                other = np.empty_like(codes)
                other[order] = codes[np.lexsort((random.random(len(codes)), clusters))]
            drawn.append(self._difference(metrics, other))
        p = (1 + sum(value >= difference - 1e-12 for value in drawn)) / (1 + len(drawn))
        says = f"with groups given to {'clusters' if one_group else 'units'} at random the difference is {np.mean(drawn):.3g} on average"
        return Control("random", says, Estimate.mean(drawn), p, holds=p <= 0.05)

    def _redrawn(self, desk: Desk, prompts: PromptSet) -> Control:
        """Compare the log-odds of the groups with those in redrawn networks: of the prompts that the rate is about."""
        if self.decisions is not None:
            return Control.inapplicable(
                "no-learning", "the decisions were made elsewhere, so there are no weights to redraw"
            )
        about = np.ones(len(prompts), dtype=bool)
        if self.metric in ("true_positive_rate", "false_positive_rate"):
            about = self._labels(prompts) == (self.metric == "true_positive_rate")
        inside = np.flatnonzero(about)
        rows = inside[some_of(desk, len(inside), 2 * MOST_PAIRS)]
        some = prompts.take(rows.tolist())
        names = np.asarray(column_of(some, self.group or "groups"))
        member = [names == name for name in sorted(set(names.tolist()))]

        def difference(odds: np.ndarray) -> tuple[float, float]:
            means = [odds[group].mean() for group in member]
            value = float(means[0] - means[1]) if len(means) == 2 else float(max(means) - min(means))
            return over_spread(value, *(odds[group] for group in member))

        observed = difference(np.asarray(desk.outcomes(prompts))[rows])
        key = f"groups {self.group} {some.hash}"
        return on_two_scales(
            desk, "difference of log-odds between groups", key, lambda other: difference(other.outcomes(some)), observed
        )

    def _perfect(self, metrics: GroupMetrics) -> Control:
        """Say how large the gap of decisions would be that are equal to the labels."""
        kind = "trivial-input"
        if not metrics.table["y_true"].notna().all():
            return Control.inapplicable(kind, "there are no labels whose own gap could explain it")
        if self.metric != "selection_rate":
            says = f"decisions equal to the labels have no gap in {self.metric.replace('_', ' ')}"
            return Control(kind, says, Estimate.exact(0.0, len(metrics.table)))
        gap = metrics.gap("base_rate", *self._apart(metrics))
        return Control(kind, f"decisions equal to the labels would have a gap of {gap}", gap)

    def _by_group(self, metrics: GroupMetrics) -> pd.DataFrame:
        rows = []
        for group in metrics.groups:
            for name in metrics.names:
                rate = metrics.estimate(name, group)
                rows.append({"group": group, "metric": name, "value": rate.value, "low": rate.low, "high": rate.high,
                             "n": int(metrics.counts[group]), "n_clusters": rate.n_clusters})  # fmt: skip
        return pd.DataFrame(rows)

    def _bars(self, metrics: GroupMetrics) -> Bars:
        table = self._by_group(metrics)
        rows = [
            Bar(str(row["metric"]).replace("_", " "), row["value"], row["low"], row["high"], str(row["group"]))
            for _, row in table.iterrows()
        ]
        return bar_chart(rows, "Rates by group", "rate")

    @staticmethod
    def _calibration(metrics: GroupMetrics) -> Points:
        points = []
        for group, part in metrics.table.groupby("group"):
            bins = pd.qcut(part["y_score"], min(_BINS, len(part) // SMALLEST or 1), duplicates="drop")
            for _, inside in part.groupby(bins, observed=True):
                rate = Estimate.mean(inside["y_true"], inside["cluster"].to_numpy())
                label = f"{group}, n={len(inside)}"
                points.append(Point(label, float(inside["y_score"].mean()), rate.value, y_low=rate.low, y_high=rate.high,
                                    group=str(group)))  # fmt: skip
        return Points(tuple(points), "Calibration by group", "predicted chance", "share with the label", diagonal=True)

    @staticmethod
    def _examples(prompts: PromptSet, metrics: GroupMetrics) -> tuple[dict[str, Any], ...]:
        texts = prompts.texts or ("",) * len(prompts)
        rows = metrics.table.to_dict("records")
        return tuple(
            {
                "prompt": number, "text": texts[number], "group": str(row["group"]), "label": row["y_true"],
                "decision": row["y_pred"], "chance": row["y_score"],
            }
            for number, row in enumerate(rows)
        )  # fmt: skip


def _between(metrics: GroupMetrics) -> pd.DataFrame:
    """Return the gaps of every two groups, the identity of Chouldechova, and the gaps that open when two others are closed."""
    rows = [
        {"group": f"{row['first']} - {row['second']}", "metric": name, "value": row["gap"],
         **{key: row[key] for key in ("low", "high", "n", "n_clusters", "p", "p_adjusted")}}
        for name in metrics.names
        for _, row in metrics.gaps(name).iterrows()
    ]  # fmt: skip
    rows += [
        {"group": row["group"], "metric": "false_positive_rate by the identity", "value": row["fpr_by_identity"]}
        for _, row in identity(metrics).iterrows()
    ]
    rows += [
        {"group": f"{row['group']} - {row['other']}", "metric": f"{row['opens']} if {row['closed']} are equal",
         "value": row["gap"]}
        for _, row in forced(metrics).iterrows()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def column_of(prompts: PromptSet, name: str) -> list[str]:
    """Return a column of the prompts as texts: groups, environments, a variable, or a column of a file."""
    if name in ("groups", "environments", "clusters", "labels"):
        column: Any = getattr(prompts, name)
    else:
        columns = {**prompts.given, **prompts.variables}
        if name not in columns:
            raise DataError(
                f"the prompts have no column {name!r}",
                expected=", ".join(sorted(columns)) or "columns of a file of prompts",
            )
        column = columns[name]
    values = column.tolist() if isinstance(column, torch.Tensor) else list(column)
    if not values:
        raise DataError(f"its prompts have no {name}", fix=f"add a column {name.removesuffix('s')!r}")
    return [str(value) for value in values]
