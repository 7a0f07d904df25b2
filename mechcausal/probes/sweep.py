"""Probes at every place of a model: where can a concept be read? One row for each place, a picture layer x position."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mechcausal.address import Place, expand
from mechcausal.arguments import CountOrZero, Model
from mechcausal.data.places import Positions, SiteSpec, places, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import units
from mechcausal.data.tasks.definition import Task
from mechcausal.interventions.specs import Edit
from mechcausal.method import function
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.probes.held_out import HeldOut
from mechcausal.probes.labels import Labels, one_set
from mechcausal.probes.numbers import HeldOutNumbers
from mechcausal.probes.procedure import (
    ProbeCost,
    ProbeKind,
    ProbingMethod,
    Procedure,
    Prompts,
    Score,
    best_possible,
    check_pool,
    edits_of,
    examples,
    kind_for,
    read_labels,
    task_of,
    task_or_name,
)
from mechcausal.probes.readings import Pool, Reading, readings
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result, mark_of
from mechcausal.results.table import tabulate

# How many bytes of activations are held at a time; a larger sweep runs the model once for each part of its places.
BUDGET = 1 << 30


@dataclass(frozen=True, repr=False)
class ProbeSweep(Result):
    """One row for each place and concept.

    `value` is the held-out accuracy (or balanced accuracy) there, of a continuous concept R2; `change` is by how much it
    exceeds the best constant guess, and `effect` the share of the way from that guess (0) to reading without error (1),
    each with its interval; `effect` is what is drawn. Further columns:

    - `concept`, `kind` and the numbers of a probe's `Report`: `accuracy` with its interval, `guess`, `balanced_accuracy`,
      `auc`, `information` in bits with its interval, `bits` of `entropy`, and `bayes` where it is known;
    - of a continuous concept `r2` with its interval, `correlation`, `error` and `spread` instead (see `NumberReport`);
    - `selectivity` and `control`, `mdl` and `compression` where they were asked for.

    `p`, `q` and `p_max` test "it reads no more than the best constant guess": `p` by the t-test of `change`, or by exchanged
    labels where `permutations` were asked for; `q` and `p_max` are corrected for all rows.

    `examples` are the hits of each example; an example without label, or too short for the position, is NaN.
    """

    @property
    def shown(self) -> str:
        """The column that is drawn unless said otherwise."""
        return "effect"

    @property
    def _tested(self) -> str:
        """What is tested at each place."""
        return "rows differ from guessing"

    def _head_lines(self) -> list[str]:
        """Say what was read at how many places."""
        p = self.provenance
        return [
            f"{p.method}: {len(self)} places, {p.arguments['kind']}, held-out {p.arguments['score']} of "
            f"{self.examples.shape[1]} examples, {p.compute['forwards']} forwards"
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say where each concept is read best, and what guessing and the best possible reader reach there."""
        lines = []
        for concept, part in self.frame.groupby("concept", sort=False):
            lines.append(f"{concept}, {part['n'].max()} examples, guessing {part['guess'].iloc[0]:.3f}")
            for _, row in part.sort_values("effect", ascending=False, kind="stable").head(k).iterrows():
                lines.append(f"{mark_of(row)}{row['site'] + row['at']:<26} {_told(row)}")
        return lines


