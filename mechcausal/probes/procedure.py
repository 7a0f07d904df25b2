"""How probes are fitted at one place: what every method that fits probes shares, and the examples of a place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from mechcausal.address import Place, Selection
from mechcausal.arguments import Count, Seed, number
from mechcausal.catalog import TASKS
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import units
from mechcausal.data.tasks import task as task_called
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.interventions.specs import edit_from_json
from mechcausal.method import Cost, Data, Method, Outcome
from mechcausal.probes.bayes import bayes_accuracy, visible
from mechcausal.probes.controls import DRAWS, online_code, permutation_null, selectivity
from mechcausal.probes.fitted import Report
from mechcausal.probes.held_out import HeldOut, best_settings, cross_validate
from mechcausal.probes.kinds import Readout, Settings, fit
from mechcausal.probes.labels import Labels, labels_of
from mechcausal.probes.numbers import (
    HeldOutNumbers,
    NumberReport,
    best_penalty,
    cross_validate_numbers,
    number_controls,
)
from mechcausal.probes.readings import Pool, Reading

At = str | int | slice | Selection
Prompts = PromptSet | Contrast
ProbeKind = Literal["means", "logistic", "sparse", "quadratic", "mlp", "ridge"]
Strength = Annotated[float, number("a number above 0", np.nextafter(0.0, 1.0))]
Folds = Annotated[int, number("a whole number of at least 2", 2, integer=True)]
Score = Literal["accuracy", "balanced_accuracy"]
PENALTIES = (1.0, 0.1, 0.01, 0.001)  # what a probe of numbers chooses from


def task_or_name(value: Any) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Return a task that ships by its name, which a file can hold, and anything else as it is."""
    ships = isinstance(value, Task) and value.name in TASKS and task_called(value.name) is value
    return value.name if ships else value


def task_of(value: Task | str | None) -> Task | None:
    """Return the task of a specification."""
    return task_called(value) if isinstance(value, str) else value


def edits_of(values: Any) -> Any:  # noqa: ANN401
    """Return edits of which some may be given in their plain form."""
    if not isinstance(values, (list, tuple)):
        return values  # which is refused by its kind
    return tuple(edit_from_json(dict(edit)) if isinstance(edit, dict) else edit for edit in values)


@dataclass(frozen=True, kw_only=True)
class ProbingMethod(Method[Data, Outcome]):
    """What all methods that fit probes share.

    Attributes:
        C: The inverse strength of the squared penalty on standardized coordinates; `inf` is no penalty. Of several
            values the best is chosen by cross-validation within the examples that a probe is fitted to. By default 1 for
            classes, and one of 1, 0.1, 0.01 and 0.001 for numbers.
        k: How many coordinates a sparse probe may read at most.
        components: How many principal components the quadratic probe multiplies at most.
        hidden: The width of the network.
        folds: How many folds of cross-validation.
        batch_size: How many prompts at a time.
        seed: The seed of folds, controls and networks.
    """

    C: Strength | tuple[Strength, ...] | None = None
    k: Count = 16
    components: Count = 48
    hidden: Count = 64
    folds: Folds = 5
    batch_size: Count = 64
    seed: Seed = 0

    def settings(self, kind: str) -> Settings:
        """Return how probes of a kind are fitted."""
        default = PENALTIES if kind == "ridge" else 1.0
        return Settings(default if self.C is None else self.C, self.k, self.components, self.hidden, self.seed)

    def procedure(self, kind: str, *, control: bool = False, mdl: bool = False, permutations: int = 0) -> Procedure:
        """Return what is done with the examples of one place; there is no online code of numbers."""
        return Procedure(
            kind, self.settings(kind), self.folds, self.seed, control, mdl and kind != "ridge", permutations
        )


def kind_for(labels: Labels, kind: ProbeKind | None) -> ProbeKind:
    """Return the kind of probe that reads these labels."""
    return kind or ("logistic" if labels.numbers is None else "ridge")


