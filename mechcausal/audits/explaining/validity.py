"""Interventional validity: does what an explanation predicts happen when one intervenes?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mechcausal.arguments import Count
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.explaining.faithfulness import run_again
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import named, resampled
from mechcausal.audits.metered import OfMetric
from mechcausal.audits.question import Family
from mechcausal.circuits.discover import Discovering
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import as_text
from mechcausal.data.splits import FEWEST, cluster_numbers, split, units
from mechcausal.errors import DataError
from mechcausal.patching.activation import Direction, patch
from mechcausal.patching.attribution import attribute
from mechcausal.patching.projection import direct_logit_attribution
from mechcausal.patching.reading import read
from mechcausal.patching.sweep import CellSpec, Positions

Prediction = Literal["gradient", "integrated gradients", "path gradients", "direct", "probe", "eap", "eap-ig"]
OF_EDGES = ("eap", "eap-ig")
_DRAWS = 400
_NOTHING = 1e-6  # an effect below this share of the largest has no sign


@dataclass(frozen=True, kw_only=True)
class InterventionalValidity(OfMetric):
    """Compare what an attribution predicts for single-site interventions with what these interventions do.

    The explanation is made of unedited runs and their gradients, without one of the interventions that judge it: every
    site in turn takes its activation from the counterpart. The estimate is the rank correlation (Spearman) of predicted
    and measured changes over the sites: 1 orders them as interventions do, 0 says nothing, below 0 is worse than nothing.
    Beside it stand the share of sites whose sign is right, and the slope of measured on predicted changes, which is 1
    where the size is right as well. What is fitted, as a probe's direction, is fitted on one half of the clusters, and
    the other half is predicted and measured.

    Attributes:
        predicted: What predicts: `"gradient"` (first order), `"integrated gradients"` (along the path of the whole
            activation), `"path gradients"` (each site moves alone; converges to the truth), `"direct"` (direct logit
            attribution), `"probe"` (how far the sides of a pair are apart along the difference of means: what is
            readable), or `"eap"` and `"eap-ig"`, which predict edges.
        sites: Where to intervene; see `mc.patch`. For edges all edges of the model are compared.
        at: At which positions.
        direction: Whether clean values are put into the corrupt run (`"denoise"`) or corrupt ones into the clean run.
        steps: The number of steps of a path.
    """

    word: ClassVar[str] = "interventional_validity"
    family: ClassVar[Family] = "explainability"
    estimand: ClassVar[str] = (
        "the rank correlation, over single sites, of the change that the explanation predicts and the change that the "
        "intervention makes, which the explanation has not seen"
    )
    contrast: ClassVar[str] = "predicted against measured changes of the metric"
    held_fixed: ClassVar[str] = "all other sites, up to how they react"
    population: ClassVar[str] = "interventions at single sites like those named, in pairs like those in the data"
    identified: ClassVar[Identified] = "intervention"
    scale: ClassVar[str] = "rank correlation"
    assumptions: ClassVar[tuple[str, ...]] = ("an activation that is exchanged is one that the model could have had",)
    limits: ClassVar[tuple[str, ...]] = (
        "one site at a time: what sites do together may differ",
        "the interval counts the pairs; the sites are those of this model",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    under_edits: ClassVar[bool] = False
    predicted: Prediction = "gradient"
    sites: CellSpec = field(default=("z", "mlp_out"), metadata={"read": as_text})
    at: Positions = field(default=None, metadata={"read": as_text})
    direction: Direction = "denoise"
    steps: Count = 8

    @property
    def site(self) -> str:
        """Where in the model."""
        return "all edges" if self.predicted in OF_EDGES else str(self.sites)

    def answer(self, desk: Desk) -> Answer:
        """Return the rank correlation of predicted and measured changes."""
        pairs: Contrast = desk.data
        if self.predicted in OF_EDGES:
            return self._of_edges(desk, pairs)
        seen, judged, rows = pairs, pairs, np.arange(len(pairs))
        if self.predicted == "probe":
            first, rows = split(units(pairs), 0.5, seed=[desk.seed, 41], fewest=FEWEST, what="pairs")
            seen, judged = pairs.take(first.tolist()), pairs.take(rows.tolist())
        result = patch(desk.model, judged, sites=self.sites, at=self.at, direction=self.direction,
                       metric=self.metric_at(desk), batch_size=desk.batch_size)  # fmt: skip
        names = [f"{site}{at if at != '@all' else ''}" for site, at in _places(result.frame)]
        measured = _changes(result)
        predicted = self._predictions(desk, seen, judged, result.frame)
        usable = np.array(np.isfinite(predicted).any(axis=1) & np.isfinite(measured).any(axis=1))
        if usable.sum() < 3:
            raise DataError(
                "fewer than three sites have a prediction and an effect", got=int(usable.sum()), fix="name more sites"
            )
        predicted, measured = predicted[usable], measured[usable]
        names = [name for name, keep in zip(names, usable, strict=True) if keep]
        estimate = _bootstrapped(predicted, measured, judged.clean.clusters, desk.seed, desk.level)
        size = self._sizes(desk, judged, result.frame)
        baseline = float("nan") if size is None else spearman(size[usable], np.abs(np.nanmean(measured, 1)))
        answer = self._answered(desk, names, np.nanmean(predicted, 1), np.nanmean(measured, 1), estimate, baseline)
        clusters = named(judged.clean.clusters, rows)
        # Ranks jump when pairs are drawn again, so no pair has a part of their correlation.
        again = resampled(_weighted(predicted, measured, clusters), clusters, len(judged))
        return replace(answer, resamples=again, unit_clusters=clusters)

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards it takes."""
        pairs: Contrast = desk.data
        options: dict[str, Any] = {"sites": self.sites, "at": self.at, "metric": self.metric_at(desk)}
        if self.predicted in OF_EDGES:
            methods = (Discovering(method=word, share=1.0) for word in (self.predicted, "exact"))
            share = run_again(pairs)
            return sum(2 + share * method.runs(desk.model) for method in methods) * len(pairs)
        judged = pairs.take(range(len(pairs) // 2)) if self.predicted == "probe" else pairs
        moved = patch.cost(desk.model, judged, direction=self.direction, **options).forwards
        # Both sides of the pairs are run for the effects, for the prediction, and for the sizes of the differences.
        unedited = 2 * len(judged) * (2 + (pairs.even and self.predicted != "probe"))
        match self.predicted:
            case "direct":
                return moved + unedited
            case "probe":
                return moved + unedited + 2 * (len(pairs) - len(judged))
            case _:
                slopes = attribute.cost(desk.model, pairs, direction=self.direction, **self._path, **options)
                return moved + unedited + slopes.forwards

    def require_fit(self, desk: Desk) -> None:
        """Refuse sites that the model does not have, and predictions that it does not allow."""
        super().require_fit(desk)
        if self.predicted == "direct":
            direct_logit_attribution.cost(desk.model, desk.data, direction=self.direction)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs."""
        yield from super().problems(data)
        pairs = data["data"]
        if isinstance(pairs, Contrast):
            count = len(np.unique(units(pairs)))
            least = 2 * FEWEST if self.predicted == "probe" else 2
            if count < least:
                yield f"{self._name_of('data')} has {count} independent clusters: bring at least {least}"
            if not pairs.even and self.predicted in ("probe", *OF_EDGES):
                yield f"a prediction by {self.predicted} needs pairs of equal length"

    def _answered(
        self, desk: Desk, names: list[str], predicted: np.ndarray, measured: np.ndarray, estimate: Estimate,
        baseline: float,
    ) -> Answer:  # fmt: skip
        signs, slope = sign_agreement(predicted, measured), slope_of(predicted, measured)
        draw = np.random.default_rng([desk.seed, 43])
        random = np.array([spearman(draw.permutation(predicted), measured) for _ in range(_DRAWS)])
        p = float((1 + (random >= estimate.value).sum()) / (1 + len(random)))
        low, high = np.quantile(random, [0.025, 0.975])
        drawn = Estimate(float(random.mean()), float(low), float(high), len(names), len(names))
        controls = (
            Control(
                "random", f"predictions dealt out to the sites at random reach {high:.2f} in 97.5 %", drawn, p, holds=p <= 0.05
            ),
            Control.inapplicable(
                "no-learning", "an explanation is to be right about any network, also about one that has learned nothing"
            ),
            Control(
                "trivial-input", f"how far the activations of a pair are apart orders the sizes of the effects with {baseline:.2f}",
                Estimate.exact(baseline, len(names)),
            ) if np.isfinite(baseline) else Control.inapplicable("trivial-input", "an edge has no activation of its own"),
        )  # fmt: skip
        order = np.argsort(-np.abs(measured), kind="stable")
        table = pd.DataFrame({"site": names, "predicted": predicted, "measured": measured}).iloc[order]
        summary = pd.DataFrame({
            "site": ["all sites: rank correlation", "all sites: share of right signs", "all sites: slope"],
            "value": [estimate.value, signs, slope], "low": [estimate.low, np.nan, np.nan], "high": [estimate.high, np.nan, np.nan],
        })  # fmt: skip
        points = tuple(
            Point(names[row], float(predicted[row]), float(measured[row]), group="sites") for row in order[:400]
        )
        figure = Points(points, "Predicted and measured changes", "predicted", "measured", diagonal=True)
        says = (
            f"over {len(names)} sites the rank correlation of predicted ({self.predicted}) and measured changes is "
            f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]; {signs:.0%} of signs are right, and the "
            f"slope is {slope:.2f}"
        )
        edges = self.predicted in OF_EDGES
        return Answer(
            estimate, says, controls, pd.concat([summary, table], ignore_index=True), (figure,),
            tuple({"site": names[row], "predicted": float(predicted[row]), "measured": float(measured[row])} for row in order[:400]),
            cannot_fail="scores of edges come without the numbers of each pair, so there is no interval" if edges else "",
        )  # fmt: skip

    def _predictions(self, desk: Desk, seen: Contrast, pairs: Contrast, frame: pd.DataFrame) -> np.ndarray:
        """Return what is predicted for each site and pair, [site pair]; NaN where nothing is."""
        options: dict[str, Any] = {"direction": self.direction, "batch_size": desk.batch_size}
        match self.predicted:
            case "direct":
                parts = direct_logit_attribution(desk.model, pairs, **options)
                by_site = {str(site): row for site, row in zip(parts.frame["site"], _changes(parts), strict=True)}
                reads = {f"@{int(place)}" for place in pairs.clean.read_columns - pairs.clean.starts} | {
                    "@-1",
                    "@all",
                    "",
                }
                return np.stack([
                    by_site.get(site, np.full(len(pairs), np.nan)) if at in reads else np.zeros(len(pairs))
                    for site, at in _places(frame)
                ])  # fmt: skip
            case "probe":
                return self._readable(desk, seen, pairs, frame)
            case _:
                made = attribute(
                    desk.model,
                    pairs,
                    sites=self.sites,
                    at=self.at,
                    metric=self.metric_at(desk),
                    **options,
                    **self._path,
                )
                return _changes(made)

    @property
    def _path(self) -> dict[str, Any]:
        """How gradients are taken."""
        paths = {"gradient": {"steps": 0}, "integrated gradients": {"steps": self.steps, "path": "joint"}}
        return paths.get(self.predicted, {"steps": self.steps, "path": "cell"})

    def _readable(self, desk: Desk, seen: Contrast, pairs: Contrast, frame: pd.DataFrame) -> np.ndarray:
        """Return how far the sides of each pair are apart along a direction fitted on others, in standard deviations."""
        rows, where = [], _places(frame)
        for site, at in where:
            fitted = [self._activations(desk, side, site, at, where) for side in (seen.clean, seen.corrupt)]
            clean, corrupt = (self._activations(desk, side, site, at, where) for side in (pairs.clean, pairs.corrupt))
            direction = fitted[0].mean(0) - fitted[1].mean(0)
            along = (clean - corrupt) @ direction
            spread = np.concatenate([(side - side.mean(0)) @ direction for side in fitted]).std()
            rows.append(along / spread if spread > 1e-9 * max(1e-12, np.abs(along).max()) else along * 0)
        return np.stack(rows)

    def _sizes(self, desk: Desk, pairs: Contrast, frame: pd.DataFrame) -> np.ndarray | None:
        """Return how far the activations of the two sides are apart at each site, on average."""
        if not pairs.even:
            return None
        sizes, where = [], _places(frame)
        for site, at in where:
            clean, corrupt = (self._activations(desk, side, site, at, where) for side in (pairs.clean, pairs.corrupt))
            sizes.append(float(np.linalg.norm(clean - corrupt, axis=1).mean()))
        return np.array(sizes)

    def _activations(
        self, desk: Desk, prompts: Any, site: str, at: str, where: list[tuple[str, str]]  # noqa: ANN401
    ) -> np.ndarray:  # fmt: skip
        """Return the activation of a site at all its positions, [prompt number]; those of all sites there are read at once."""
        activation, wholes = _whole(site), list(dict.fromkeys(_whole(other) for other, place in where if place == at))

        def run() -> Any:  # noqa: ANN401
            return read(desk.model, prompts, wholes, at=at or None, batch_size=desk.batch_size)

        readings = desk.once(("validity", prompts.hash, tuple(wholes), at), run)
        value = readings[activation].double().cpu().nan_to_num()
        if activation != site:
            head = readings.dims[activation].index("head")
            value = value.select(head, int(site.partition(".H")[2].partition(".")[0]))
        return value.reshape(len(prompts), -1).numpy()

    def _of_edges(self, desk: Desk, pairs: Contrast) -> Answer:
        options: dict[str, Any] = {"metric": self.metric_at(desk), "share": 1.0, "search": "top"}
        made = Discovering(method=self.predicted, **options).run(desk.model, pairs)
        truth = Discovering(method="exact", **options).run(desk.model, pairs)
        ends = ["sender", "receiver", "at"]
        joined = made.frame.merge(truth.frame, on=ends, suffixes=("_predicted", "_measured"))
        joined = joined[np.isfinite(joined["score_predicted"]) & np.isfinite(joined["score_measured"])]
        predicted, measured = (joined[f"score_{side}"].to_numpy(float) for side in ("predicted", "measured"))
        names = [
            f"{sender} -> {receiver}" for sender, receiver in zip(joined["sender"], joined["receiver"], strict=True)
        ]
        estimate = Estimate(spearman(predicted, measured), n=len(joined), n_clusters=pairs.clean.n_clusters)
        return self._answered(desk, names, predicted, measured, estimate, float("nan"))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return the rank correlation; 0 where one of the two is the same everywhere."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (_rounded(first), _rounded(second))]
    scale = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    return float((ranks[0] * ranks[1]).sum() / scale) if scale > 0 else 0.0


def sign_agreement(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return the share of sites with an effect whose predicted sign is that of the effect."""
    acts = np.abs(measured) > 1e-3 * np.abs(measured).max(initial=0.0)
    return float((np.sign(predicted[acts]) == np.sign(measured[acts])).mean()) if acts.any() else float("nan")


def slope_of(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return the slope of measured on predicted changes."""
    around = predicted - predicted.mean()
    return float(around @ measured / (around @ around)) if around @ around > 0 else float("nan")


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return values in which differences of rounding are none, so that they share a rank."""
    step = _NOTHING * np.abs(values).max(initial=0.0)
    return np.round(values / step) if step > 0 else values


def _bootstrapped(
    predicted: np.ndarray, measured: np.ndarray, clusters: Sequence[Any], seed: int, level: float
) -> Estimate:
    """Return the rank correlation with an interval: whole clusters of pairs are drawn again, for both alike."""
    draw, size = np.random.default_rng([seed, 47]), int(cluster_numbers(clusters, predicted.shape[1]).max()) + 1
    weighted = _weighted(predicted, measured, clusters)
    values = [weighted(draw.multinomial(size, np.full(size, 1 / size))) for _ in range(_DRAWS)]
    value = spearman(np.nanmean(predicted, 1), np.nanmean(measured, 1))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate.interval(value, min(float(low), value), max(float(high), value), len(predicted), size, level)


def _weighted(predicted: np.ndarray, measured: np.ndarray, clusters: Sequence[Any]) -> Callable[[np.ndarray], float]:
    """Return the function that gives the rank correlation from how often each cluster of pairs is counted."""
    ids = cluster_numbers(clusters, predicted.shape[1])
    member = np.eye(int(ids.max()) + 1)[ids]
    sums = [(np.nan_to_num(values) @ member, np.isfinite(values) @ member) for values in (predicted, measured)]

    def correlation(weight: np.ndarray) -> float:
        return spearman(*((total @ weight) / np.maximum(count @ weight, 1e-12) for total, count in sums))

    return correlation


def _changes(result: Any) -> np.ndarray:  # noqa: ANN401 - a Result
    return np.asarray(result.examples - result.baselines["base"], dtype=float)


def _whole(site: str) -> str:
    """Return the activation that a head or its neurons are part of; any other site as it is."""
    return site.partition(".H")[0]


def _places(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the site and the positions of each row of a sweep."""
    column = "at" if "at" in frame else "position"
    return [(str(site), "" if pd.isna(at) else str(at)) for site, at in zip(frame["site"], frame[column], strict=True)]
