"""The table of scrubbing: rows with their intervals, which count every prompt that a score rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.address import Place
from mechcausal.causal.scrubbing.sampling import CLAIM, REST
from mechcausal.causal.scrubbing.spread import Role, Spread, Term, spread
from mechcausal.results.multiplicity import holm
from mechcausal.results.table import tabulate


@dataclass(frozen=True, eq=False)
class Row:
    """One row of scrubbing before it is a row.

    Attributes:
        columns: What it is: `node`, `kind`, where its parts are, and what was measured beside the metric.
        examples: The metric of every reference and draw.
        roles: What was drawn for each of them.
    """

    columns: dict[str, Any]
    examples: np.ndarray
    roles: tuple[Role, ...]

    @classmethod
    def of(
        cls,
        node: str,
        kind: str,
        places: Sequence[Place],
        examples: np.ndarray,
        roles: tuple[Role, ...] = (),
        **measured: float,
    ) -> Row:
        """Make a row about the node that stands for these places."""
        single = places[0].site if len(places) == 1 else None
        columns = {
            "site": " + ".join(str(place.site) for place in places),
            "component": single.component if single else None,
            "layer": single.layer if single else None,
            "head": single.head if single else None,
            "neuron": single.neuron if single else None,
            "at": str(places[0].at) if single else "",
            "position": None,
            "label": node if kind in ("hypothesis", "control", "nothing") else f"{node}: {kind}",
            "node": node,
            "kind": kind,
        }
        return cls(columns | measured, examples, roles)


@dataclass(frozen=True, eq=False)
class Scale:
    """Between what a share of performance is measured.

    Attributes:
        references: The reference of each example, a prompt of the pool.
        clusters: The number of each prompt's cluster.
        clean: The metric of each example by the unedited network.
        others: The metric of outputs of other prompts, [draw reference]; each reference is judged by several.
        drawn: These prompts, [draw reference].
    """

    references: np.ndarray
    clusters: np.ndarray
    clean: np.ndarray
    others: np.ndarray
    drawn: np.ndarray

    @property
    def corrupt(self) -> np.ndarray:
        """The mean metric of outputs of other prompts, for each example."""
        means = self.others.mean(0)
        return np.tile(means, len(self.references) // len(means))

    def change(self, row: Row, member: np.ndarray | None = None) -> tuple[float, Spread]:
        """Return the mean change from the unedited network, over some of the examples, and its spread."""
        keep = np.ones(len(self.references), dtype=bool) if member is None else member
        moved = (row.examples - self.clean)[keep]
        roles = tuple(Role(role.rows[keep], role.classes) for role in row.roles)
        term = Term((moved - moved.mean()) / len(moved), self.references[keep], roles)
        return float(moved.mean()), spread([term], self.clusters)

    def share(self, row: Row, less: Row | None = None) -> tuple[float, Spread]:
        """Return the share of performance that is left, or that is left beyond another row, and its spread."""
        over = self.clean - self.corrupt
        size = float(over.mean())
        if abs(size) < 1e-12:
            return np.nan, Spread(np.nan, np.nan)
        above = row.examples - (self.corrupt if less is None else less.examples)
        ratio = float(above.mean()) / size
        values = (above - ratio * over) / size / len(above)
        roles = row.roles if less is None else _joined(row.roles, less.roles)
        terms = [Term(values, self.references, roles)]
        # The outputs of other prompts are drawn as well.
        times, n = self.others.shape
        weight = (-ratio if less is not None else 1 - ratio) / size / (n * (times - 1)) if times > 1 else 0.0
        if weight:
            apart = (self.others.mean(0) - self.others) * weight
            nobody = np.zeros(len(self.clusters), dtype=int)
            references = np.tile(self.references[:n], times)
            terms.append(Term(apart.reshape(-1), references, (Role(self.drawn.reshape(-1), nobody),)))
        return ratio, spread(terms, self.clusters)


def frame_of(
    rows: Sequence[Row], scale: Scale, baselines: Mapping[str, np.ndarray], clusters: tuple[str, ...]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the frame and the examples of scrubbing rows."""
    examples = np.stack([row.examples for row in rows])
    full = next((row for row in rows if row.columns["kind"] == "hypothesis"), None)
    changes = [scale.change(row) for row in rows]
    gains = {
        number: scale.share(row, less=full)
        for number, row in enumerate(rows)
        if full is not None and row.columns["kind"] in (CLAIM, REST)
    }
    tested = [gains.get(number, change) for number, change in enumerate(changes)]
    p = np.array([error.p(estimate) for estimate, error in tested])
    corrected = holm(p)
    where = [row.columns | {"p": p[number], "p_max": corrected[number]} for number, row in enumerate(rows)]
    frame = tabulate(where, examples, baselines, clusters)
    for number, row in enumerate(rows):
        change, error = changes[number]
        frame.loc[number, ["change_low", "change_high"]] = error.interval(change)
        ratio, error = scale.share(row)
        frame.loc[number, ["effect_low", "effect_high"]] = error.interval(ratio)
        if number in gains:
            gain, error = gains[number]
            frame.loc[number, ["gain", "gain_low", "gain_high"]] = (gain, *error.interval(gain))
    return frame, examples


def by_group(rows: Sequence[Row], scale: Scale, groups: Sequence[str]) -> list[dict[str, Any]]:
    """Return the change of every row in every group, with its interval."""
    names, table = np.asarray(groups), []
    for group in dict.fromkeys(groups):
        member = names == group
        for row in rows:
            change, error = scale.change(row, member)
            low, high = error.interval(change)
            where = {name: row.columns[name] for name in ("site", "at", "label")}
            table.append(
                where
                | {
                    "group": str(group),
                    "change": change,
                    "change_low": low,
                    "change_high": high,
                    "n": int(member.sum()),
                }
            )
    return table


def _joined(first: Sequence[Role], second: Sequence[Role]) -> tuple[Role, ...]:
    """Return the roles of both, those that draw the same once."""
    joined: list[Role] = []
    for role in (*first, *second):
        if not any(np.array_equal(role.rows, other.rows) for other in joined):
            joined.append(role)
    return tuple(joined)


def roles_of(rows: Sequence[np.ndarray], classes: Sequence[np.ndarray], references: np.ndarray) -> tuple[Role, ...]:
    """Return what is drawn at each place; what is the reference itself, or drawn twice, is left out."""
    drawn = [
        Role(prompts, numbers)
        for prompts, numbers in zip(rows, classes, strict=True)
        if not np.array_equal(prompts, references)
    ]
    return _joined(drawn, ())
