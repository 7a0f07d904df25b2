"""Probes at every place of a model: where can a concept be read? One row for each place, a picture layer x position."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mechcausal.address import Place, expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions, SiteSpec, places, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import units
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Edit
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.probes.fitted import Report
from mechcausal.probes.held_out import HeldOut
from mechcausal.probes.kinds import Settings
from mechcausal.probes.labels import Labels, labels_of, one_set
from mechcausal.probes.probing import Procedure, best_possible, check_pool, examples, in_words, settings_of
from mechcausal.probes.readings import Pool, Reading, readings
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result
from mechcausal.results.table import tabulate

Score = Literal["accuracy", "balanced_accuracy"]
# How many bytes of activations are held at a time; a larger sweep runs the model once for each share of its places.
BUDGET = 1 << 30


@dataclass(frozen=True, repr=False)
class ProbeSweep(Result):
    """One row for each place and concept.

    `value` is the held-out accuracy (or balanced accuracy) there; `change` is by how much it exceeds the best constant
    guess, and `effect` the share of the way from that guess (0) to reading without error (1), each with its interval;
    `effect` is what is drawn. Further columns:

    - `concept`, `kind` and the numbers of a probe's `Report`: `accuracy` with its interval, `guess`, `balanced_accuracy`,
      `auc`, `information` in bits with its interval, `bits` of `entropy`, and `bayes` where it is known;
    - `selectivity` and `control`, `mdl` and `compression`, `p` and `q` where they were asked for: `q` over all rows.

    `examples` are the hits of each example; an example without label, or too short for the position, is NaN.
    """

    @property
    def shown(self) -> str:
        """The column that is drawn unless said otherwise."""
        return "effect"

    def summary(self, k: int = 5) -> str:
        """Say where each concept is read best, and what guessing and the best possible reader reach there."""
        p = self.provenance
        lines = [
            f"{p.method}: {len(self)} places, {p.arguments['kind']}, held-out {p.arguments['score']} of "
            f"{self.examples.shape[1]} examples, {p.compute['forwards']} forwards"
        ]
        for concept, part in self.frame.groupby("concept", sort=False):
            lines.append(f"{concept}, {part['n'].max()} examples, guessing {part['guess'].iloc[0]:.3f}")
            for _, row in part.sort_values("effect", ascending=False, kind="stable").head(k).iterrows():
                lines.append(f"  {row['site'] + row['at']:<26} {_told(row)}")
        return "\n".join(lines)


def probe_sweep(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompts: PromptSet | Contrast,
    labels: Any,  # noqa: ANN401 - a name, or one value for each prompt or token
    *,
    sites: SiteSpec = "resid_post",
    positions: Positions = "each",
    pool: Pool = "mean",
    kind: str = "logistic",
    concept: str | None = None,
    score: Score = "accuracy",
    types: Any = None,  # noqa: ANN401
    task: Task | None = None,
    control: bool = False,
    mdl: bool = False,
    permutations: int = 0,
    settings: Settings | None = None,
    folds: int = 5,
    edits: Sequence[Edit] = (),
    batch_size: int = 64,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> ProbeSweep:
    """Fit a probe at every place: where can this concept be read?

    Estimand: as for `probe`, for each place. Positions at which the labels have one class only are NaN.

    Args:
        model: The model.
        prompts: The prompts, or pairs, of which both sides are taken.
        labels: What is to be read, as for `probe`.
        sites: A component word, a pattern, a site, or a list of these.
        positions: `"each"`, `"all"` (pooled), a selection or a list of selections.
        pool: What becomes of several positions: their mean, their maximum, or an example `"each"`.
        kind: What kind of probe.
        concept: What the concept is called.
        score: `"accuracy"`, or `"balanced_accuracy"`, in which all classes count alike.
        types: The type of each prompt for the control tasks.
        task: The task that the prompts are from, so that the best possible accuracy can be computed.
        control: Whether to run control tasks at every place.
        mdl: Whether to compute the online code at every place.
        permutations: How many times labels are shuffled at every place; q-values are over all places.
        settings: How probes are fitted; its fields may be given as options (`C=0.1`, `k=4`).
        folds: How many folds.
        edits: Edits under which the model runs.
        batch_size: How many prompts at a time.
        seed: The seed of folds, controls and networks.
        **options: Fields of `Settings`.

    Example:
        >>> import mechcausal as mc
        >>> model, task = mc.load("organism:hiring"), mc.task("hiring")
        >>> found = mc.features.probe_sweep(model, task.prompts(model, 200), "gender", task=task)
        >>> found.plot()  # doctest: +SKIP
    """
    started = time.perf_counter()
    prompts = one_set(prompts)
    settings = settings_of(settings, options, seed)
    if score not in get_args(Score):
        raise DataError("a sweep is scored in two ways", got=repr(score), expected="'accuracy' or 'balanced_accuracy'")
    named = in_words(labels_of(prompts, labels, concept), task)
    able = abilities(model)
    where = places(expand(sites, able.shape), positions, prompts)
    for place in where:
        check_pool(named, place, pool)
    asked = Procedure(kind, settings, folds, seed, control, mdl, permutations)
    rows, cells, forwards = [], [], 0
    bar = tqdm(total=len(where), desc="probing", unit="place", disable=None, leave=False)
    widest = max(math.prod(able.shape_at(place.site.whole)) for place in where)
    for share in _shares(where, len(prompts), widest):
        for read in readings(model, prompts, share, pool=pool, edits=edits, batch_size=batch_size):
            row, cell = read_cell(prompts, read, named, types, task, asked)
            rows.append(row)
            cells.append(cell)
            bar.update()
        forwards += -(-len(prompts) // batch_size)
    bar.close()
    provenance = Provenance(
        method="probe_sweep",
        arguments={
            "metric": score, "score": score, "concept": named.concept, "classes": list(named.classes), "kind": kind,
            "sites": plain(sites), "positions": plain(positions), "pool": pool, "folds": folds,
            "settings": {"C": settings.C, "k": settings.k}, "edits": [edit.to_json() for edit in edits][:8],
        },
        seed=seed,
        **facts(model, prompts, started=started, forwards=forwards, batch_size=batch_size),
    )  # fmt: skip
    return gathered(rows, cells, prompts, pool, score, provenance)


Cell = tuple[np.ndarray, HeldOut]


def read_cell(
    prompts: PromptSet,
    read: Reading,
    labels: Labels,
    types: Any,  # noqa: ANN401
    task: Task | None,
    asked: Procedure,
) -> tuple[dict[str, Any], Cell | None]:
    """Return the columns of one place, and the prompts and held-out scores of its examples.

    There are none where the labels have one class only. The activations themselves are let go.
    """
    row = read.place.row() | {"concept": labels.concept, "kind": asked.kind}
    y = labels.codes[read.rows, read.columns] if labels.of_tokens else labels.codes[read.rows]
    present = np.unique(y[y >= 0])
    if len(present) < 2:
        return row, None
    if len(present) < len(labels.classes):  # at this position some classes do not occur
        codes = np.searchsorted(present, labels.codes)
        kept = np.isin(labels.codes, present)
        names = tuple(labels.classes[code] for code in present)
        labels = replace(labels, codes=np.where(kept, codes, -1), classes=names)
    data = examples(prompts, read, labels, types)
    held = asked.held_out(data)
    bayes = best_possible(task, prompts, labels, read.place)
    return row | Report.of(held, bayes=bayes, **asked.controls(data)).row(), (data.rows, held)


def gathered(
    rows: Sequence[dict[str, Any]],
    cells: Sequence[Cell | None],
    prompts: PromptSet,
    pool: Pool,
    score: Score,
    provenance: Provenance,
) -> ProbeSweep:
    """Make the result of places and what was read there: the mean over a prompt's tokens where each is an example."""
    shape = (len(rows), len(prompts))
    hits, guesses, perfect = (np.full(shape, np.nan) for _ in range(3))
    for number, cell in enumerate(cells):
        if cell is None:
            continue
        rows_of, held = cell
        weight = held.balance if score == "balanced_accuracy" else np.ones(len(held.y))
        guess = weight / (held.log_probabilities.shape[1]) if score == "balanced_accuracy" else held.guesses
        for table, values in ((hits, held.hits * weight), (guesses, guess), (perfect, weight)):
            table[number] = _by_prompt(values, rows_of, len(prompts))
    clusters = tuple(f"unit {unit}" for unit in units(prompts))
    frame = tabulate(rows, hits, {"base": guesses, "clean": perfect, "corrupt": guesses}, clusters)
    return ProbeSweep(frame, provenance, hits, {"base": guesses}, prompts.groups, clusters)


def _by_prompt(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    counts = np.bincount(rows, minlength=n)
    sums = np.bincount(rows, weights=values, minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _shares(where: Sequence[Place], n: int, width: int) -> list[Sequence[Place]]:
    """Cut the places into shares whose activations fit into the budget."""
    most = max(1, BUDGET // (4 * n * max(width, 1)))
    return [where[begin : begin + most] for begin in range(0, len(where), most)]


def _told(row: pd.Series) -> str:
    if not np.isfinite(row["value"]):
        return "one class only"
    text = (
        f"{row['value']:.3f}, {row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}] over guessing"
    )
    if np.isfinite(row["bayes"]):
        text += f"; best possible {row['bayes']:.3f}"
    for name in ("selectivity", "compression", "p", "q"):
        if name in row and np.isfinite(row[name]):
            text += f"; {name} {row[name]:.3g}"
    return text
