"""How concentrated is a concept? Probes that may read 1, 2, 4, ... coordinates, beside one that reads them all."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mechcausal.address import Selection, Site, expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import places
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.probes.kinds import Settings
from mechcausal.probes.labels import labels_of, one_set
from mechcausal.probes.probing import At, Procedure, check_pool, in_words, settings_of
from mechcausal.probes.readings import Pool, readings
from mechcausal.probes.sweep import ProbeSweep, gathered, read_cell
from mechcausal.results.charts import Lines, figure, line_chart, still
from mechcausal.results.provenance import Provenance

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
            marks=[*marks, ("guessing", float(self.frame["guess"].iloc[0]))],
        )  # fmt: skip

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw the curve; a column instead draws that as a heatmap."""
        return figure(self.chart) if column is None else super().plot(column)

    def _repr_html_(self) -> str:
        return f"<div>{still(self.chart)}<pre>{html.escape(self.summary())}</pre></div>"

    def summary(self, k: int = 5) -> str:
        """Say what is read with how many coordinates."""
        lines = [
            f"{self.provenance.method}: {self.frame['concept'].iloc[0]}, guessing {self.frame['guess'].iloc[0]:.3f}"
        ]
        for _, row in self.frame.iterrows():
            what = f"{row['reads']} of {row['site']}" if row["kind"] == "sparse" else f"all of {row['site']}"
            lines.append(f"  {what:<36} {row['value']:.3f} [{row['value_low']:.3f}, {row['value_high']:.3f}]")
        return "\n".join(lines)


def sparse_probes(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompts: PromptSet | Contrast,
    labels: Any,  # noqa: ANN401 - a name, or one value for each prompt or token
    site: str | Site,
    *,
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    at: At = "@-1",
    pool: Pool = "mean",
    concept: str | None = None,
    task: Task | None = None,
    settings: Settings | None = None,
    folds: int = 5,
    batch_size: int = 64,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> SparseProbes:
    """Fit probes that may read only `k` coordinates of a site (Gurnee et al. 2023), for several `k`, and dense ones.

    Coordinates are chosen by how far apart the classes are on them, in the training part of each fold. A concept that few
    features carry is read with few; that a concept is spread, or split, shows as a curve that rises slowly.

    Args:
        model: The model.
        prompts: The prompts, or pairs, of which both sides are taken.
        labels: What is to be read, as for `probe`.
        site: Where: the features of a dictionary (`L2.resid_post.sae:NAME`), or any activation.
        ks: How many coordinates.
        at: At which positions.
        pool: What becomes of several positions.
        concept: What the concept is called.
        task: The task that the prompts are from, so that the best possible accuracy can be computed.
        settings: How probes are fitted; its fields may be given as options.
        folds: How many folds.
        batch_size: How many prompts at a time.
        seed: The seed of the folds.
        **options: Fields of `Settings`.
    """
    started = time.perf_counter()
    if not ks or min(ks) < 1:
        raise DataError("a sparse probe reads one coordinate at least", got=list(ks))
    prompts = one_set(prompts)
    settings = settings_of(settings, options, seed)
    named = in_words(labels_of(prompts, labels, concept), task)
    own = expand([Site.parse(site)], abilities(model).shape)[0]
    sites = [own] if own.dictionary is None or own.error else [own, own.activation]
    where = [places([one], Selection.parse(at), prompts)[0] for one in sites]
    check_pool(named, where[0], pool)
    found = readings(model, prompts, where, pool=pool, batch_size=batch_size)
    width = found[0].x.shape[1]
    asked = [(0, "sparse", k) for k in sorted({min(k, width) for k in ks})]
    asked += [(number, "logistic", read.x.shape[1]) for number, read in enumerate(found)]
    rows, cells = [], []
    for number, kind, k in asked:
        used = Procedure(kind, replace(settings, k=k), folds, seed)
        row, cell = read_cell(prompts, found[number], named, None, task, used)
        rows.append(row | {"reads": k, "role": f"{k} {kind}", "variables": str(where[number].site)})
        cells.append(cell)
    provenance = Provenance(
        method="sparse_probes",
        arguments={
            "metric": "accuracy", "score": "accuracy", "concept": named.concept, "classes": list(named.classes),
            "kind": "sparse", "site": str(own), "at": str(where[0].at), "ks": list(ks), "pool": pool, "folds": folds,
        },
        seed=seed,
        **facts(model, prompts, started=started, forwards=-(-len(prompts) // batch_size), batch_size=batch_size),
    )  # fmt: skip
    made = gathered(rows, cells, prompts, pool, "accuracy", provenance)
    frame = made.frame.assign(value_low=made.frame["accuracy_low"], value_high=made.frame["accuracy_high"])
    return SparseProbes(frame, provenance, made.examples, made.baselines, made.groups, made.clusters)