def read_labels(
    prompts: PromptSet,
    labels: Any,  # noqa: ANN401 - many forms
    concept: str | None,
    kind: ProbeKind | None,
    task: Task | None,
) -> Labels:
    """Return what a probe of this kind is to read from prompts, with the words of the task."""
    return in_words(labels_of(prompts, labels, concept, None if kind is None else kind == "ridge"), task)


@dataclass(frozen=True)
class ProbeCost(Cost):
    """What fitting probes would take.

    Attributes:
        fits: How many probes are fitted, those of folds and controls included.
    """

    fits: int = 0

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.cells:,} places x {self.examples:,} prompts: {self.forwards:,.0f} forwards of one prompt, "
            f"about {self.fits:,} fits"
        )


@dataclass(frozen=True)
class Procedure:
    """What is done with the examples of one place.

    Attributes:
        kind: The kind of probe.
        settings: How probes are fitted.
        folds: How many folds.
        seed: The seed of folds and controls.
        control: Whether to run control tasks.
        mdl: Whether to compute the online code.
        permutations: How many times labels are shuffled.
    """

    kind: str
    settings: Settings
    folds: int = 5
    seed: int = 0
    control: bool = False
    mdl: bool = False
    permutations: int = 0

    @property
    def fits(self) -> int:
        """About how many probes are fitted at a place; the online code fits some more, to fewer examples."""
        return self.folds * (1 + self.control * (1 + DRAWS) + (1 + self.permutations) * (self.permutations > 0))

    def held_out(self, data: Examples) -> HeldOut | HeldOutNumbers:
        """Cross-validate."""
        shared: dict[str, Any] = {"folds": self.folds, "settings": self.settings, "seed": self.seed}
        if self.kind == "ridge":
            return cross_validate_numbers(data.x, data.y, data.clusters, **shared)
        return cross_validate(self.kind, data.x, data.y, data.clusters, **shared)

    def report(self, data: Examples, held_out: HeldOut | HeldOutNumbers, bayes: float) -> Report | NumberReport:
        """Return what was reached, with the controls that are asked for."""
        shared: dict[str, Any] = {"folds": self.folds, "settings": self.settings, "seed": self.seed}
        if isinstance(held_out, HeldOutNumbers):
            controls = number_controls(
                data.x,
                data.y,
                data.types,
                data.clusters,
                control=self.control,
                permutations=self.permutations,
                **shared,
            )
            return NumberReport.of(held_out, **controls)
        fields: dict[str, Any] = {"bayes": bayes}
        if self.control:
            compared = selectivity(self.kind, data.x, data.y, data.types, data.clusters, **shared)
            fields |= {"control": compared.control, "selectivity": compared.selectivity, "types": compared.types}
        if self.mdl:
            code = online_code(self.kind, data.x, data.y, data.clusters, settings=self.settings, seed=self.seed)
            fields |= {"mdl": code.bits, "compression": code.compression}
        if self.permutations:
            draws = self.permutations
            null = permutation_null(self.kind, data.x, data.y, data.clusters, draws=draws, **shared)
            fields |= {"p": null.p, "permutations": draws}
        return Report.of(held_out, **fields)

    def fitted(self, data: Examples) -> tuple[Readout, Settings]:
        """Return the probe of all examples, and how it was fitted."""
        best = best_penalty if self.kind == "ridge" else partial(best_settings, self.kind)
        chosen = best(data.x, data.y, data.clusters, self.settings, self.seed)
        return fit(self.kind, data.x, data.y, chosen), chosen


@dataclass(frozen=True, eq=False)
class Examples:
    """What a probe is fitted to at one place.

    Attributes:
        x: The activations, [example feature].
        y: The classes, [example].
        clusters: The independent unit of each example, a number.
        types: The type of each example, a number.
        rows: The prompt of each example.
    """

    x: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    types: np.ndarray
    rows: np.ndarray


def in_words(labels: Labels, task: Task | None) -> Labels:
    """Name the classes of a task's variable by its words."""
    words = task.scm.values.get(labels.concept) if task else None
    if words is None or not all(name.isdecimal() and int(name) < len(words) for name in labels.classes):
        return labels
    return replace(labels, classes=tuple(words[int(name)] for name in labels.classes))


