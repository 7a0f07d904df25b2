"""How concentrated is a concept? Probes that may read 1, 2, 4, ... coordinates, beside one that reads them all."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mechcausal.address import Place, Selection, Site, expand
from mechcausal.arguments import Count, Model
from mechcausal.data.places import places
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.method import function
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.probes.labels import Labels, labels_of, one_set
from mechcausal.probes.procedure import (
    At,
    ProbeCost,
    ProbingMethod,
    Procedure,
    Prompts,
    check_pool,
    in_words,
    task_of,
    task_or_name,
)
from mechcausal.probes.readings import Pool, readings
from mechcausal.probes.sweep import ProbeSweep, gathered, read_cell
from mechcausal.results.charts import Lines, figure, line_chart, still
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import mark_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, repr=False)
class SparseProbes(ProbeSweep):
    """One row for each number of coordinates `k`, and the dense probes that they are compared with.

    The columns are those of `ProbeSweep` and `reads`: how many coordinates may be read. Of a dictionary's features there are
    two dense probes: one of all features, and one of the activation itself, which the dictionary may not hold whole.
    """

    @property
    def chart(self) -> Lines:
        """The accuracy by number of coordinates, with the dense probes and guessing as lines across."""
        sparse = self.frame[self.frame["kind"] == "sparse"]
        table = sparse[["reads", "value", "value_low", "value_high"]].to_numpy(float)
        points = [(k, value, low, high) for k, value, low, high in table.tolist()]
        dense = self.frame[self.frame["kind"] != "sparse"]
        marks = [(f"dense, {site}", float(value)) for site, value in zip(dense["site"], dense["value"], strict=True)]
        concept, place = self.frame["concept"].iloc[0], sparse["site"].iloc[0] + sparse["at"].iloc[0]
        return line_chart(
            [(str(concept), points)], f"{concept} at {place}", "coordinates read", "held-out accuracy",
            marks=[*marks, ("guessing", float(self.frame["guess"].iloc[0]))], **self._ringed(sparse, "reads"),
        )  # fmt: skip

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw the curve; a column instead draws that as a heatmap."""
        return figure(self.chart) if column is None else super().plot(column)

    def _repr_html_(self) -> str:
        return f"<div>{still(self.chart)}<pre>{html.escape(self.summary())}</pre></div>"

    def _head_lines(self) -> list[str]:
        """Say what is read."""
        return [
            f"{self.provenance.method}: {self.frame['concept'].iloc[0]}, guessing {self.frame['guess'].iloc[0]:.3f}"
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say what is read with how many coordinates."""
        del k  # every row is said
        lines = []
        for _, row in self.frame.iterrows():
            what = f"{row['reads']} of {row['site']}" if row["kind"] == "sparse" else f"all of {row['site']}"
            lines.append(
                f"{mark_of(row)}{what:<36} {row['value']:.3f} [{row['value_low']:.3f}, {row['value_high']:.3f}]"
            )
        return lines


@dataclass(frozen=True, kw_only=True)
class SparseProbing(ProbingMethod[Prompts, SparseProbes]):
    """Fit probes that may read only `k` coordinates of a site (Gurnee et al. 2023), for several `k`, and dense ones.

    Estimand: as for `probe`, for each number of coordinates. Coordinates are chosen by how far apart the classes are on
    them, in the training part of each fold. A concept that few features carry is read with few; the curve of a concept
    that is spread, or split, rises slowly.

    Attributes:
        labels: What is to be read, as for `probe`.
        site: Where: the features of a dictionary (`L2.resid_post.sae:NAME`), or any activation.
        ks: How many coordinates.
        at: At which positions.
        pool: What becomes of several positions.
        concept: What the concept is called.
        task: The task that the prompts are from, or its name, so that the best possible accuracy can be computed.

    Example:
        >>> import mechcausal as mc
        >>> model, task = mc.load("organism:hiring"), mc.task("hiring")
        >>> sae = mc.features.load(model, "organism:hiring")
        >>> prompts = task.prompts(model, 100)
        >>> mc.features.sparse_probes(model, prompts, "gender", sae.features, at="@decision", ks=(1, 4)).frame.shape[0]
        4
    """

    word: ClassVar[str] = "sparse_probes"
    labels: Any = field(kw_only=False)
    site: str | Site = field(kw_only=False)
    ks: Sequence[Count] = (1, 2, 4, 8, 16)
    at: At = "@-1"
    pool: Pool = "mean"
    concept: str | None = None
    task: Task | str | None = field(default=None, metadata={"read": task_or_name})

    def run(self, model: Model, data: Prompts) -> SparseProbes:
        """Fit the probes of every size and the dense ones."""
        started = time.perf_counter()
        prompts, labels, where = self._asked(model, data)
        places_read = readings(model, prompts, where, pool=self.pool, batch_size=self.batch_size)
        width = places_read[0].x.shape[1]
        probes = [(0, "sparse", k) for k in sorted({min(k, width) for k in self.ks})]
        probes += [(number, "logistic", reading.x.shape[1]) for number, reading in enumerate(places_read)]
        rows, cells = [], []
        for number, kind, k in probes:
            procedure = Procedure(kind, replace(self.settings(kind), k=k), self.folds, self.seed)
            row, cell = read_cell(prompts, places_read[number], labels, None, task_of(self.task), procedure)
            rows.append(row | {"reads": k, "role": f"{k} {kind}", "variables": str(where[number].site)})
            cells.append(cell)
        forwards = -(-len(prompts) // self.batch_size)
        provenance = Provenance(
            method=self.word,
            arguments={
                "metric": "accuracy", "score": "accuracy", "concept": labels.concept, "classes": list(labels.classes),
                "kind": "sparse", "site": str(where[0].site), "at": str(where[0].at), "ks": list(self.ks),
                "pool": self.pool, "folds": self.folds,
            },
            seed=self.seed,
            **facts(model, prompts, started=started, forwards=forwards, batch_size=self.batch_size),
        )  # fmt: skip
        made = gathered(rows, cells, prompts, "accuracy", provenance)
        frame = made.frame.assign(value_low=made.frame["accuracy_low"], value_high=made.frame["accuracy_high"])
        return SparseProbes(frame, provenance, made.examples, made.baselines, made.groups, made.clusters)

    def cost(self, model: Model, data: Prompts) -> ProbeCost:
        """Return what it would take; nothing is run."""
        prompts, _, where = self._asked(model, data)
        cells = len(set(self.ks)) + len(where)
        return ProbeCost(cells, len(prompts), len(prompts), cells * len(prompts), cells * self.folds)

    def _asked(self, model: Model, data: Prompts) -> tuple[PromptSet, Labels, list[Place]]:
        """Return the prompts, what is to be read, and where: the site, and the activation of a dictionary."""
        if not self.ks:
            raise DataError("no number of coordinates is given", fix="give ks=(1, 2, 4)")
        prompts = one_set(data)
        labels = in_words(labels_of(prompts, self.labels, self.concept), task_of(self.task))
        site = expand([Site.parse(self.site)], abilities(model).shape)[0]
        sites = [site] if site.dictionary is None or site.error else [site, site.activation]
        where = [places([each], Selection.parse(self.at), prompts)[0] for each in sites]
        check_pool(labels, where[0], self.pool)
        return prompts, labels, where


sparse_probes = function(SparseProbing, data="prompts", about="The prompts, or pairs, of which both sides are taken.")
