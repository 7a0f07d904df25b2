"""Where heads attend: their scores, their patterns over the tokens, and the pictures of both."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mechcausal.errors import ResultError, did_you_mean
from mechcausal.results.pictures import Grid, heatmaps, svg
from mechcausal.results.result import MARK, Result, mark_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, repr=False)
class Attention(Result):
    """Scores of attention heads, one row for each head and score, and the patterns of chosen heads.

    Columns, besides those that say where: `score` (`previous`, `first`, `duplicate`, `induction`, `copying`), `value` with
    its interval, `uniform` (what even attention would score, one half for copying), `shuffled` (the same places in the
    same texts with their tokens shuffled), and `change`, value minus shuffled, with its interval: what the head owes to the
    tokens, and not to the places. `p_max` tests "no change", corrected for all rows.
    """

    @property
    def normalized(self) -> bool:
        """Whether there is an effect: never, because attention is read and nothing is changed."""
        return False

    @property
    def _tested(self) -> str:
        """What is tested of each head and score."""
        return "scores of heads differ from those in shuffled text"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know: that attention is not an effect."""
        return ["where a head attends does not say what it does: mc.patch and mc.ablate measure that"]

    @property
    def heads(self) -> list[str]:
        """The heads whose patterns are here."""
        return list(self.tables.get("patterns", {}))

    def score(self, name: str) -> pd.DataFrame:
        """Return the rows of one score, largest first."""
        names = list(dict.fromkeys(self.frame["score"]))
        if name not in names:
            raise ResultError(f"there is no score {name!r}", fix=did_you_mean(name, names))
        rows = self.frame[self.frame["score"] == name]
        return rows.sort_values("value", ascending=False, kind="stable")

    def pattern(self, head: str) -> pd.DataFrame:
        """Return the pattern of one head as a table, queries down and keys across."""
        patterns = self.tables.get("patterns", {})
        if head not in patterns:
            fix = did_you_mean(head, patterns) if patterns else "mc.attention(model, prompts, heads=[...])"
            raise ResultError(f"the pattern of {head!r} is not here", fix=fix)
        labels = self.tables["labels"]
        return pd.DataFrame(patterns[head], index=labels, columns=labels)

    @property
    def patterns(self) -> pd.DataFrame:
        """The patterns as a tidy table: one row for each head, query and key that it can see."""
        rows: list[dict[str, Any]] = []
        for head in self.heads:
            table = self.pattern(head)
            for i, query in enumerate(table.index):
                rows += [
                    {"head": head, "query": query, "key": key, "weight": float(table.iat[i, j])}
                    for j, key in enumerate(table.columns[: i + 1])
                ]
        return pd.DataFrame(rows, columns=["head", "query", "key", "weight"])

    def _head_lines(self) -> list[str]:
        """Say how many heads were read on how many prompts."""
        return [f"attention: {self.frame['site'].nunique()} heads, {self.examples.shape[1]} prompts"]

    def _cell_lines(self, k: int = 3) -> list[str]:
        """Say which heads score highest."""
        lines = []
        for name in dict.fromkeys(self.frame["score"]):
            rows = self.score(name)
            rows = rows[rows["value"].notna()].head(k)
            best = ", ".join(
                f"{row['site']} {row['value']:.2f}{mark_of(row).strip()} ({row['shuffled']:.2f} shuffled)"
                for _, row in rows.iterrows()
            )
            lines.append(f"  {name:<10} {best or 'no prompt has such keys'}")
        return lines

    def grids(self) -> list[Grid]:
        """Lay out the patterns of the chosen heads; the scores by layer and head where there are none."""
        if self.heads:
            return [_pattern_grid(head, self.pattern(head)) for head in self.heads]
        return [_score_grid(name, self.score(name)) for name in dict.fromkeys(self.frame["score"])]

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw the patterns of the chosen heads, or the scores by layer and head."""
        del column
        return heatmaps(self.grids(), "attention")

    def _repr_html_(self) -> str:
        return f"<div>{''.join(map(svg, self.grids()))}<pre>{html.escape(self.summary())}</pre></div>"


def _pattern_grid(head: str, table: pd.DataFrame) -> Grid:
    labels, values = tuple(map(str, table.index)), table.to_numpy(float)
    values = np.where(np.tril(np.ones(values.shape, dtype=bool)), values, np.nan)
    hover = tuple(
        tuple(f"{query} to {key}: {values[i, j]:.3f}" for j, key in enumerate(labels)) for i, query in enumerate(labels)
    )
    marks = np.zeros(values.shape, dtype=bool)
    return Grid(head, labels, labels, "key", "query", values, hover, 1.0, "attention", marks)


def _score_grid(name: str, rows: pd.DataFrame) -> Grid:
    layers, heads = (sorted({int(value) for value in rows[column]}) for column in ("layer", "head"))
    values, marks = np.full((len(layers), len(heads)), np.nan), np.zeros((len(layers), len(heads)), dtype=bool)
    hover = [[""] * len(heads) for _ in layers]
    for _, row in rows.iterrows():
        i, j = layers.index(int(row["layer"])), heads.index(int(row["head"]))
        values[i, j], marks[i, j] = row["value"], mark_of(row) == MARK
        hover[i][j] = f"{row['site']}: {row['value']:.3f}, {row['shuffled']:.3f} in shuffled text"
    return Grid(
        name, tuple(f"H{head}" for head in heads), tuple(f"L{layer}" for layer in layers), "head", "layer", values,
        tuple(map(tuple, hover)), 1.0, "score", marks,
    )  # fmt: skip
