"""Observational effects of internal directions, beside what an intervention does: the first is refused without overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.address import Selection, Site, vector
from mechcausal.arguments import OpenShare, Text
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import of_prompts
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, named
from mechcausal.audits.perturbed import plain_prompts
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.data.places import At, as_text
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import FEWEST, split, units
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Add, Edit
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import evaluate
from mechcausal.models.plan import Plan
from mechcausal.patching.activation import dry_run
from mechcausal.patching.reading import read
from mechcausal.probes.labels import column_of
from mechcausal.results.charts import Bar, Bars

NO_OVERLAP = "no-overlap"
_RANDOM = 8


@dataclass(frozen=True, kw_only=True)
class Observational(AuditQuestion):
    """Say what moving the activation along a direction does, and what a regression would have said of it.

    The direction is fitted on one half of the clusters. On the other half the activation is moved by half a standard
    deviation to either side, which is the intervention, do(): the estimate is the change of the log-odds for a standard
    deviation. Beside it stands what observation says: the slope of the log-odds on the coordinate along the direction,
    alone and adjusted for all other coordinates of the activation. Where these give away the coordinate (R2 above
    `overlap`), there is no overlap, and the adjusted estimate is refused. With overlap it may be wrong as well, because
    other positions confound it, so it is never shown alone.

    Attributes:
        place: The vector site, such as `"L1.resid_post"`.
        at: The position.
        label: The column of two values whose direction is asked for.
        direction: The difference of the means of the two classes (`"means"`), or the direction that predicts the label
            best (`"probe"`, by ridge regression).
        overlap: The R2 of the coordinate on all others above which the observational estimate is refused.
    """

    word: ClassVar[str] = "observational"
    family: ClassVar[Family] = "explainability"
    estimand: ClassVar[str] = (
        "the change of the log-odds when the activation is moved by one standard deviation along the direction of the label"
    )
    contrast: ClassVar[str] = "half a standard deviation to one side against half of one to the other"
    held_fixed: ClassVar[str] = "all other coordinates of the activation, and all other positions"
    population: ClassVar[str] = "prompts like those in the data"
    identified: ClassVar[Identified] = "intervention"
    null: ClassVar[float | None] = 0.0
    scale: ClassVar[str] = "log-odds per standard deviation"
    assumptions: ClassVar[tuple[str, ...]] = ("half a standard deviation stays within what the model has learned from",)
    limits: ClassVar[tuple[str, ...]] = ("a direction that reads a label need not be the one that carries it",)
    reads_outcome: ClassVar[bool] = True
    under_edits: ClassVar[bool] = False
    place: Text = "L0.resid_post"
    at: At = field(default="@-1", metadata={"read": as_text})
    label: Text = "label"
    direction: Literal["means", "probe"] = "means"
    overlap: OpenShare = 0.95

    @property
    def site(self) -> str:
        """Where in the model."""
        return f"{self.place}{self.at}"

    def answer(self, desk: Desk) -> Answer:
        """Return the effect of the intervention, and the observational one beside it."""
        prompts = plain_prompts(desk.data)
        first, second = split(units(prompts), 0.5, seed=[desk.seed, 67], fewest=FEWEST, what="prompts")
        x = (
            read(desk.model, prompts, self.place, at=self.at, batch_size=desk.batch_size)[self.place]
            .double()
            .cpu()
            .numpy()
        )
        if x.ndim != 2 or not np.isfinite(x).all():
            raise DataError(
                "one vector is needed for each prompt",
                got=f"shape {x.shape}",
                fix='name one position, such as at="@-1"',
            )
        y = classes(prompts, self.label)
        unit = _along(x[first], y[first], self.direction)
        judged, outcome = prompts.take(second.tolist()), desk.outcomes(prompts)[second]
        coordinate = x[second] @ unit
        spread = float(coordinate.std())
        if spread < 1e-9:
            raise DataError(f"the activations do not vary along the direction of {self.label!r} at {self.site}")
        effects = self._do(desk, judged, unit * spread)
        estimate = desk.mean(effects, judged.clusters)
        r2, adjusted = adjusted_slope(coordinate / spread, x[second], unit, outcome)
        alone = Estimate.ratio(*_slope_parts(coordinate / spread, outcome), judged.clusters, desk.level)
        refused = r2 > self.overlap
        rows = [
            ("do(): one standard deviation along the direction", estimate.value, estimate.low, estimate.high),
            ("observed: slope alone", alone.value, alone.low, alone.high),
            ("observed: slope adjusted for all other coordinates", np.nan if refused else adjusted, np.nan, np.nan),
            ("R2 of the coordinate on all others", r2, np.nan, np.nan),
        ]
        table = pd.DataFrame(rows, columns=["what", "value", "low", "high"])
        observed = (
            f"an observational estimate is refused, because the other coordinates give it away (R2 {r2:.3f})"
            if refused else f"observation says {alone.value:.2f}, adjusted {adjusted:.2f} (R2 {r2:.2f})"
        )  # fmt: skip
        says = f"moving the activation by one standard deviation changes the log-odds by {estimate}; {observed}"
        marks = (
            {NO_OVERLAP: f"R2 of the coordinate on all others is {r2:.3f}, above {self.overlap:g}"} if refused else {}
        )
        bars = [Bar(str(name), float(value), float(low if np.isfinite(low) else value), float(high if np.isfinite(high) else value))
                for name, value, low, high in rows[:3] if np.isfinite(value)]  # fmt: skip
        return Answer(
            estimate, says, self._controls(desk, judged, x[second], estimate.value), table,
            (Bars(tuple(bars), "Intervention and observation", "log-odds per standard deviation"),),
            of_prompts(
                desk.model, judged,
                {
                    self.label: column_of(judged, self.label), "coordinate": coordinate / spread, "outcome": outcome,
                    "change_by_one_standard_deviation": effects,
                },
                effects, rows=second,
            ),
            marks=marks, units=as_units(effects), unit_clusters=named(judged.clusters, second),
            assumptions=() if refused else ("for the observed slopes: nothing outside this activation moves both",),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards it takes: to read, to ask, and to move half of the prompts along each direction."""
        prompts = plain_prompts(desk.data)
        half = prompts.take(range(len(prompts) // 2))
        moved = dry_run(desk.model, self._moves(desk, half, np.ones(self._width(desk))), desk.batch_size, "replay")
        return 2 * len(prompts) + (1 + _RANDOM) * (len(half) + moved.forwards)

    def require_fit(self, desk: Desk) -> None:
        """Refuse a place that the model does not have."""
        abilities(desk.model).require([Site.parse(self.place)])
        super().require_fit(desk)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the prompts, the label and the site."""
        yield from super().problems(data)
        if not isinstance(data["data"], self.takes):
            return
        prompts = plain_prompts(data["data"])
        try:
            classes(prompts, self.label)
            Site.parse(self.place)
            Selection.parse(self.at)
        except Exception as error:
            yield str(error)
        if len(np.unique(units(prompts))) < 2 * FEWEST:
            yield f"{self._name_of('data')} has too few clusters to fit a direction on one half: bring at least {2 * FEWEST}"

    def _do(self, desk: Desk, prompts: PromptSet, step: np.ndarray) -> np.ndarray:
        """Return the change of the log-odds of each prompt between half a step down and half a step up."""
        values = evaluate(desk.model, self._moves(desk, prompts, step), batch_size=desk.batch_size).values
        return values[0] - values[1]

    def _moves(self, desk: Desk, prompts: PromptSet, step: np.ndarray) -> Plan:
        """Return the runs of prompts half a step up and half a step down."""
        site, at = Site.parse(self.place), Selection.parse(self.at)
        cells = [(Edit(site, Add(vector((sign * step / 2).tolist())), at),) for sign in (1, -1)]
        return Plan(prompts, cells, desk.outcome)

    def _width(self, desk: Desk) -> int:
        return int(np.prod(abilities(desk.model).shape_at(Site.parse(self.place))))

    def _controls(self, desk: Desk, prompts: PromptSet, x: np.ndarray, effect: float) -> tuple[Control, ...]:
        draw = np.random.default_rng([desk.seed, 71])
        sizes = []
        for _ in range(_RANDOM):
            unit = (x - x.mean(0)).T @ draw.normal(size=len(x))  # within what the activations span
            unit /= np.linalg.norm(unit) + 1e-12
            sizes.append(float(np.abs(self._do(desk, prompts, unit * (x @ unit).std()).mean())))
        drawn = Estimate(float(np.mean(sizes)), min(sizes), max(sizes), _RANDOM, _RANDOM)
        says = f"one standard deviation along random directions changes the log-odds by {drawn.value:.2f} on average, at most {max(sizes):.2f}"
        return (
            Control("random", says, drawn, holds=abs(effect) > max(sizes)),
            Control.inapplicable("no-learning", "the comparison is between two estimates of the same network"),
            Control.inapplicable("trivial-input", "the activation is moved, and no word is"),
        )  # fmt: skip


def classes(prompts: PromptSet, label: str) -> np.ndarray:
    """Return 1 and 0 for the two values of a column."""
    column = np.array([str(value) for value in column_of(prompts, label)])
    names = sorted(set(column.tolist()))
    if len(names) != 2:
        raise DataError(f"the label {label!r} has {len(names)} values, and a direction is between two")
    return (column == names[1]).astype(float)


def adjusted_slope(coordinate: np.ndarray, x: np.ndarray, unit: np.ndarray, outcome: np.ndarray) -> tuple[float, float]:
    """Return the R2 of a coordinate on all others, and the slope of the outcome on what the others do not say of it.

    The R2 is adjusted for the number of coordinates, because many of them explain anything over few prompts; where there
    are as many as prompts it is 1.
    """
    others = x - np.outer(x @ unit, unit)
    others = others - others.mean(0)
    left, sizes, _ = np.linalg.svd(others, full_matrices=False)
    basis = left[:, sizes > 1e-6 * max(float(sizes.max(initial=0.0)), 1e-12)]
    centered = coordinate - coordinate.mean()
    rest = centered - basis @ (basis.T @ centered)
    size, freedom = float(rest @ rest), len(x) - basis.shape[1] - 1
    r2 = 1 - size / float(centered @ centered) * (len(x) - 1) / freedom if freedom > 0 else 1.0
    return r2, float(rest @ outcome / size) if size > 1e-9 * float(centered @ centered) else float("nan")


def _along(x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """Return the direction of a label, of length 1."""
    if kind == "means":
        unit = x[y == 1].mean(0) - x[y == 0].mean(0)
    else:
        centered = x - x.mean(0)
        spread = centered.T @ centered
        unit = np.linalg.solve(
            spread + 1e-4 * np.trace(spread) / len(spread) * np.eye(len(spread)), centered.T @ (y - y.mean())
        )
    length = float(np.linalg.norm(unit))
    if length < 1e-12:
        raise DataError("the two classes have the same activations, so there is no direction between them")
    return unit / length


def _slope_parts(coordinate: np.ndarray, outcome: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the parts of the slope of a regression, prompt by prompt: their means' ratio is the slope."""
    around = coordinate - coordinate.mean()
    return around * (outcome - outcome.mean()), around**2
