"""Path-specific effects: what the attribute does along the paths that somebody declared unfair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.address import Place, Site
from mechcausal.arguments import described
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import of_pairs
from mechcausal.audits.fairness.controls import (
    cluster_problem,
    detectable,
    embedding_alone,
    forwards_of_controls,
    unclear,
)
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.journal import digest
from mechcausal.audits.linear import as_units, of_ratio
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.redrawn import redrawn_effect
from mechcausal.causal.mediation.arrows import Arrow, graphs_of, read_edges
from mechcausal.causal.mediation.paths import path_effects
from mechcausal.causal.mediation.worlds import Worlds
from mechcausal.data.contrast import Contrast
from mechcausal.errors import ArgumentError, MechcausalError
from mechcausal.models.abilities import abilities
from mechcausal.results.charts import Bar, bar_chart

ALL_UNFAIR = "all unfair paths"
_RANDOM_DRAWS = 4


@dataclass(frozen=True, kw_only=True)
class PathEffect(AuditQuestion):
    """Measure what of the effect of the attribute passes along the paths declared unfair (Avin et al. 2005; Chiappa 2019).

    The estimate is the share of the total effect that all unfair paths together pass on: 1 if all of it, 0 if nothing,
    negative where they work against it. Which paths are unfair is a choice of people, so it is recorded with who made it.

    Attributes:
        unfair: Edges as `mc.causal.path_effects` takes them (`"L0.z.H0@end -> logits"`, with `=>` for all ways between), or
            lists of them by name.
        fair: Edges that are declared allowed; they stand in the table beside the others.
        judged: Whether the estimate is the `"share"` of the total effect, or the `"effect"` itself.
        declared_by: Who declared which paths are unfair, and why.
    """

    word: ClassVar[str] = "path_effect"
    family: ClassVar[Family] = "fairness"
    contrast: ClassVar[str] = "the factor changed along the unfair paths alone, against not changed"
    held_fixed: ClassVar[str] = "what every other edge carries, as in the corrupt prompt"
    population: ClassVar[str] = "pairs like those in the data"
    identified: ClassVar[Identified] = "intervention"
    assumptions: ClassVar[tuple[str, ...]] = ("the factor acts through the swapped words alone",)
    limits: ClassVar[tuple[str, ...]] = ("whether a path is unfair is a choice, not a measurement",)
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    under_edits: ClassVar[bool] = False
    reads_outcome: ClassVar[bool] = True
    better: ClassVar[Literal["low", "high", "zero"]] = "zero"
    null: ClassVar[float | None] = 0.0
    unfair: Any = field(metadata={"read": read_edges})
    fair: Any = field(default=None, metadata={"read": read_edges})
    judged: Literal["share", "effect"] = "share"
    declared_by: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("unfair", "fair"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (str, tuple, Mapping)):
                raise ArgumentError(
                    f"path_effect: {name} holds no edges",
                    got=described(value),
                    expected='such as ["L0.z.H0@end -> logits"], or such lists by name',
                )
        if not self.unfair:
            raise ArgumentError(
                "path_effect: no path is declared unfair", fix='such as unfair = ["L0.z.H0@end -> logits"]'
            )
        twice = {*_named("unfair", self.unfair)} & {*_named("fair", self.fair), ALL_UNFAIR}
        if twice:
            raise ArgumentError(
                f"path_effect: two sets of paths are called {min(twice)!r}", fix="name them differently"
            )

    @property
    def estimand(self) -> str:
        """What the estimate is."""
        if self.judged == "effect":
            return "the mean effect of the factor along the paths declared unfair"
        return "the share of the total effect of the factor that passes along the paths declared unfair"

    @property
    def scale(self) -> str:
        """The unit of the estimate."""
        return "log-odds" if self.judged == "effect" else "share of the total effect"

    @property
    def site(self) -> str:
        """Where."""
        return "; ".join(_named("unfair", self.unfair))

    def answer(self, desk: Desk) -> Answer:
        """Return the effects along the paths."""
        pairs: Contrast = desk.data
        names = pairs.clean.clusters
        unfair, fair = _named("unfair", self.unfair), _named("fair", self.fair)
        sets = {**unfair, ALL_UNFAIR: list(unfair.values()), **fair}
        kept = desk.rows.row(f"paths {digest(self.to_json(), pairs.hash)}", lambda: self._run(desk, pairs, sets))
        high, low = (np.array(kept[side], dtype=float) for side in ("high", "low"))
        effects = {name: np.array(kept["effects"][name], dtype=float) for name in sets}
        total = desk.mean(high - low, names)
        share = Estimate.ratio(effects[ALL_UNFAIR], high - low, names, desk.level)
        effect = desk.mean(effects[ALL_UNFAIR], names)
        table = self._table(desk, pairs, effects, high - low, {*unfair, ALL_UNFAIR}, {*fair})
        estimate = share if self.judged == "share" else effect
        part = effects[ALL_UNFAIR]
        units = as_units(of_ratio(part, high - low) if self.judged == "share" else part)
        controls = (
            self._random_heads(desk, pairs, sets[ALL_UNFAIR], effects[ALL_UNFAIR], high - low),
            redrawn_effect(desk, pairs, high, low),
            embedding_alone(desk, pairs),
        )
        says = (
            f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of the total effect of {total} passes along the paths "
            f"declared unfair, an effect of {effect}"
        )
        bars = [
            Bar(str(r["paths"]), r["effect"], r["effect_low"], r["effect_high"], r["kind"]) for _, r in table.iterrows()
        ]
        return Answer(
            estimate, says, controls, table,
            (bar_chart(bars, "The effect of the factor along declared paths", "effect on the log-odds"),),
            of_pairs(
                desk.model, pairs,
                {"clean_outcome": high, "corrupt_outcome": low, "total_effect": high - low, **effects}, effects[ALL_UNFAIR],
            ),
            n_tests=0, dropped=tuple(pairs.dropped), cannot_fail=unclear(total) if self.judged == "share" else "",
            assumptions=(self._choice(kept["edges"][ALL_UNFAIR]),), smallest_detectable=detectable(estimate),
            units=units, unit_clusters=tuple(names),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards it takes."""
        unfair, fair = _named("unfair", self.unfair), _named("fair", self.fair)
        together = list(unfair.values())
        random = {f"random {number}": together for number in range(_RANDOM_DRAWS)}

        def cost(sets: Mapping[str, Any]) -> float:
            return path_effects.cost(desk.model, desk.data, dict(sets), metric=desk.outcome).forwards

        declared = cost({**unfair, ALL_UNFAIR: together, **fair})
        return declared + cost(random) + forwards_of_controls(desk, desk.data)

    def require_fit(self, desk: Desk) -> None:
        """Refuse paths that the model does not have."""
        sets = {**_named("unfair", self.unfair), **_named("fair", self.fair)}
        path_effects.cost(desk.model, desk.data, sets, metric=desk.outcome)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs."""
        yield from super().problems(data)
        if problem := cluster_problem(data["data"]):
            yield problem

    def _run(self, desk: Desk, pairs: Contrast, sets: Mapping[str, Any]) -> dict[str, Any]:
        result = path_effects(
            desk.model, pairs, dict(sets), metric=desk.outcome, batch_size=desk.batch_size, seed=desk.seed
        )
        base = result.baselines
        rows = zip(sets, result.examples - base["corrupt"], strict=True)
        return {
            "high": base["clean"], "low": base["corrupt"], "effects": dict(rows),
            "edges": result.provenance.arguments["edges"],
        }  # fmt: skip

    def _table(
        self, desk: Desk, pairs: Contrast, effects: Mapping[str, np.ndarray], total: np.ndarray, unfair: set[str],
        fair: set[str],
    ) -> pd.DataFrame:  # fmt: skip
        rows = []
        everything = {**effects, "total effect": total}
        if fair and len(everything) > 1:
            everything["rest: neither fair nor unfair"] = (
                total - effects[ALL_UNFAIR] - sum(effects[name] for name in fair)
            )
        for name, values in everything.items():
            effect = desk.mean(values, pairs.clean.clusters)
            share = Estimate.ratio(values, total, pairs.clean.clusters, desk.level)
            kind = "unfair" if name in unfair else "fair" if name in fair else "all"
            rows.append(
                {
                    "paths": name, "kind": kind, "effect": effect.value, "effect_low": effect.low, "effect_high": effect.high,
                    "share": share.value, "share_low": share.low, "share_high": share.high, "p": effect.zero(),
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    def _choice(self, edges: Sequence[str]) -> str:
        who = self.declared_by or "whoever wrote the plan"
        return f"declared unfair by {who}: {', '.join(edges)}"

    def _random_heads(
        self, desk: Desk, pairs: Contrast, unfair: Any, effects: np.ndarray, total: np.ndarray,  # noqa: ANN401
    ) -> Control:  # fmt: skip
        """Take the same paths through other heads of the same layers, drawn at random."""
        worlds = Worlds.of(desk.model, pairs, desk.outcome)
        arrows = graphs_of(unfair, worlds)[0].arrows
        random = np.random.default_rng([desk.seed, 16])
        sets = {}
        for number in range(_RANDOM_DRAWS):
            other = _other_heads(arrows, abilities(desk.model).shape, random)
            if other is not None:
                sets[f"random {number}"] = other
        if not sets:
            return Control.inapplicable("random", "the declared paths pass through no head that has another beside it")
        try:
            result = path_effects(
                desk.model, pairs, sets, metric=desk.outcome, batch_size=desk.batch_size, seed=desk.seed
            )
        except MechcausalError as error:
            return Control.inapplicable("random", f"the same paths through other heads are refused: {error}"[:300])
        average = (result.examples - result.baselines["corrupt"]).mean(0)
        names = pairs.clean.clusters
        estimate = Estimate.ratio(average, total, names, desk.level)
        beyond = Estimate.ratio(effects - average, total, names).at_most(0.0)
        says = f"the same paths through other heads pass on {estimate.value:.1%} of the total effect on average"
        return Control("random", says, estimate, beyond, holds=beyond <= 0.05)


def _named(word: str, edges: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return sets of edges by name."""
    if edges is None or not len(edges):
        return {}
    if isinstance(edges, Mapping):
        return dict(edges)
    return {f"{word} paths": edges} if not isinstance(edges, str) else {edges: [edges]}


def _other_heads(arrows: Sequence[Arrow], shape: Any, random: np.random.Generator) -> list[tuple[Any, ...]] | None:  # noqa: ANN401
    """Return the edges with every head replaced by one of its layer that is not declared; None where there is none."""
    declared = {
        place.site for arrow in arrows for place in (arrow.sender, arrow.receiver) if place.site.head is not None
    }
    if not declared:
        return None
    instead: dict[Site, Site] = {}
    for layer, component in dict.fromkeys((site.layer, site.component) for site in sorted(declared, key=str)):
        here = [site for site in sorted(declared, key=str) if (site.layer, site.component) == (layer, component)]
        heads = {site.head for site in declared if site.layer == layer}
        free = [head for head in range(shape.heads(component)) if head not in heads]
        if len(free) < len(here):
            return None
        for site, head in zip(here, random.permutation(free), strict=False):
            instead[site] = replace(site, head=int(head))

    def moved(place: Place) -> Place:
        return Place(instead.get(place.site, place.site), place.at, place.basis)

    return [(moved(arrow.sender), moved(arrow.receiver), arrow.kind) for arrow in arrows]
