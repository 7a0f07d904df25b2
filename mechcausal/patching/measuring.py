"""Measure the unedited model: accuracy, or any metric, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as part
from typing import ClassVar

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, Model
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, ResultError
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models.engine import measure as measured
from mechcausal.patching.sweep import MetricSpec, Recorder
from mechcausal.results.intervals import Interval, mean_interval, mean_intervals
from mechcausal.results.result import Result
from mechcausal.results.table import tabulate


@dataclass(frozen=True)
class Measured(Result):
    """What the unedited model does, one row for each side of the prompts and each metric.

    Columns: `side` (`clean` and `corrupt` of pairs, else `prompts`), `metric`, and `value` with its interval
    `value_low`, `value_high`. There is no change, no effect and no test, because nothing is edited.
    """

    def value(self, metric: str | None = None, side: str | None = None) -> float:
        """Return one number: of this metric on this side, or of the first row."""
        frame = self.frame
        chosen = frame[(frame["metric"] == metric) if metric else frame["metric"].notna()]
        chosen = chosen[chosen["side"] == side] if side else chosen
        if not len(chosen):
            raise ResultError("there is no such row", expected=", ".join(frame["metric"] + " of " + frame["side"]))
        return float(chosen["value"].iloc[0])

    def preferred(self, metric: str | None = None) -> Interval:
        """Return the share of pairs whose clean prompt scores higher than its counterpart, with its interval.

        With the metric `"log_likelihood"` on pairs of sentences it is the share in which the first is likelier: on
        CrowS-Pairs (Nangia et al. 2020) 0.5 is no preference and 1 is always the stereotype. A tie counts half.
        """
        higher = self._higher(metric)
        return mean_interval(higher, self.clusters)

    def preferred_by_group(self, metric: str | None = None) -> pd.DataFrame:
        """Return the same for the pairs of each group."""
        if not self.groups:
            raise ResultError("these prompts declare no groups", fix="build them with groups=[...]")
        higher, names, rows = self._higher(metric), np.asarray(self.groups), []
        for group in dict.fromkeys(self.groups):
            member = names == group
            clusters = tuple(np.asarray(self.clusters)[member]) if self.clusters else ()
            interval = mean_interval(higher[member], clusters)
            rows.append(
                {"group": group, "value": interval.estimate, "value_low": interval.low, "value_high": interval.high}
            )
            rows[-1]["n"] = int(member.sum())
        return pd.DataFrame(rows)

    def _higher(self, metric: str | None) -> np.ndarray:
        name = metric or self.frame["metric"].iloc[0]
        sides = [
            self.frame.index[(self.frame["metric"] == name) & (self.frame["side"] == side)]
            for side in ("clean", "corrupt")
        ]
        if not all(map(len, sides)):
            raise ResultError(f"there are no two sides of {name!r} to compare", fix="measure pairs, not prompts")
        clean, corrupt = (self.examples[int(side[0])] for side in sides)
        return np.where(clean == corrupt, 0.5, (clean > corrupt).astype(float))

    def by_group(self) -> pd.DataFrame:
        """Return the value and its interval for every row in every group."""
        if not self.groups:
            raise ResultError("these prompts declare no groups", fix="build them with groups=[...]")
        names, rows = np.asarray(self.groups), []
        for group in dict.fromkeys(self.groups):
            member = names == group
            clusters = tuple(np.asarray(self.clusters)[member]) if self.clusters else ()
            for number, (side, metric) in enumerate(zip(self.frame["side"], self.frame["metric"], strict=True)):
                interval = mean_interval(self.examples[number, member], clusters)
                rows.append(
                    {"side": side, "metric": metric, "group": group, "value": interval.estimate}
                    | {"value_low": interval.low, "value_high": interval.high, "n": interval.n}
                )
        return pd.DataFrame(rows)

    def _head_lines(self) -> list[str]:
        """Say each number with its interval."""
        return [
            f"{row['metric']} of {row['side']}: {row['value']:.3f} [{row['value_low']:.3f}, {row['value_high']:.3f}], "
            f"{row['n']} examples in {row['n_clusters']} clusters"
            for _, row in self.frame.iterrows()
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say nothing more: every number is said."""
        del k
        return []

    def _repr_html_(self) -> str:
        return f"<pre>{self.summary()}</pre>"


@dataclass(frozen=True, kw_only=True)
class Measuring(Method[PromptSet | Contrast, Measured]):
    """Measure the unedited model on prompts.

    Estimand: the mean over prompts of the metric, with a cluster-robust interval.

    Attributes:
        metric: A metric's name, a function of (logits, batch), or a list of these.
        batch_size: How many prompts at a time.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> measured = mc.measure(model, pairs, ["accuracy", "logit_diff"])
        >>> measured.frame[["side", "metric"]].values.tolist()
        [['clean', 'accuracy'], ['clean', 'logit_diff'], ['corrupt', 'accuracy'], ['corrupt', 'logit_diff']]
    """

    word: ClassVar[str] = "measure"
    metric: MetricSpec | list[MetricSpec] | tuple[MetricSpec, ...] = part(default="accuracy", kw_only=False)
    batch_size: Count = 64

    def run(self, model: Model, data: PromptSet | Contrast) -> Measured:
        """Measure the model."""
        metrics = self._metrics()
        recorder = Recorder(model, data, metrics[0], self.word, {"metrics": [each.name for each in metrics]})
        rows, values, forwards, size = [], [], 0, self.batch_size
        for side, prompts in self._sides(data).items():
            for each in metrics:
                each.check(prompts)
                run = measured(model, prompts, each, batch_size=size, reference=self._sides(data).get("clean"))
                values.append(run.values[0])
                forwards, size = forwards + run.forwards, run.batch_size
                rows.append({"site": "logits", "component": "logits", "at": "@all", "label": each.name, "side": side})
                rows[-1] |= {"metric": each.name, "p": np.nan, "q": np.nan, "p_max": np.nan}
        examples = np.stack(values)
        first = next(iter(self._sides(data).values()))
        result = recorder.result(rows, examples, {"base": examples}, forwards=forwards, batch_size=size)
        interval = mean_intervals(examples, first.clusters)
        frame = tabulate(rows, examples, {"base": examples}, first.clusters)
        frame = frame.assign(value_low=interval["low"], value_high=interval["high"])
        return Measured(frame, result.provenance, examples, {"base": examples}, first.groups, first.clusters)

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take: one forward for each prompt and metric."""
        del model
        rows = len(self._sides(data)) * len(self._metrics())
        return Cost(cells=rows, examples=len(data), forwards=rows * len(data), naive_forwards=rows * len(data))

    def _metrics(self) -> list[Metric]:
        given = self.metric if isinstance(self.metric, Sequence) and not isinstance(self.metric, str) else [self.metric]
        if not given:
            raise DataError("the list of metrics is empty", fix="name at least one, such as 'accuracy'")
        return [metric_of(each) for each in given]

    def _sides(self, data: PromptSet | Contrast) -> dict[str, PromptSet]:
        return {"clean": data.clean, "corrupt": data.corrupt} if isinstance(data, Contrast) else {"prompts": data}


measure = function(Measuring, data="prompts", about="Prompts, or pairs, whose two sides are measured apart.")
