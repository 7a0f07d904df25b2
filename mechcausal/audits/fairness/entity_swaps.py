"""Entity swaps: how far the outcome moves when one named entity stands in place of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.controls import cluster_problem, detectable
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_difference
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.redrawn import forwards_of_redraws, redrawn_effect
from mechcausal.audits.sources import DATA
from mechcausal.data.contrast import Contrast
from mechcausal.results.charts import Bar, bar_chart


@dataclass(frozen=True, kw_only=True)
class EntitySwaps(AuditQuestion):
    """Measure the mean size of the shift when an entity is swapped, beside that of swaps that should not matter.

    The estimate is the mean of |log-odds(with one entity) - log-odds(with the other)|. Any swap moves a network a little, so
    `neutral` pairs, in which one random name stands in place of another in the same sentences, say how much is nothing. With
    them a threshold is judged by what entities move beyond random names (0: no more than these).

    Attributes:
        neutral: Pairs in which a random name is swapped for another.
    """

    word: ClassVar[str] = "entity_swaps"
    family: ClassVar[Family] = "fairness"
    contrast: ClassVar[str] = "a sentence with one entity against the same sentence with another"
    held_fixed: ClassVar[str] = "every other word of the sentence"
    population: ClassVar[str] = "sentences like those in the data, with entities like these"
    identified: ClassVar[Identified] = "paired-counterfactual"
    scale: ClassVar[str] = "log-odds"
    assumptions: ClassVar[tuple[str, ...]] = ("the swapped names say nothing that the answer should depend on",)
    limits: ClassVar[tuple[str, ...]] = ("it speaks of these entities in sentences like these",)
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    reads_outcome: ClassVar[bool] = True
    neutral: Any = field(default=None, metadata=DATA)

    @property
    def estimand(self) -> str:
        """What the estimate is."""
        size = "the mean size of the shift of the log-odds when an entity is swapped"
        return size if self.neutral is None else f"{size}, beyond that of swaps of random names"

    @property
    def null(self) -> float | None:
        """What there is beyond swaps of random names where there is nothing; a size alone is never zero."""
        return None if self.neutral is None else 0.0

    def answer(self, desk: Desk) -> Answer:
        """Return the shifts."""
        pairs: Contrast = desk.data
        names = pairs.clean.clusters
        clean, corrupt = desk.both(pairs)
        shift = clean - corrupt
        entities = desk.mean(np.abs(shift), names)
        rows = [("entities, mean size", entities), ("entities, mean with its sign", desk.mean(shift, names))]
        units, unit_clusters = np.abs(shift), tuple(names)
        estimate, says = entities, f"a swap of entities moves the log-odds by {entities} in size"
        random = Control.inapplicable(
            "random", "no swaps of random names were given: neutral = the name of pairs with them"
        )
        neutral: Contrast | None = desk.held.get("neutral")
        if neutral is not None:
            moved = np.abs(np.subtract(*desk.both(neutral)))
            other = desk.mean(moved, neutral.clean.clusters)
            clusters = self._clusters(pairs, neutral)
            estimate = Estimate.difference(np.abs(shift), moved, *clusters, level=desk.level)
            entity = np.arange(len(pairs) + len(neutral)) < len(pairs)
            units, unit_clusters = (
                of_difference(np.r_[np.abs(shift), moved], entity, ~entity),
                (*clusters[0], *clusters[1]),
            )
            p = estimate.at_most(0.0)
            rows += [("random names, mean size", other), ("entities less random names", estimate)]
            says += f"; a swap of random names by {other}, which is {estimate} less"
            random = Control("random", f"swaps of random names move the log-odds by {other}", other, p, holds=p <= 0.05)
        controls = (
            random,
            redrawn_effect(desk, pairs, clean, corrupt, by_size=True),
            Control.inapplicable("trivial-input", "without the entity the two prompts of a pair are the same"),
        )
        table = pd.DataFrame(
            {"measure": name, "value": each.value, "low": each.low, "high": each.high, "n": each.n}
            for name, each in rows
        )
        groups = self._by_group(desk, pairs, shift)
        bars = [Bar(str(row["measure"]), row["value"], row["low"], row["high"]) for _, row in table.iterrows()]
        return Answer(
            estimate, says, controls, pd.concat([table, groups], ignore_index=True),
            (bar_chart(bars, "What a swap moves", "shift of the log-odds"),), self._examples(pairs, shift),
            dropped=tuple(pairs.dropped), smallest_detectable=detectable(estimate), units=as_units(units),
            unit_clusters=tuple(map(str, unit_clusters)),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards it takes."""
        both = [pairs for name in ("data", "neutral") if (pairs := desk.held.get(name)) is not None]
        asked = sum(desk.runs(pairs.clean, pairs.corrupt) for pairs in both)
        return asked + forwards_of_redraws(desk, desk.data)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs."""
        yield from super().problems(data)
        for name in ("data", "neutral"):
            pairs = data.get(name)
            if pairs is None:
                continue
            if name == "neutral" and not isinstance(pairs, Contrast):
                yield f"{self._name_of('neutral')} holds no pairs of random names"
            elif problem := cluster_problem(pairs):
                yield problem if name == "data" else f"of the neutral pairs, {problem}"

    @staticmethod
    def _clusters(pairs: Contrast, neutral: Contrast) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the clusters of both; without names of clusters every pair is its own."""
        first, second = pairs.clean.clusters, neutral.clean.clusters
        if first and second:
            return first, second  # a template that occurs in both is one cluster
        return tuple(f"entity {n}" for n in range(len(pairs))), tuple(f"neutral {n}" for n in range(len(neutral)))

    @staticmethod
    def _by_group(desk: Desk, pairs: Contrast, shift: np.ndarray) -> pd.DataFrame:
        rows = []
        groups = np.asarray(pairs.clean.groups)
        for group in dict.fromkeys(pairs.clean.groups):
            member = groups == group
            names = tuple(np.asarray(pairs.clean.clusters)[member]) if pairs.clean.clusters else ()
            size = desk.mean(np.abs(shift[member]), names)
            rows.append({"measure": f"entities, mean size, {group}", "value": size.value, "low": size.low, "high": size.high,
                         "n": size.n})  # fmt: skip
        return pd.DataFrame(rows)

    @staticmethod
    def _examples(pairs: Contrast, shift: np.ndarray) -> tuple[dict[str, Any], ...]:
        texts = [side.texts or ("",) * len(pairs) for side in (pairs.clean, pairs.corrupt)]
        return tuple(
            {"pair": number, "clean": texts[0][number], "corrupt": texts[1][number], "shift": float(value)}
            for number, value in enumerate(shift)
        )
