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
from mechcausal.audits.linear import as_units, named, of_ratio
from mechcausal.audits.metered import OfMetric
from mechcausal.audits.question import Family
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import as_text
from mechcausal.data.splits import FEWEST, split, units
from mechcausal.errors import DataError
from mechcausal.patching.activation import patch
from mechcausal.patching.attribution import Attributing, attribute
from mechcausal.patching.sweep import CellSpec
from mechcausal.results.charts import Line, Lines

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
MEASURES = ("comprehensiveness", "sufficiency")


@dataclass(frozen=True, kw_only=True)
class Rationale(OfMetric):
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
        random: How many random rankings are run as well.
    """

    word: ClassVar[str] = "rationale"
    family: ClassVar[Family] = "explainability"
    contrast: ClassVar[str] = "the model without the named sites, or with them alone, against the whole model"
    held_fixed: ClassVar[str] = "sites that are not exchanged, up to how they react"
    population: ClassVar[str] = "pairs like those of the half that judges"
    identified: ClassVar[Identified] = "intervention"
    scale: ClassVar[str] = "share of what all sites together do"
    assumptions: ClassVar[tuple[str, ...]] = ("the activation of the counterpart stands for a site that is taken out",)
    limits: ClassVar[tuple[str, ...]] = ("another ablation than the counterpart's activation gives another number",)
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    under_edits: ClassVar[bool] = False
    measure: Literal["comprehensiveness", "sufficiency"] = "comprehensiveness"
    sites: CellSpec = field(default="z", metadata={"read": as_text})
    steps: Count | Literal[0] = 8
    shares: Sequence[OpenShare] = SHARES
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
        judged = pairs.take(second.tolist())
        names, worth = self._attributed(desk, pairs.take(first.tolist()))
        draw = np.random.default_rng([desk.seed, 61])
        order = np.argsort(-worth, kind="stable")
        random = [draw.permutation(len(names)) for _ in range(self.random)]
        counts = self._counts(names)
        lost, clean = self._lost(desk, judged, names, [order, *random], counts)
        everything, clusters = lost[tuple(names)], judged.clean.clusters
        curves = {name: _curve(lost, names, order, counts, name) for name in MEASURES}
        shares = {
            name: Estimate.ratio(np.mean(curve, axis=0), everything, clusters, desk.level)
            for name, curve in curves.items()
        }
        drawn = [float(np.mean(_curve(lost, names, each, counts, self.measure)) / everything.mean()) for each in random]
        points = {
            name: [Estimate.ratio(values, everything, clusters, desk.level) for values in curve]
            for name, curve in curves.items()
        }
        anchors = {"m(M)": desk.mean(clean, clusters), "m(0)": desk.mean(clean - everything, clusters)}
        estimate, other = shares[self.measure], next(name for name in MEASURES if name != self.measure)
        says = (
            f"{self.measure} of the attribution over {len(names)} sites is {estimate}, {other} {shares[other]} (shares of "
            f"the effect of all sites, by resampling from the counterpart; m(M) = {anchors['m(M)'].value:.3g}, "
            f"m(0) = {anchors['m(0)'].value:.3g})"
        )
        ranked = tuple({"rank": place + 1, "site": names[number], "attribution": float(worth[number])}
                       for place, number in enumerate(order[:200].tolist()))  # fmt: skip
        return Answer(
            estimate, says, self._controls(drawn, estimate), _table(points, counts, anchors, len(names)),
            (_figure(points, counts),), ranked,
            units=as_units(of_ratio(np.mean(curves[self.measure], axis=0), everything)), unit_clusters=named(clusters, second),
        )  # fmt: skip

    def _attributed(self, desk: Desk, pairs: Contrast) -> tuple[list[str], np.ndarray]:
        """Return the sites, and what the metric is predicted to lose without each."""
        made = attribute(desk.model, pairs, sites=self.sites, steps=self.steps, **self._options(desk))
        names = list(made.frame["site"])
        if len(names) < 4:
            raise DataError(
                "an attribution of fewer than four sites ranks nothing", got=len(names), fix="name more sites"
            )
        return names, -np.nanmean(made.examples - made.baselines["base"], axis=1)

    def _lost(
        self, desk: Desk, pairs: Contrast, names: list[str], orders: list[np.ndarray], counts: list[int]
    ) -> tuple[dict[tuple[str, ...], np.ndarray], np.ndarray]:
        """Return what the metric loses in each pair without each set of sites, and the metric of the whole model."""
        sets = _sets(names, orders, counts)
        result = patch(desk.model, pairs, sites=_written(sets), **self._options(desk))
        clean = result.baselines["clean"]
        return {sites: clean - values for sites, values in zip(sets, result.examples, strict=True)}, clean

    def _counts(self, names: list[str]) -> list[int]:
        """Return of how many sites sets are made."""
        return sorted({max(1, round(share * len(names))) for share in self.shares} - {len(names)})

    def _options(self, desk: Desk) -> dict[str, Any]:
        return {
            "at": "all",
            "direction": "noise",
            "metric": self.metric_at(desk),
            "batch_size": desk.batch_size,
        }

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards it takes: which sites are ablated together decides how much is run again."""
        half, draw = desk.data.take(range(len(desk.data) // 2)), np.random.default_rng([desk.seed, 61])
        made = attribute.cost(desk.model, half, sites=self.sites, steps=self.steps, **self._options(desk))
        names = [str(cell.sites[0]) for cell in Attributing(sites=self.sites, at="all").cells(desk.model, half)]
        orders = [draw.permutation(len(names)) for _ in range(1 + self.random)]
        cells = _written(_sets(names, orders, self._counts(names)))
        sets = patch.cost(desk.model, half, sites=cells, **self._options(desk))
        return 4 * len(half) + made.forwards + sets.forwards

    def require_fit(self, desk: Desk) -> None:
        """Refuse sites that the model does not have, or that have no gradient."""
        attribute.cost(desk.model, desk.data, sites=self.sites, steps=self.steps, **self._options(desk))

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


def _sets(names: list[str], orders: list[np.ndarray], counts: list[int]) -> list[tuple[str, ...]]:
    """Return every set of sites that is ablated, once: all of them, and of each ranking the first and all others."""
    sides = [side for order in orders for count in counts for side in _sides(names, order, count)]
    return list(dict.fromkeys([tuple(names), *sides]))


def _written(sets: list[tuple[str, ...]]) -> list[Any]:
    """Return sets of sites as `patch` takes them."""
    return [sites if len(sites) > 1 else sites[0] for sites in sets]


def _sides(names: list[str], order: np.ndarray, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sites that are ranked first, and all others, each in the order of the model."""
    chosen = set(order[:count].tolist())
    return (
        tuple(name for number, name in enumerate(names) if number in chosen),
        tuple(name for number, name in enumerate(names) if number not in chosen),
    )


def _curve(
    lost: Mapping[tuple[str, ...], np.ndarray], names: list[str], order: np.ndarray, counts: list[int], measure: str
) -> list[np.ndarray]:
    """Return what is lost in each pair, for each number of sites: without the first, or without all others."""
    return [lost[_sides(names, order, count)[MEASURES.index(measure)]] for count in counts]


def _table(
    points: Mapping[str, list[Estimate]], counts: list[int], anchors: Mapping[str, Estimate], n_sites: int
) -> pd.DataFrame:
    rows = [(name, count, each) for name, curve in points.items() for count, each in zip(counts, curve, strict=True)]
    rows += [(name, n_sites, each) for name, each in anchors.items()]
    return pd.DataFrame(
        {"measure": name, "sites": count, "value": each.value, "low": each.low, "high": each.high}
        for name, count, each in rows
    )


def _figure(points: Mapping[str, list[Estimate]], counts: list[int]) -> Lines:
    lines = tuple(
        Line(name, tuple((float(count), each.value, each.low, each.high) for count, each in zip(counts, curve, strict=True)))
        for name, curve in points.items()
    )  # fmt: skip
    return Lines(lines, "Lost without the first sites, and with them alone", "sites", "share of the effect of all")
