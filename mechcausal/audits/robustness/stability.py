"""Stable relations: which features and heads say the same of the label in every environment, and which do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import stats

from mechcausal.address import expand
from mechcausal.arguments import Count, OpenShare, Text, Texts
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import MOST, of_prompts
from mechcausal.audits.finding import Answer, Control
from mechcausal.audits.logistic import fit, interacts
from mechcausal.audits.robustness.environments import AcrossEnvironments, by_environment
from mechcausal.data.places import At, SiteSpec, as_text
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import cluster_numbers, split, units
from mechcausal.errors import DataError
from mechcausal.models.abilities import abilities
from mechcausal.patching.reading import read
from mechcausal.probes.labels import column_of
from mechcausal.results.charts import Bar, Bars
from mechcausal.results.multiplicity import benjamini_hochberg

_SHOWN = 24


@dataclass(frozen=True, kw_only=True)
class Stability(AcrossEnvironments):
    """Count the features and heads whose relation to the label changes between environments (Peters et al. 2016).

    A cause of the label says the same of it everywhere: P(label | feature) is invariant. What is only correlated with it
    does not. Each unit that tells the labels apart is tested by a likelihood ratio, of a logistic model with an
    intercept and a slope in each environment against one for all; Benjamini and Hochberg correct for the number of
    units. A head is read as one number: along the direction in which it varies most, or along the one that tells the labels
    apart in the reference, which is fitted on one half of the clusters and tested on the other. The estimate is a number of
    units of the network and no mean over prompts, so that reports cannot compare it prompt by prompt.

    Attributes:
        environments: Prompts of further environments by name; see `environments`.
        sites: What to test: heads such as `"z"`, features, neurons.
        at: At which position; where the metric reads unless said otherwise.
        label: The column that holds the label.
        positive: The labels that count as 1; needed where there are more than two.
        along: How a head is read as one number: along its `"variation"`, or along the `"label"` in the reference.
        fdr: The rate of false discoveries.
        least: The smallest environment that is accepted.
    """

    word: ClassVar[str] = "stability"
    estimand: ClassVar[str] = (
        "the number of units that tell the labels apart and whose relation to the label differs between environments"
    )
    contrast: ClassVar[str] = "P(label | unit) in one environment against the same in the others"
    scale: ClassVar[str] = "units"
    assumptions: ClassVar[tuple[str, ...]] = ("the causes of the label work alike in all environments",)
    limits: ClassVar[tuple[str, ...]] = (
        "an invariant unit may still be no cause, and what a unit says is not what the model does with it",
    )
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    under_edits: ClassVar[bool] = False
    sites: SiteSpec = field(default="z", metadata={"read": as_text})
    at: At = field(default="@-1", metadata={"read": as_text})
    label: Text = "label"
    positive: Texts = ()
    along: Literal["variation", "label"] = "variation"
    fdr: OpenShare = 0.05
    least: Count = 40

    @property
    def site(self) -> str:
        """Where in the model."""
        return str(self.sites)

    def answer(self, desk: Desk) -> Answer:
        """Return the number of units that are not stable."""
        sets = by_environment(desk.held)
        table = self._tested(desk, sets, desk.seed)
        unstable = table[table["carries"] & (table["q"] <= self.fdr)].sort_values("statistic", ascending=False)
        carrying = int(table["carries"].sum())
        estimate = Estimate.exact(len(unstable), len(table))
        names = ", ".join(unstable["unit"].head(4)) + (", ..." if len(unstable) > 4 else "")
        says = (
            f"{len(unstable)} of {carrying} units that tell the labels apart say something else in another environment"
            + (f": {names}" if len(unstable) else "")
        )
        shuffled = self._tested(desk, sets, desk.seed, shuffled=True)
        false = int((shuffled["q"] <= self.fdr).sum())
        redraws = desk.against_redraws(
            ("stability", tuple(prompts.hash for prompts in sets.values()), str(self.sites), str(self.at), self.label, self.positive, self.along),
            lambda other: float(len(self._unstable(other, sets))), len(unstable),
        )  # fmt: skip
        controls = (
            Control(
                "random", f"with the environments of the clusters drawn at random {false} units are found",
                Estimate.exact(false, len(table)), holds=false == 0,
            ),
            redraws,
            Control.inapplicable("trivial-input", "every unit is a function of the input, so the input tells no less"),
        )  # fmt: skip
        ordered = table.sort_values("statistic", ascending=False, ignore_index=True)
        bars = tuple(
            Bar(row["unit"], row["slope_lowest"], row["slope_lowest"], row["slope_highest"], "differs" if row["q"] <= self.fdr else "stable")
            for _, row in ordered.head(_SHOWN).iterrows()
        )  # fmt: skip
        figure = Bars(bars, "Slope on the label, lowest to highest environment", "log-odds per standard deviation")
        return Answer(
            estimate,
            says,
            controls,
            ordered,
            (figure,),
            self._examples(desk, sets, ordered, unstable),
            n_tests=len(table),
        )

    def _examples(
        self, desk: Desk, sets: Mapping[str, PromptSet], ordered: pd.DataFrame, unstable: pd.DataFrame
    ) -> tuple[dict[str, Any], ...]:
        """Return prompts of every environment with their labels, and what the unit says that differs most between these."""
        unit = str((unstable if len(unstable) else ordered)["unit"].iloc[0])
        columns = self._values(desk, sets)[unit]
        said = columns[:, 0] if columns.shape[1] == 1 else columns @ _widest(columns)
        said = (said - said.mean()) / max(float(said.std()), 1e-12)
        rows, begin = [], 0
        for name, prompts in sets.items():
            here = said[begin : begin + len(prompts)]
            begin += len(prompts)
            extra = {
                "environment": [name] * len(prompts), self.label: [str(value) for value in column_of(prompts, self.label)],
                f"{unit}, standard deviations": here,
            }  # fmt: skip
            rows += of_prompts(desk.model, prompts, extra, here, most=MOST // len(sets))
        return tuple(rows)

    def require_fit(self, desk: Desk) -> None:
        """Refuse sites that the model does not have."""
        super().require_fit(desk)
        able = abilities(desk.model)
        able.require(expand(self.sites, able.shape), writes=False)

    def wrong_prompts(self, sets: Mapping[str, PromptSet]) -> Iterator[str]:
        """Say what is wrong with the labels."""
        try:
            values = [self._labels(prompts) for prompts in sets.values()]
        except DataError as error:
            yield str(error)
            return
        if len(np.unique(np.concatenate(values))) < 2:
            yield f"the column {self.label!r} says the same of every prompt"

    def _labels(self, prompts: PromptSet) -> np.ndarray:
        column = np.array([str(value) for value in column_of(prompts, self.label)])
        names = sorted(set(column.tolist()))
        if not self.positive and len(names) > 2:
            raise DataError(
                f"the label {self.label!r} has {len(names)} values, and two are compared",
                fix=f"name those that count as 1: positive = [{names[-1]!r}]",
            )
        return np.isin(column, list(self.positive) if self.positive else names[-1:]).astype(float)

    def _unstable(self, desk: Desk, sets: Mapping[str, PromptSet]) -> pd.DataFrame:
        table = self._tested(desk, sets, desk.seed)
        return table[table["carries"] & (table["q"] <= self.fdr)]

    def _tested(self, desk: Desk, sets: Mapping[str, PromptSet], seed: int, *, shuffled: bool = False) -> pd.DataFrame:
        """Return a row for each unit: what it says of the label, and whether that is the same everywhere."""
        values = self._values(desk, sets)
        y = np.concatenate([self._labels(prompts) for prompts in sets.values()])
        names = np.concatenate([[name] * len(prompts) for name, prompts in sets.items()])
        together = np.concatenate([[f"{name} {unit}" for unit in units(prompts)] for name, prompts in sets.items()])
        clusters = cluster_numbers(together, len(y))
        draw = np.random.default_rng([seed, 31])
        if shuffled:  # whole clusters change their environment
            names = _shuffled(names, clusters, draw)
        fitted, tested = self._halves(clusters, names == next(iter(sets)), seed)
        rows = []
        for unit, columns in values.items():
            x = columns[:, 0]
            if columns.shape[1] > 1:
                x = columns @ (_widest(columns) if fitted is None else _direction(columns[fitted], y[fitted]))
            rows.append({"unit": unit, **_one(x[tested], y[tested], names[tested], clusters[tested])})
        table = pd.DataFrame(rows)
        table["q"] = benjamini_hochberg(table["p"].to_numpy())
        table["carries"] = benjamini_hochberg(table["p_label"].to_numpy()) <= self.fdr
        return table

    def _halves(self, clusters: np.ndarray, reference: np.ndarray, seed: int) -> tuple[np.ndarray | None, np.ndarray]:
        """Return the prompts that directions are fitted on, if they are fitted, and those that are tested."""
        if self.along == "variation":
            return None, np.arange(len(clusters))
        first, second = split(clusters, 0.5, seed=[seed, 37], fewest=8, what="prompts")
        return first[reference[first]], second

    def _values(self, desk: Desk, sets: Mapping[str, PromptSet]) -> dict[str, np.ndarray]:
        """Return the activation of each unit in all prompts, read once."""
        key = "units", tuple(prompts.hash for prompts in sets.values()), str(self.sites), str(self.at)
        return desk.once(key, lambda: self._read(desk, sets))

    def _read(self, desk: Desk, sets: Mapping[str, PromptSet]) -> dict[str, np.ndarray]:
        """Return the activation of each unit in all prompts, [prompt column]: one column, or those of a head."""
        out: dict[str, list[np.ndarray]] = {}
        for prompts in sets.values():
            readings = read(desk.model, prompts, self.sites, at=self.at, batch_size=desk.batch_size)
            for site, value in readings.items():
                array = value.double().cpu().numpy()
                if readings.dims[site][1] == "pos":
                    array = np.nanmean(array, axis=1)
                for name, columns in _units(site, array, readings.dims[site]):
                    out.setdefault(name, []).append(columns)
        return {name: np.concatenate(parts) for name, parts in out.items()}


def _units(site: str, array: np.ndarray, dims: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Give the units of a site: each head, each feature, or the site itself."""
    if array.ndim == 1:
        yield site, array[:, None]
    elif "head" in dims and array.ndim == 3:
        yield from ((f"{site}.H{head}", array[:, head]) for head in range(array.shape[1]))
    elif "feature" in dims:
        yield from ((f"{site}.F{number}", array[:, [number]]) for number in np.flatnonzero(array.std(0) > 1e-9))
    else:
        yield site, array


