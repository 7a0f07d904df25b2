"""What a benchmark measured: a row for each draw of pairs, a table with intervals, one picture, one page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from mechcausal.circuits.benchmark.records import Records, interval, short
from mechcausal.results.intervals import mean_interval
from mechcausal.results.page import Page
from mechcausal.results.pictures import Grid, heatmaps, svg

if TYPE_CHECKING:
    import plotly.graph_objects as go

BAND = 0.95  # of the intervals
_READ = (
    "Edges and nodes: the area under the ROC curve, which is the chance that a true edge (or node) has a larger absolute "
    "score than a false one; 1 is perfect, 0.5 is chance. Which edges are true follows from how the organism was built, and "
    "from no method. Every method is run on several draws of pairs; the interval is the 95 % t-interval of the mean over "
    "draws, cut at 0 and 1. It says how much the area depends on the pairs that were drawn, not on the organism."
)
_CMD = (
    "CMD: the distance of the circuits of all sizes from the model (MIB), on another draw of pairs, in which the same pairs may come again; 0 is perfect. Seconds and "
    "forwards (of one prompt through all layers): the median over draws."
)


@dataclass(frozen=True, eq=False, repr=False)
class Benchmark(Records):
    """How well methods of circuit discovery find known circuits: a row for each question, method and draw of pairs."""

    kind: ClassVar[str] = "benchmark of circuits"

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order in which they were run."""
        return tuple(dict.fromkeys(row["method"] for row in self.rows))

    @property
    def names(self) -> tuple[str, ...]:
        """The questions."""
        return tuple(dict.fromkeys(row["question"] for row in self.rows))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each question and method: areas of edges and nodes with intervals, CMD, seconds, forwards."""
        return pd.DataFrame(
            [self._row(name, method) for name in self.names for method in self.methods if self._of(name, method)]
        )

    @cached_property
    def medians(self) -> pd.DataFrame:
        """One row for each kind of organism and method: the medians over questions, and how many there are."""
        done = self.frame.dropna(subset=["edge_auc"])
        columns = [name for name in ("edge_auc", "node_auc", "cmd", "seconds", "forwards") if name in done]
        grouped = done.groupby(["kind", "method"], sort=False)
        table = grouped[columns].median()
        table.insert(0, "lowest", grouped["edge_auc"].min())
        table.insert(0, "questions", grouped.size())
        return table.reset_index()

    def _of(self, name: str, method: str) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if (row["question"], row["method"]) == (name, method)]

    def _row(self, name: str, method: str) -> dict[str, Any]:
        rows = self._of(name, method)
        first = rows[0]
        out = {column: first[column] for column in ("question", "kind", "method")}
        for column in ("edge_auc", "node_auc"):
            out |= _with_interval(column, [row.get(column) for row in rows])
        out |= {"cmd": _mean([row.get("cmd") for row in rows])}
        out |= {column: _median([row.get(column) for row in rows]) for column in ("seconds", "forwards")}
        out |= {"true": first.get("true"), "edges": first.get("edges")}
        return out | {
            "draws": sum(row.get("edge_auc") is not None for row in rows),
            "not_run": first.get("not_run", ""),
        }

    def summary(self) -> str:
        """Say how well each method did, by kind of organism."""
        draws, n = self.settings["draws"], self.settings["n"]
        lines = [
            f"{len(self.names)} questions about organisms, {draws} draws of {n} pairs each; medians over questions"
        ]
        header = f"{'':<20} {'edges':>6} {'lowest':>7} {'nodes':>6} {'CMD':>6} {'seconds':>8} {'forwards':>9}"
        for kind, part in self.medians.groupby("kind", sort=False):
            lines += [f"{kind} ({part['questions'].max()} questions)", header]
            for _, row in part.iterrows():
                lines.append(
                    f"{row['method']:<20} {row['edge_auc']:6.3f} {row['lowest']:7.3f} {row['node_auc']:6.3f} "
                    f"{short(row['cmd']):>6} {row['seconds']:8.2f} {short(row['forwards'], '.0f'):>9}"
                )
        reasons = self.frame.loc[self.frame["not_run"] != "", ["question", "method", "not_run"]]
        lines += [f"not run: {row['method']} on {row['question']}: {row['not_run']}" for _, row in reasons.iterrows()]
        return "\n".join(lines)

    __repr__ = summary

    def _grids(self) -> list[Grid]:
        return [self._grid("edges", "edge_auc"), self._grid("nodes", "node_auc")]

    def _grid(self, title: str, column: str) -> Grid:
        values = np.full((len(self.names), len(self.methods)), np.nan)
        words, hover = ([[""] * len(self.methods) for _ in self.names] for _ in range(2))
        for _, row in self.frame.iterrows():
            i, j = self.names.index(row["question"]), self.methods.index(row["method"])
            values[i, j] = row[column] - 0.5
            words[i][j] = "" if math.isnan(row[column]) else f"{row[column]:.2f}"
            hover[i][j] = f"{row['method']} on {row['question']}: {_interval(row, column)}"
        return Grid(
            f"Area under the ROC curve, {title}", self.methods, self.names, "method", "question", values,
            tuple(map(tuple, hover)), 0.5, "area above chance", np.zeros(values.shape, dtype=bool), tuple(map(tuple, words)),
        )  # fmt: skip

    def plot(self) -> go.Figure:
        """Draw the areas of edges and nodes, methods across and questions down; white is chance, red is perfect."""
        return heatmaps(self._grids(), "Do methods find circuits that are known?")

    def _repr_html_(self) -> str:
        return "".join(svg(grid) for grid in self._grids())

    def page(self) -> str:
        """Return one self-contained HTML page with the table and the picture."""
        page = Page("Do methods find circuits that are known?", self.summary().splitlines()[0])
        page.text(_READ)
        page.figure(
            self._repr_html_(), "White is chance, red is perfect, blue is worse than chance; hatched was not run."
        )
        page.heading("Medians over questions")
        rows = [[_cell(name, value) for name, value in row.items()] for row in self.medians.to_dict("records")]
        page.table(list(self.medians), rows)
        page.heading("Every question")
        page.text(_CMD)
        header = ("question", "method", "edges", "nodes", "CMD", "seconds", "forwards", "true edges")
        rows = [
            (
                row["question"], row["method"], _interval(row, "edge_auc") or row["not_run"], _interval(row, "node_auc"), short(row["cmd"]),
                short(row["seconds"], ".2f"), short(row["forwards"], ".0f"), f"{row['true']} of {row['edges']}",
            )
            for _, row in self.frame.iterrows()
        ]  # fmt: skip
        page.table(header, rows)
        page.heading("Provenance")
        page.table(
            ("what", "value"), [(key, json.dumps(value)) for key, value in {**self.settings, **self.provenance}.items()]
        )
        return page.render()


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array([math.nan if value is None else float(value) for value in values])


def _with_interval(column: str, values: Sequence[Any]) -> dict[str, float]:
    areas = mean_interval(_numbers(values), level=BAND)
    low, high = (float(np.clip(end, 0, 1)) for end in (areas.low, areas.high))
    return {column: areas.estimate, f"{column}_low": low, f"{column}_high": high}


def _mean(values: Sequence[Any]) -> float:
    finite = [value for value in _numbers(values) if not math.isnan(value)]
    return float(np.mean(finite)) if finite else math.nan


def _median(values: Sequence[Any]) -> float:
    finite = [value for value in _numbers(values) if not math.isnan(value)]
    return float(np.median(finite)) if finite else math.nan


def _cell(column: str, value: object) -> object:
    return short(value, ".0f" if column == "forwards" else ".3f") if isinstance(value, float) else value


def _interval(row: pd.Series, column: str) -> str:
    return interval(row[column], row[f"{column}_low"], row[f"{column}_high"])
