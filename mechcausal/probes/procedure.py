"""How probes are fitted at one place: what every method that fits probes shares, and the examples of a place."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from mechcausal.probes.held_out import HeldOut, cross_validate
from mechcausal.probes.kinds import Settings
from mechcausal.probes.labels import Labels, labels_of
from mechcausal.probes.readings import Pool, Reading

At = str | int | slice | Selection
Prompts = PromptSet | Contrast
ProbeKind = Literal["means", "logistic", "sparse", "quadratic", "mlp"]
Strength = Annotated[float, number("a number above 0", np.nextafter(0.0, 1.0))]
Folds = Annotated[int, number("a whole number of at least 2", 2, whole=True)]
Score = Literal["accuracy", "balanced_accuracy"]


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
            values the best is chosen by cross-validation within the examples that a probe is fitted to.
        k: How many coordinates a sparse probe may read at most.
        components: How many principal components the quadratic probe multiplies at most.
        hidden: The width of the network.
        folds: How many folds of cross-validation.
        batch_size: How many prompts at a time.
        seed: The seed of folds, controls and networks.
    """

    C: Strength | tuple[Strength, ...] = 1.0
    k: Count = 16
    components: Count = 48
    hidden: Count = 64
    folds: Folds = 5
    batch_size: Count = 64
    seed: Seed = 0

    @property
    def settings(self) -> Settings:
        """How each probe is fitted."""
        return Settings(self.C, self.k, self.components, self.hidden, self.seed)


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

    def held_out(self, data: Examples) -> HeldOut:
        """Cross-validate."""
        return cross_validate(
            self.kind, data.x, data.y, data.clusters, folds=self.folds, settings=self.settings, seed=self.seed
        )

    def controls(self, data: Examples) -> dict[str, Any]:
        """Run the controls that are asked for, and return the fields of a `Report` that they fill."""
        fields: dict[str, Any] = {}
        shared: dict[str, Any] = {"settings": self.settings, "seed": self.seed}
        if self.control:
            compared = selectivity(self.kind, data.x, data.y, data.types, data.clusters, folds=self.folds, **shared)
            fields |= {"control": compared.control, "selectivity": compared.selectivity, "types": compared.types}
        if self.mdl:
            code = online_code(self.kind, data.x, data.y, data.clusters, **shared)
            fields |= {"mdl": code.bits, "compression": code.compression}
        if self.permutations:
            draws = self.permutations
            null = permutation_null(self.kind, data.x, data.y, data.clusters, draws=draws, folds=self.folds, **shared)
            fields |= {"p": null.p, "permutations": draws}
        return fields


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
    y = labels.codes[read.rows, read.columns] if labels.of_tokens else labels.codes[read.rows]
    kept = y >= 0
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
    clusters = units(prompts)[read.rows]
    for code, name in enumerate(labels.classes):
        if len(np.unique(clusters[y == code])) < 2:
            raise DataError(
                f"the class {name!r} of {labels.concept!r} is in one cluster only, so that it cannot be held out",
                fix="bring more clusters, or leave the class out of the labels (None)",
            )
    if types is not None:
        of = labels_of(prompts, types, "types").codes
        kind = of[read.rows, read.columns] if of.ndim == 2 else of[read.rows]
    elif read.pooled:
        kind = read.rows
    else:
        kind = prompts.tokens.cpu().numpy()[read.rows, read.columns]
    return Examples(read.x[kept], y[kept], clusters[kept], kind[kept], read.rows[kept])


def best_possible(task: Task | None, prompts: PromptSet, labels: Labels, place: Place) -> float:
    """Return the accuracy of the best possible reader at a place, NaN where it is not known."""
    if task is None or labels.concept not in task.scm.graph or labels.of_tokens:
        return float("nan")
    names = set(prompts.environments)
    known = {"broad", *task.environments}
    seen = visible(task, prompts, place.site, place.at)
    if seen is None or len(names) != 1 or not names <= {"world", *known}:
        return float("nan")
    environment = names.pop()
    return bayes_accuracy(task, labels.concept, seen, environment=environment if environment in known else None)
