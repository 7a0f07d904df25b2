"""Faithful attributions: what is lost without the sites that an attribution names, and what they keep alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, OpenShare
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import as_text
from mechcausal.data.splits import FEWEST, split, units
from mechcausal.errors import DataError
from mechcausal.patching.activation import patch
from mechcausal.patching.attribution import attribute
from mechcausal.patching.sweep import CellSpec, MetricSpec
from mechcausal.results.charts import Line, Lines

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, kw_only=True)
class Rationale(AuditQuestion):
    """Take out the sites that an attribution ranks first, or keep them alone (DeYoung et al. 2020, as for words).

    Sites are ranked on one half of the clusters. On the other half the first 1, 5, 10, 20 and 50 % of them take their
    activations from the counterpart. Comprehensiveness is what the metric loses without them, sufficiency what it loses
    when all other sites are exchanged, both as shares of what is lost when all sites are: an attribution is good where
    comprehensiveness is near 1 and sufficiency near 0. The estimate is the mean over the five shares (AOPC). Neither is
    bounded; the anchors m(M) and m(0) are printed.

    Attributes:
        measure: Which of the two is the estimate.
        sites: What is ranked; see `mc.patch`.
        steps: The steps of integrated gradients; 0 is the plain gradient.
        shares: The shares of sites.
        metric: The metric.
        random: How many random rankings are run as well.
    """

    word: ClassVar[str] = "rationale"
    family: ClassVar[Family] = "explainability"
    contrast: ClassVar[str] = "the model without the named sites, or with them alone, against the whole model"
    held_fixed: ClassVar[str] = "sites that are not exchanged, up to how they react"
    identified: ClassVar[Identified] = "intervention"
    scale: ClassVar[str] = "share of what all sites together do"
    limits: ClassVar[tuple[str, ...]] = ("another ablation than the counterpart's activation gives another number",)
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    under_edits: ClassVar[bool] = False
    measure: Literal["comprehensiveness", "sufficiency"] = "comprehensiveness"
    sites: CellSpec = field(default="z", metadata={"read": as_text})
    steps: Count | Literal[0] = 8
    shares: Sequence[OpenShare] = SHARES
    metric: MetricSpec = "logit_diff"
    random: Count = 5

    @property
    def estimand(self) -> str:
        """What the number is."""
        what = {"comprehensiveness": "without the named sites", "sufficiency": "with the named sites alone"}
        return f"the share of the effect of all sites that is lost {what[self.measure]}, on average over their numbers"

    @property
    def site(self) -> str:
        """Where in the model."""
        return str(self.sites)

    def answer(self, desk: Desk) -> Answer:
        """Return how comprehensive or sufficient the attribution is."""
        pairs: Contrast = desk.data
        first, second = split(units(pairs), 0.5, seed=[desk.seed, 59], fewest=FEWEST, what="pairs")
        seen, judged = pairs.take(first.tolist()), pairs.take(second.tolist())
        options: dict[str, Any] = {
            "at": "all",
            "direction": "noise",
            "metric": self.metric,
            "batch_size": desk.batch_size,
        }
        made = attribute(desk.model, seen, sites=self.sites, steps=self.steps, **options)
        names = list(made.frame["site"])
        if len(names) < 4:
            raise DataError(
                "an attribution of fewer than four sites ranks nothing", got=len(names), fix="name more sites"
            )
        loss = -np.nanmean(made.examples - made.baselines["base"], axis=1)
        draw = np.random.default_rng([desk.seed, 61])
        orders = [np.argsort(-loss, kind="stable"), *(draw.permutation(len(names)) for _ in range(self.random))]
        counts = sorted({max(1, round(share * len(names))) for share in self.shares} - {len(names)})
        cells = [tuple(names), *(cell for order in orders for count in counts for cell in _sides(names, order, count))]
        found = patch(
            desk.model, judged, sites=[cell if len(cell) > 1 else cell[0] for cell in dict.fromkeys(cells)], **options
        )
        desk.counter["forwards"] += len(found.frame) * len(judged) + (2 + self.steps) * len(seen)
        row = {cell: number for number, cell in enumerate(dict.fromkeys(cells))}
        whole, clusters = found.baselines["clean"], judged.clean.clusters
        lost = {cell: whole - found.examples[number] for cell, number in row.items()}
        everything = lost[tuple(names)]
        curves = {
            name: [lost[_sides(names, orders[0], count)[side]] for count in counts]
            for side, name in enumerate(("comprehensiveness", "sufficiency"))
        }
        side = int(self.measure == "sufficiency")
        estimate = Estimate.ratio(np.mean(curves[self.measure], axis=0), everything, clusters, desk.level)
        other = next(name for name in curves if name != self.measure)
        also = Estimate.ratio(np.mean(curves[other], axis=0), everything, clusters, desk.level)
        random = [
            float(np.mean([lost[_sides(names, order, count)[side]] for count in counts]) / everything.mean())
            for order in orders[1:]
        ]
        rows = [
            {"measure": name, "sites": count, **_numbers(Estimate.ratio(values, everything, clusters, desk.level))}
            for name, curve in curves.items()
            for count, values in zip(counts, curve, strict=True)
        ]
        anchors = {"m(M)": desk.mean(whole, clusters), "m(0)": desk.mean(whole - everything, clusters)}
        rows += [{"measure": name, "sites": len(names), **_numbers(each)} for name, each in anchors.items()]
        lines = tuple(
            Line(name, tuple((float(each["sites"]), each["value"], each["low"], each["high"]) for each in rows if each["measure"] == name))
            for name in curves
        )  # fmt: skip
        says = (
            f"{self.measure} of the attribution over {len(names)} sites is {estimate}, {other} {also} (shares of the "
            f"effect of all sites, by resampling from the counterpart; m(M) = {anchors['m(M)'].value:.3g}, "
            f"m(0) = {anchors['m(0)'].value:.3g})"
        )
        figure = Lines(
            lines, "Lost without the first sites, and with them alone", "sites", "share of the effect of all"
        )
        ranked = tuple({"rank": place + 1, "site": names[number], "attribution": float(loss[number])}
                       for place, number in enumerate(orders[0][:200].tolist()))  # fmt: skip
        return Answer(estimate, says, self._controls(random, estimate), pd.DataFrame(rows), (figure,), ranked)

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards it takes."""
        return (1 + 2 * len(self.shares) * (1 + self.random)) * len(desk.data) / 2 + (2 + self.steps) * len(desk.data)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs."""
        yield from super().problems(data)
        pairs = data["data"]
        if isinstance(pairs, Contrast) and (count := len(np.unique(units(pairs)))) < 2 * FEWEST:
            yield f"{self._name_of('data')} has {count} independent clusters, and half of them rank the sites: bring at least {2 * FEWEST}"
        if not self.shares:
            yield "it names no shares of sites"

    def _controls(self, random: list[float], estimate: Estimate) -> tuple[Control, ...]:
        mean, low, high = float(np.mean(random)), min(random), max(random)
        better = estimate.value > high if self.measure == "comprehensiveness" else estimate.value < low
        says = f"rankings drawn at random have {mean:.2f} on average, {low:.2f} to {high:.2f}"
        return (
            Control("random", says, Estimate(mean, low, high, len(random), len(random)), holds=bool(better)),
            Control.inapplicable("no-learning", "an attribution can be right about a network that has learned nothing as well"),
            Control.inapplicable("trivial-input", "sites inside the model are ranked, not words"),
        )  # fmt: skip


def _sides(names: list[str], order: np.ndarray, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sites that are ranked first, and all others, each in the order of the model."""
    chosen = set(order[:count].tolist())
    return (
        tuple(name for number, name in enumerate(names) if number in chosen),
        tuple(name for number, name in enumerate(names) if number not in chosen),
    )


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