def check_pool(labels: Labels, place: Place, pool: Pool) -> None:
    """Refuse labels of tokens for what is pooled over tokens."""
    if labels.of_tokens and pool != "each" and not (place.at.is_single or place.at.name):
        raise DataError(
            f"the labels {labels.concept!r} are of tokens, and {place.at} is pooled over tokens",
            got=f"pool={pool!r}",
            expected="pool='each'",
        )


def examples(prompts: PromptSet, read: Reading, labels: Labels, types: Any = None) -> Examples:  # noqa: ANN401
    """Put activations and labels side by side, without the examples that have no label."""
    y = _at(labels.codes, read)
    kept = y >= 0
    clusters = units(prompts)[read.rows]
    if labels.numbers is not None:
        _require_spread(labels, _at(labels.numbers, read)[kept], clusters[kept], read.place)
        return Examples(
            read.x[kept], _at(labels.numbers, read)[kept], clusters[kept],
            _types(prompts, read, types)[kept], read.rows[kept],
        )  # fmt: skip
    present = np.unique(y[kept])
    if len(present) < 2:
        what = f"{labels.classes[present[0]]!r}" if len(present) else "missing"
        raise DataError(
            f"the labels {labels.concept!r} at {read.place.site}{read.place.at} are all {what}",
            expected="two classes at least",
        )
    if len(present) < len(labels.classes):
        missing = next(name for code, name in enumerate(labels.classes) if code not in present)
        raise DataError(
            f"the class {missing!r} of {labels.concept!r} does not occur at {read.place.site}{read.place.at}",
            fix="leave it out of the labels (None)",
        )
    for code, name in enumerate(labels.classes):
        if len(np.unique(clusters[y == code])) < 2:
            raise DataError(
                f"the class {name!r} of {labels.concept!r} is in one cluster only, so that it cannot be held out",
                fix="bring more clusters, or leave the class out of the labels (None)",
            )
    return Examples(read.x[kept], y[kept], clusters[kept], _types(prompts, read, types)[kept], read.rows[kept])


def _at(table: np.ndarray, read: Reading) -> np.ndarray:
    """Return the entry of each example, of a table of prompts or of tokens."""
    return table[read.rows, read.columns] if table.ndim == 2 else table[read.rows]


def _types(prompts: PromptSet, read: Reading, types: Any) -> np.ndarray:  # noqa: ANN401
    """Return the type of each example: as given, its prompt where positions are pooled, or its token."""
    if types is not None:
        return _at(labels_of(prompts, types, "types").codes, read)
    return read.rows if read.pooled else prompts.tokens.cpu().numpy()[read.rows, read.columns]


def _require_spread(labels: Labels, values: np.ndarray, clusters: np.ndarray, place: Place) -> None:
    """Refuse numbers that are all alike at a place, or of one cluster."""
    if not len(values) or np.ptp(values) == 0:
        what = f"{values[0]:.4g}" if len(values) else "missing"
        raise DataError(f"the labels {labels.concept!r} at {place} are all {what}", expected="numbers that differ")
    if len(np.unique(clusters)) < 2:
        raise DataError(
            f"the labels {labels.concept!r} at {place} are of one cluster, so that none can be held out",
            fix="bring more clusters",
        )


def best_possible(task: Task | None, prompts: PromptSet, labels: Labels, place: Place) -> float:
    """Return the accuracy of the best possible reader at a place, NaN where it is not known."""
    if labels.numbers is not None or task is None or labels.concept not in task.scm.graph or labels.of_tokens:
        return float("nan")
    names = set(prompts.environments)
    environments = {"broad", *task.environments}
    seen = visible(task, prompts, place.site, place.at)
    if seen is None or len(names) != 1 or not names <= {"world", *environments}:
        return float("nan")
    environment = names.pop()
    return bayes_accuracy(task, labels.concept, seen, environment=environment if environment in environments else None)