def _widest(columns: np.ndarray) -> np.ndarray:
    """Return the direction in which a head varies most."""
    return np.linalg.svd(columns - columns.mean(0), full_matrices=False)[2][0]


def _direction(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the direction along which a head tells the labels apart: ridge, which needs no convergence."""
    centered = columns - columns.mean(0)
    spread = centered.T @ centered
    return np.linalg.solve(
        spread + 1e-2 * (np.trace(spread) / len(spread) + 1e-12) * np.eye(len(spread)), centered.T @ (y - y.mean())
    )


def _one(x: np.ndarray, y: np.ndarray, environments: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """Test one unit: whether it tells the labels apart in any environment, and whether alike in all."""
    spread = float(x.std())
    none = {"statistic": 0.0, "freedom": 0, "p": float("nan"), "p_label": float("nan"), "slope_lowest": 0.0, "slope_highest": 0.0}  # fmt: skip
    if spread < 1e-9:
        return none
    scaled = (x - x.mean()) / spread
    statistic, freedom, p = interacts(scaled, y, environments, clusters)
    slopes, p_label = [], []
    for name in np.unique(environments):
        here = environments == name
        columns = np.column_stack([np.ones(here.sum()), scaled[here]])
        fitted = fit(columns, y[here], clusters[here])
        alone = fit(columns[:, :1], y[here])
        gain = max(0.0, 2 * (fitted.log_likelihood - alone.log_likelihood))
        p_label.append(float(stats.chi2.sf(gain, 1)))
        slopes.append(float(np.clip(fitted.coefficients[1], -50, 50)))
    return {
        "statistic": statistic, "freedom": freedom, "p": p, "p_label": min(1.0, len(p_label) * min(p_label)),
        "slope_lowest": min(slopes), "slope_highest": max(slopes),
    }  # fmt: skip


def _shuffled(names: np.ndarray, clusters: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return the environments with whole clusters exchanged at random."""
    first = np.unique(clusters, return_index=True)[1]
    return draw.permutation(names[first])[clusters]
