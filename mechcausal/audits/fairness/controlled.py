"""The controlled direct effect: what the attribute does while a mediator is held at one value, as a curve over that value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Count
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import of_pairs
from mechcausal.audits.fairness.controls import (
    cluster_problem,
    detectable,
    drawn_places,
    embedding_alone,
    forwards_of_controls,
)
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.journal import digest
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.redrawn import redrawn_effect
from mechcausal.causal.fields import read_numbers, read_places
from mechcausal.causal.mediation.controlled import WORDS, controlled
from mechcausal.causal.mediation.mediators import joint
from mechcausal.data.contrast import Contrast
from mechcausal.errors import ArgumentError, MechcausalError
from mechcausal.models.abilities import abilities
from mechcausal.results.charts import Bar, Bars, Lines, bar_chart, line_chart

_RANDOM_SETS = 2  # sets of random sites that are held in the place of the mediator


@dataclass(frozen=True, kw_only=True)
class ControlledEffect(AuditQuestion):
    """Measure the effect of the attribute while a mediator is held at one value after another in both prompts of a pair.

    The estimate is the mean of the controlled direct effect over the levels, or that at one of them (`judged`). A flat curve
    says that the mediator does not modify what goes past it (Pearl 2001; VanderWeele 2015).

    Attributes:
        mediator: A site, a part with a subspace, or a list of these held together.
        values: What it is held at: numbers, vectors, `"zero"`, `"mean"`, `"low"` (as in the corrupt prompt) or `"high"`; a
            grid from low to high unless said.
        points: The number of points of the grid.
        judged: The number of the level that is the estimate, counted from 0; the mean over all levels unless said.
    """

    word: ClassVar[str] = "controlled_effect"
    family: ClassVar[Family] = "fairness"
    contrast: ClassVar[str] = "each prompt against its counterpart, the mediator held alike in both"
    population: ClassVar[str] = "pairs like those in the data"
    identified: ClassVar[Identified] = "intervention"
    scale: ClassVar[str] = "log-odds"
    assumptions: ClassVar[tuple[str, ...]] = ("the factor acts through the swapped words alone",)
    limits: ClassVar[tuple[str, ...]] = (
        "values that the mediator never takes by itself may lie outside what was learned",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    under_edits: ClassVar[bool] = False
    reads_outcome: ClassVar[bool] = True
    better: ClassVar[Literal["low", "high", "zero"]] = "zero"
    null: ClassVar[float | None] = 0.0
    mediator: Any = field(metadata={"read": read_places})
    values: Any = field(default=None, metadata={"read": read_numbers})
    points: Count = 9
    judged: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.values, str) and self.values not in WORDS:
            raise ArgumentError(
                f"a mediator cannot be held at {self.values!r}", expected=f"a number, {', '.join(WORDS)}"
            )
        if self.judged is not None and not 0 <= self.judged < self._count:
            raise ArgumentError(
                "there is no such level to judge by",
                got=f"judged={self.judged}",
                expected=f"from 0 to {self._count - 1}",
            )

    @property
    def _count(self) -> int:
        if self.values is None:
            return self.points
        return len(self.values) if isinstance(self.values, tuple) else 1

    @property
    def estimand(self) -> str:
        """What the estimate is."""
        where = "on average over its levels" if self.judged is None else f"at its level number {self.judged}"
        return f"the mean effect of the factor while the mediator is held, {where}"

    @property
    def held_fixed(self) -> str:
        """What is held fixed."""
        return f"every other word, and {self.mediator}, at the same value in both prompts"

    @property
    def site(self) -> str:
        """Where."""
        return str(self.mediator)

    def answer(self, desk: Desk) -> Answer:
        """Return the curve."""
        pairs: Contrast = desk.data
        names = pairs.clean.clusters
        kept = self._measured(desk, pairs)
        high, low = (np.array(kept[side], dtype=float) for side in ("high", "low"))
        effects = np.array(kept["effects"], dtype=float)
        table = pd.DataFrame(kept["rows"])
        judged = effects.mean(0) if self.judged is None else effects[self.judged]
        estimate = desk.mean(judged, names)
        total = desk.mean(high - low, names)
        controls = (
            self._random_sites(desk, pairs),
            redrawn_effect(desk, pairs, high, low),
            embedding_alone(desk, pairs),
        )
        spread = f"from {table['effect'].min():.3g} to {table['effect'].max():.3g} over {len(table)} levels"
        where = "on average" if self.judged is None else f"at {table['held_at'][self.judged]}"
        says = f"with {self.mediator} held, the effect is {estimate} {where} ({spread}); the total effect is {total}"
        return Answer(
            estimate, says, controls, table, (self._figure(table, total),),
            of_pairs(
                desk.model, pairs,
                {"clean_outcome": high, "corrupt_outcome": low, "effect_while_held": judged}, judged,
            ),
            n_tests=len(table),
            dropped=tuple(pairs.dropped), smallest_detectable=detectable(estimate), units=tuple(map(float, judged)),
            unit_clusters=tuple(names),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards it takes."""
        asked = controlled.cost(
            desk.model, desk.data, self._mediator, self._values, points=self.points, metric=desk.outcome
        )
        random = _RANDOM_SETS * 4 * len(desk.data) if asked.cells else 0
        return asked.forwards + random + forwards_of_controls(desk, desk.data)

    def require_fit(self, desk: Desk) -> None:
        """Refuse a mediator that the model does not have."""
        super().require_fit(desk)
        able = abilities(desk.model)
        able.require([place.site for place in joint(self._mediator, able)])

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs."""
        yield from super().problems(data)
        if problem := cluster_problem(data["data"]):
            yield problem

    def _measured(self, desk: Desk, pairs: Contrast) -> dict[str, Any]:
        def run() -> dict[str, Any]:
            result = controlled(
                desk.model,
                pairs,
                self._mediator,
                self._values,
                points=self.points,
                batch_size=desk.batch_size,
                seed=desk.seed,
                metric=desk.outcome,
            )
            frame = result.frame
            columns = {
                "held_at": "clamp", "level": "level", "effect": "change", "effect_low": "change_low",
                "effect_high": "change_high", "share": "effect", "p": "p", "q": "q", "p_max": "p_max",
            }  # fmt: skip
            rows = [{name: row[column] for name, column in columns.items()} for row in frame.to_dict("records")]
            base = result.baselines
            return {
                "high": base["clean"], "low": base["corrupt"], "effects": result.examples - base["base"], "rows": rows,
            }  # fmt: skip

        return desk.rows.row(f"curve {digest(self.to_json()['mediator'], pairs.hash)}", run)

    @property
    def _mediator(self) -> Any:  # noqa: ANN401
        return list(self.mediator) if isinstance(self.mediator, tuple) else self.mediator

    @property
    def _values(self) -> Any:  # noqa: ANN401
        return list(self.values) if isinstance(self.values, tuple) else self.values

    def _random_sites(self, desk: Desk, pairs: Contrast) -> Control:
        """Hold random sites of the same kind as they are in the corrupt prompt."""
        sets = drawn_places(desk, joint(self._mediator, abilities(desk.model)), _RANDOM_SETS)
        if not sets:
            return Control.inapplicable("random", "the model has no other site of this kind to hold")
        values = []
        for parts in sets:
            try:
                result = controlled(
                    desk.model,
                    pairs,
                    list(parts),
                    ["low"],
                    metric=desk.outcome,
                    batch_size=desk.batch_size,
                    seed=desk.seed,
                )
            except MechcausalError as error:
                return Control.inapplicable("random", f"a random site cannot be held: {error}"[:300])
            values.append(result.examples[0] - result.baselines["base"][0])
        estimate: Estimate = desk.mean(np.mean(values, axis=0), pairs.clean.clusters)
        says = f"with {len(sets)} random sites of the same kind held as in the corrupt prompt, the effect is {estimate}"
        return Control("random", says, estimate)

    def _figure(self, table: pd.DataFrame, total: Estimate) -> Lines | Bars:
        title, axis = f"Effect of the factor while {self.mediator} is held", "effect on the log-odds"
        if table["level"].notna().all() and len(table) > 1:
            columns = [table[name].astype(float) for name in ("level", "effect", "effect_low", "effect_high")]
            scale = (
                "from the corrupt value (0) to the clean one (1)" if self.values is None else "value of the mediator"
            )
            return line_chart(
                [("controlled direct effect", list(zip(*columns, strict=True)))], title, scale, axis,
                marks=[("total effect", total.value)],
            )  # fmt: skip
        rows = [Bar(str(r["held_at"]), r["effect"], r["effect_low"], r["effect_high"]) for _, r in table.iterrows()]
        return bar_chart(rows, title, axis)
