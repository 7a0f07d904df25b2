"""Screen a dictionary: estimate every feature by attribution, then measure the likely ones, and some others, exactly.

Attribution is first order and may mislead. So it only proposes: what it ranks highest is measured by intervention, on
pairs that it did not see, and with it a random draw of the other features, without which nobody would know how well the
estimate keeps its promise where it promises little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from scipy import stats

from mechcausal.address import Place, Selection
from mechcausal.arguments import Count, CountOrZero, Model, Seed
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import FEWEST, cluster_numbers, split
from mechcausal.dictionaries.screening.attribution import (
    At,
    Attribution,
    FeatureAttributing,
    differentiable,
    fitting,
)
from mechcausal.errors import DataError, ResultError
from mechcausal.interventions.specs import Edit, Patch, Zero
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import Bound, resolved
from mechcausal.models.engine import Exact, Plan, evaluate
from mechcausal.patching.activation import Direction
from mechcausal.patching.sweep import MetricSpec, Recorder, two_sides
from mechcausal.results.result import Result
from mechcausal.results.scatter import Point, Points, figure, still
from mechcausal.results.storage import read_tensors, write_tensors

if TYPE_CHECKING:
    import plotly.graph_objects as go

TOP, RANDOM = "highest", "random"
_HEAD = 10


@dataclass(frozen=True)
class Calibration:
    """How well attribution foretold the exact effects of some features, on the same examples.

    Attributes:
        slope: Exact effect for each unit of attribution, by least squares through the origin: 1 where it is right.
        r: The correlation of the two.
        rank: The rank correlation of their sizes.
        shared: How many of the ten largest exact effects are among the ten largest estimates, as a share.
        n: How many features.
    """

    slope: float
    r: float
    rank: float
    shared: float
    n: int

    @classmethod
    def of(cls, estimate: np.ndarray, exact: np.ndarray) -> Calibration:
        """Compare estimates with exact effects."""
        n = len(estimate)
        square = float(estimate @ estimate)
        slope = float(estimate @ exact) / square if square > 0 else np.nan
        varied = n > 2 and np.ptp(estimate) > 0 and np.ptp(exact) > 0
        r = float(np.corrcoef(estimate, exact)[0, 1]) if varied else np.nan
        rank = float(stats.spearmanr(np.abs(estimate), np.abs(exact)).statistic) if varied else np.nan
        head = min(_HEAD, n)
        largest = [set(np.argsort(-np.abs(values), kind="stable")[:head]) for values in (estimate, exact)]
        shared = len(set.intersection(*largest)) / head if head else np.nan
        return cls(slope, r, rank, shared, n)

    def __str__(self) -> str:
        """Print in a line."""
        return f"slope {self.slope:.3f}, r {self.r:.4f}, rank {self.rank:.3f}, {self.shared:.0%} of the ten largest (n {self.n})"


@dataclass(frozen=True, repr=False)
class Screened(Result):
    """The result of `screen`: one row per feature that was measured exactly.

    Beside the columns of every result: `chosen` (`highest` or `random`), `estimate`, the attribution on the examples
    that were measured, and `screened`, the attribution on the examples by which features were chosen.

    Attributes:
        scores: The attribution of every feature, on the examples chosen by and on those measured, [2 feature].
        active: On how many tokens each feature is active, [feature].
        tokens: How many tokens there were.
    """

    scores: np.ndarray = field(default_factory=lambda: np.zeros((2, 0)))
    active: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    tokens: int = 0

    @property
    def calibration(self) -> Calibration:
        """How well attribution foretold all that was measured."""
        return self._calibration(np.ones(len(self), dtype=bool))

    @property
    def calibration_of_random(self) -> Calibration:
        """How well it foretold the features that were drawn at random, which nothing was selected for."""
        return self._calibration((self.frame["chosen"] == RANDOM).to_numpy())

    def _calibration(self, rows: np.ndarray) -> Calibration:
        return Calibration.of(*(self.frame.loc[rows, name].to_numpy(dtype=float) for name in ("estimate", "change")))

    def scatter(self) -> Points:
        """Lay out estimates against exact effects."""
        points = tuple(
            Point(row["site"], row["estimate"], row["change"], group=row["chosen"], ringed=survives)
            for (_, row), survives in zip(self.frame.iterrows(), self.survives, strict=True)
        )
        metric, both = self.provenance.arguments["metric"], self.calibration
        note = f"all: slope {both.slope:.3f}, r {both.r:.4f}"
        if (self.frame["chosen"] == RANDOM).sum() > 2:
            drawn = self.calibration_of_random
            note += f"; random alone: slope {drawn.slope:.3f}, r {drawn.r:.4f}"
        if self.survives.any():
            note += f"; {self._ring_legend}"
        labels = f"attribution ({metric})", f"exact change of {metric}"
        return Points(points, "Attribution against exact effects", *labels, diagonal=True, note=note)

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw attribution against exact effects, or a column as heatmaps."""
        return figure(self.scatter()) if column is None else super().plot(column)

    def _head_lines(self) -> list[str]:
        """Say what was screened and measured, and how well the one foretold the other."""
        alive, (first, *others) = int((self.active > 0).sum()), super()._head_lines()
        lines = [
            first,
            f"screened {len(self.active):,} features, {alive:,} of them active on {self.tokens:,} tokens; measured {len(self)}",
            f"attribution against exact: {self.calibration}",
        ]
        if (self.frame["chosen"] == RANDOM).sum() > 2:
            lines.append(f"random features alone:     {self.calibration_of_random}")
        return [*lines, *others]

    def _repr_html_(self) -> str:
        import html

        return f"<div>{still(self.scatter())}<pre>{html.escape(self.summary())}</pre></div>"

    def save(self, path: str | Path) -> Path:
        """Write the table to a parquet file, and the scores of all features to a safetensors file beside it."""
        path = super().save(path)
        arrays = {"scores": self.scores, "active": self.active, "tokens": np.asarray([self.tokens])}
        write_tensors(
            path.with_suffix(".safetensors"), {name: torch.as_tensor(array) for name, array in arrays.items()}
        )
        return path

    @classmethod
    def restored(cls, path: Path, fields: Mapping[str, Any], extras: Mapping[str, Any]) -> Screened:
        """Make one from what its two files hold."""
        del extras  # the scores are too many for the header of a file
        beside = path.with_suffix(".safetensors")
        if not beside.is_file():
            raise ResultError(
                f"{path} is a screening without the scores of all features beside it",
                expected=f"{beside.name} next to it",
            )
        arrays = {name: tensor.numpy() for name, tensor in read_tensors(beside, "the scores of a screening")[0].items()}
        return cls(**fields, scores=arrays["scores"], active=arrays["active"], tokens=int(arrays["tokens"][0]))