@dataclass(frozen=True, kw_only=True)
class ProbeSweeping(ProbingMethod[Prompts, ProbeSweep]):
    """Fit a probe at every place: where can this concept be read?

    Estimand: as for `probe`, for each place. Positions at which the labels have one value only are NaN.

    Attributes:
        labels: What is to be read, as for `probe`.
        sites: A component word, a pattern, a site, or a list of these.
        at: `"each"`, `"all"` (pooled), a selection or a list of selections.
        pool: What becomes of several positions: their mean, their maximum, or an example `"each"`.
        kind: What kind of probe; by default `"logistic"` for classes and `"ridge"` for numbers.
        concept: What the concept is called.
        score: `"accuracy"`, or `"balanced_accuracy"`, in which all classes count alike.
        types: The type of each prompt for the control tasks.
        task: The task that the prompts are from, or its name, so that the best possible accuracy can be computed.
        control: Whether to run control tasks at every place.
        mdl: Whether to compute the online code at every place.
        permutations: How many times labels are shuffled at every place; q-values are over all places.
        edits: Edits under which the model runs.

    Example:
        >>> import mechcausal as mc
        >>> model, task = mc.load("organism:hiring"), mc.task("hiring")
        >>> sweep = mc.features.probe_sweep(model, task.prompts(model, 200), "gender", task=task)
        >>> sweep.plot()  # doctest: +SKIP
    """

    word: ClassVar[str] = "probe_sweep"
    labels: Any = field(kw_only=False)
    sites: SiteSpec = "resid_post"
    at: Positions = "each"
    pool: Pool = "mean"
    kind: ProbeKind | None = None
    concept: str | None = None
    score: Score = "accuracy"
    types: Any = None
    task: Task | str | None = field(default=None, metadata={"read": task_or_name})
    control: bool = False
    mdl: bool = False
    permutations: CountOrZero = 0
    edits: Sequence[Edit] = field(default=(), metadata={"read": edits_of})

    def run(self, model: Model, data: Prompts) -> ProbeSweep:
        """Fit and measure a probe at every place."""
        started = time.perf_counter()
        prompts, labels, parts = self._asked(model, data)
        procedure, task = self._procedure(labels), task_of(self.task)
        score = self.score if labels.numbers is None else "r2"
        rows, cells, forwards = [], [], 0
        bar = tqdm(total=sum(map(len, parts)), desc="probing", unit="place", disable=None, leave=False)
        for part in parts:
            for reading in readings(model, prompts, part, pool=self.pool, edits=self.edits, batch_size=self.batch_size):
                row, cell = read_cell(prompts, reading, labels, self.types, task, procedure)
                rows.append(row)
                cells.append(cell)
                bar.update()
            forwards += -(-len(prompts) // self.batch_size)
        bar.close()
        provenance = Provenance(
            method=self.word,
            arguments={
                "metric": score, "score": score, "concept": labels.concept, "classes": list(labels.classes),
                "kind": procedure.kind, "sites": plain(self.sites), "at": plain(self.at), "pool": self.pool,
                "folds": self.folds, "settings": {"C": procedure.settings.C, "k": self.k},
                "edits": [edit.to_json() for edit in self.edits][:8],
            },
            seed=self.seed,
            **facts(model, prompts, started=started, forwards=forwards, batch_size=self.batch_size),
        )  # fmt: skip
        return gathered(rows, cells, prompts, score, provenance)

    def cost(self, model: Model, data: Prompts) -> ProbeCost:
        """Return what it would take; nothing is run."""
        prompts, labels, parts = self._asked(model, data)
        where = sum(map(len, parts))
        return ProbeCost(
            where, len(prompts), len(parts) * len(prompts), where * len(prompts), where * self._procedure(labels).fits
        )

    def _procedure(self, labels: Labels) -> Procedure:
        kind = kind_for(labels, self.kind)
        return self.procedure(kind, control=self.control, mdl=self.mdl, permutations=self.permutations)

    def _asked(self, model: Model, data: Prompts) -> tuple[PromptSet, Labels, list[Sequence[Place]]]:
        """Return the prompts, what is to be read from them, and the places in parts whose activations fit."""
        prompts = one_set(data)
        labels = read_labels(prompts, self.labels, self.concept, self.kind, task_of(self.task))
        able = abilities(model)
        where = places(expand(self.sites, able.shape), self.at, prompts)
        for place in where:
            check_pool(labels, place, self.pool)
        widest = max(math.prod(able.shape_at(place.site.whole)) for place in where)
        return prompts, labels, _parts(where, len(prompts), widest)


Cell = tuple[np.ndarray, HeldOut | HeldOutNumbers]


def read_cell(
    prompts: PromptSet,
    read: Reading,
    labels: Labels,
    types: Any,  # noqa: ANN401
    task: Task | None,
    procedure: Procedure,
) -> tuple[dict[str, Any], Cell | None]:
    """Return the columns of one place, and the prompts and held-out scores of its examples.

    There are none where the labels have one value only. The activations themselves are let go.
    """
    row = read.place.row() | {"concept": labels.concept, "kind": procedure.kind}
    table = labels.codes if labels.numbers is None else labels.numbers
    values = table[read.rows, read.columns] if labels.of_tokens else table[read.rows]
    present = np.unique(values[values >= 0] if labels.numbers is None else values[np.isfinite(values)])
    if len(present) < 2:
        return row, None
    if labels.numbers is None and len(present) < len(labels.classes):  # at this position some classes do not occur
        codes = np.searchsorted(present, labels.codes)
        kept = np.isin(labels.codes, present)
        names = tuple(labels.classes[code] for code in present)
        labels = replace(labels, codes=np.where(kept, codes, -1), classes=names)
    data = examples(prompts, read, labels, types)
    held_out = procedure.held_out(data)
    bayes = best_possible(task, prompts, labels, read.place)
    return row | procedure.report(data, held_out, bayes).row(), (data.rows, held_out)


def gathered(
    rows: Sequence[dict[str, Any]],
    cells: Sequence[Cell | None],
    prompts: PromptSet,
    score: str,
    provenance: Provenance,
) -> ProbeSweep:
    """Make the result of places and what was read there: the mean over a prompt's tokens where each is an example."""
    shape = (len(rows), len(prompts))
    hits, guesses, perfect = (np.full(shape, np.nan) for _ in range(3))
    influence = np.zeros(shape)
    for number, cell in enumerate(cells):
        if cell is None:
            continue
        rows_of, held_out = cell
        weight, guess = np.ones(len(held_out.y)), held_out.guesses
        if score == "balanced_accuracy" and isinstance(held_out, HeldOut):
            weight = held_out.balance
            guess = weight / held_out.log_probabilities.shape[1]
        for table, values in ((hits, held_out.hits * weight), (guesses, guess), (perfect, weight)):
            table[number] = _by_prompt(values, rows_of, len(prompts))
        if isinstance(held_out, HeldOutNumbers):
            # Errors are shares of the mean error of guessing, which is estimated on the same examples: R2 is a ratio.
            share = np.nanmean(hits[number] - guesses[number])
            influence[number] = share * (guesses[number] - np.nanmean(guesses[number]))
            perfect[number] = guesses[number] + 1  # so that the whole way from guessing to reading without error is 1
    if not any(np.isfinite(row.get("p", np.nan)) for row in rows):
        rows = [{name: value for name, value in row.items() if name != "p"} for row in rows]
    clusters = tuple(f"unit {unit}" for unit in units(prompts))
    baselines = {"base": guesses, "clean": perfect, "corrupt": guesses}
    frame = tabulate(rows, hits, baselines, clusters, influence=influence)
    return ProbeSweep(frame, provenance, hits, {"base": guesses}, prompts.groups, clusters)


def _by_prompt(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    counts = np.bincount(rows, minlength=n)
    sums = np.bincount(rows, weights=values, minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _parts(where: Sequence[Place], n: int, width: int) -> list[Sequence[Place]]:
    """Cut the places into parts whose activations fit into the budget."""
    most = max(1, BUDGET // (4 * n * max(width, 1)))
    return [where[begin : begin + most] for begin in range(0, len(where), most)]


def _told(row: pd.Series) -> str:
    if not np.isfinite(row["value"]):
        return "one value only"
    text = (
        f"{row['value']:.3f}, {row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}] over guessing"
    )
    if np.isfinite(row["bayes"]):
        text += f"; best possible {row['bayes']:.3f}"
    for name in ("selectivity", "compression", "p"):
        if name in row and np.isfinite(row[name]):
            text += f"; {name} {row[name]:.3g}"
    return text


probe_sweep = function(ProbeSweeping, data="prompts", about="The prompts, or pairs, of which both sides are taken.")