@dataclass(frozen=True, kw_only=True)
class Screening(Method[PromptSet | Contrast, Screened]):
    """Find the features that move a metric: all by attribution, the likely ones and some others exactly.

    Estimand of `change`: the mean over examples of what setting this feature alone to its value in the other prompt of
    the pair (to zero, for prompts that come alone) changes in the metric; 0 means that it changes nothing. Features are
    chosen on one half of the clusters and measured on the other, so that a measured effect is not the largest of many
    lucky draws.

    Attributes:
        dictionary: The dictionary, or its name.
        top: How many of the highest-ranked features are measured.
        random: How many of the other active features are measured with them.
        at: At which positions features are changed.
        direction: Of pairs, `"denoise"` (base corrupt) or `"noise"` (base clean).
        metric: A metric's name, or a differentiable function of (logits, batch).
        steps: Points on the path of integrated gradients; 0 for the plain gradient.
        batch_size: How many prompts at a time.
        exact: The engine of the exact effects; see `patch`.
        seed: The seed of the halves and of the random draw.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> sae = mc.features.load(model, "organism:hiring")
        >>> screen(model, mc.contrast("hiring/gender", model, n=32), sae, top=5, random=3).frame.shape[0]
        8
    """

    word: ClassVar[str] = "screen"
    dictionary: Bound | str = field(kw_only=False)
    top: Count = 200
    random: CountOrZero = 50
    at: At = "all"
    direction: Direction = "denoise"
    metric: MetricSpec = "logit_diff"
    steps: CountOrZero = 0
    batch_size: Count = 64
    exact: Exact = "replay"
    seed: Seed = 0

    def run(self, model: Model, data: PromptSet | Contrast) -> Screened:
        """Estimate all features and measure the chosen ones."""
        dictionary, at, metric = resolved(model, self.dictionary), Selection.parse(self.at), differentiable(self.metric)
        abilities(model).require([dictionary.features])
        paired = isinstance(data, Contrast)
        one_side = data.clean if isinstance(data, Contrast) else data
        chosen_by, measured_on = split(cluster_numbers(one_side.clusters, len(data)), 0.5, self.seed, fewest=FEWEST)
        part = np.zeros(len(data), dtype=int)
        part[measured_on] = 1
        held_out = data.take(measured_on.tolist())
        recorder = Recorder(
            model, held_out, metric, self.word,
            {
                "dictionary": {"name": dictionary.name, "site": str(dictionary.site), "digest": dictionary.digest},
                "top": self.top, "random": self.random, "direction": self.direction, "at": str(at),
                "do": "patch" if paired else "zero", "steps": self.steps, "chosen_on": len(chosen_by),
            },
            seed=self.seed,
        )  # fmt: skip
        estimated = self._attributing(dictionary, metric, part).run(model, data)
        highest, others = _candidates(estimated, self.top, self.random, self.seed)
        base, source = two_sides(held_out, self.direction) if isinstance(held_out, Contrast) else (held_out, None)
        where = [Place(dictionary.feature(int(number)), at) for number in (*highest, *others)]
        cells = [(Edit(place.site, Patch() if paired else Zero(), place.at),) for place in where]
        clean = held_out.clean if isinstance(held_out, Contrast) else held_out
        plan = Plan(base, cells, metric, rows=source, reference=clean)
        size = fitting(estimated.batch_size, base.tokens.shape[1], dictionary)
        values = evaluate(model, plan, batch_size=size, progress="measuring features", exact=self.exact, unedited=True)
        scores, kinds = estimated.scores, _kinds(highest, others)
        result = recorder.result(
            [
                {**place.row(), "chosen": kind, "estimate": scores[1, number], "screened": scores[0, number]}
                for place, number, kind in zip(where, (*highest, *others), kinds, strict=True)
            ],
            values.values,
            _baselines(values.unedited, self.direction, paired),
            forwards=estimated.forwards + values.forwards,
            batch_size=values.batch_size,
            **values.compute,
        )
        return Screened(**vars(result), scores=scores, active=estimated.active, tokens=estimated.tokens)

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take, at most; nothing is run."""
        dictionary, metric = resolved(model, self.dictionary), differentiable(self.metric)
        estimated = self._attributing(dictionary, metric, None).cost(model, data).forwards
        cells, examples = min(self.top + self.random, dictionary.n_features), len(data) // 2
        return Cost(cells, examples, estimated + cells * examples, dictionary.n_features * len(data))

    def _attributing(self, dictionary: Bound, metric: Metric, parts: np.ndarray | None) -> FeatureAttributing:
        return FeatureAttributing(
            dictionary, at=self.at, direction=self.direction, steps=self.steps, metric=metric, parts=parts,
            batch_size=self.batch_size,
        )  # fmt: skip


screen = function(Screening, about="Pairs, or prompts whose features are set to zero.")


def _candidates(estimated: Attribution, top: int, random: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the features ranked highest on the first half, and a draw of the others that would be changed at all."""
    order = np.argsort(-np.abs(estimated.scores[0]), kind="stable")
    highest = order[:top][estimated.moved[order[:top]] > 0]
    if not len(highest):
        raise DataError("no feature of the dictionary would be changed on these prompts", fix="use prompts it knows")
    rest = np.setdiff1d(np.flatnonzero(estimated.moved), highest)
    drawn = np.random.default_rng([seed, 2]).permutation(rest)[:random]
    return highest, np.sort(drawn)


def _kinds(highest: Sequence[int] | np.ndarray, others: Sequence[int] | np.ndarray) -> list[str]:
    return [TOP] * len(highest) + [RANDOM] * len(others)


def _baselines(unedited: dict[str, np.ndarray], direction: str, paired: bool) -> dict[str, np.ndarray]:
    base, source = unedited["base"], unedited["source"]
    if not paired:
        return {"base": base}
    sides = ("corrupt", "clean") if direction == "denoise" else ("clean", "corrupt")
    of_side = dict(zip(sides, (base, source), strict=True))
    return {"base": base, "clean": of_side["clean"], "corrupt": of_side["corrupt"]}
