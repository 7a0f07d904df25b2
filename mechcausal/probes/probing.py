"""Fit a probe at one place of a model, and say what it and its controls reach on held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mechcausal.address import Place, Selection, Site, expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import places
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import units
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError, SiteError
from mechcausal.interventions.specs import Edit
from mechcausal.models.abilities import abilities
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.probes.bayes import bayes_accuracy, visible
from mechcausal.probes.controls import online_code, permutation_null, selectivity
from mechcausal.probes.fitted import Probe, Report
from mechcausal.probes.held_out import HeldOut, best_settings, cross_validate
from mechcausal.probes.kinds import Settings, fit
from mechcausal.probes.labels import Labels, labels_of, one_set
from mechcausal.probes.readings import Pool, Reading, readings

At = str | int | slice | Selection


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

    def held_out(self, data: Examples) -> HeldOut:
        """Cross-validate."""
        return cross_validate(
            self.kind, data.x, data.y, data.clusters, folds=self.folds, settings=self.settings, seed=self.seed
        )

    def controls(self, data: Examples) -> dict[str, Any]:
        """Run the controls that are asked for, and return the fields of a `Report` that they fill."""
        told: dict[str, Any] = {}
        given: dict[str, Any] = {"settings": self.settings, "seed": self.seed}
        if self.control:
            found = selectivity(self.kind, data.x, data.y, data.types, data.clusters, folds=self.folds, **given)
            told |= {"control": found.control, "selectivity": found.selectivity, "types": found.types}
        if self.mdl:
            code = online_code(self.kind, data.x, data.y, data.clusters, **given)
            told |= {"mdl": code.bits, "compression": code.compression}
        if self.permutations:
            draws = self.permutations
            null = permutation_null(self.kind, data.x, data.y, data.clusters, draws=draws, folds=self.folds, **given)
            told |= {"p": null.p, "permutations": draws}
        return told


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


def probe(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompts: PromptSet | Contrast,
    labels: Any,  # noqa: ANN401 - a name, or one value for each prompt or token
    site: str | Site,
    *,
    at: At = "@-1",
    pool: Pool = "mean",
    kind: str = "logistic",
    concept: str | None = None,
    types: Any = None,  # noqa: ANN401
    task: Task | None = None,
    control: bool = True,
    mdl: bool = True,
    permutations: int = 0,
    settings: Settings | None = None,
    folds: int = 5,
    edits: Sequence[Edit] = (),
    batch_size: int = 64,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> Probe:
    """Fit a probe: can this concept be read at this place?

    Estimand of `report.accuracy`: the chance that a probe fitted in this way to prompts of other clusters reads the
    concept of a new prompt right. It says what is *available*, never what the model uses. Examples of one cluster, and
    prompts with the same text, are never on both sides.

    Args:
        model: The model.
        prompts: The prompts, or pairs, of which both sides are taken.
        labels: What is to be read: a variable or column of the prompts by its name, or one value for each prompt (or
            for each token, [prompt pos], with `pool="each"`). None and NaN leave an example out.
        site: Where: a stream, a head, a neuron, the features of a dictionary.
        at: At which positions.
        pool: What becomes of several positions: their mean, their maximum, or an example `"each"`.
        kind: `"means"`, `"logistic"`, `"sparse"`, `"quadratic"` or `"mlp"`.
        concept: What the concept is called.
        types: The type of each prompt for the control tasks, as labels are given; the token at the position (or the
            prompt, where several are pooled) unless said otherwise.
        task: The task that the prompts are from, so that the best possible accuracy can be computed.
        control: Whether to run control tasks.
        mdl: Whether to compute the online code.
        permutations: How many times labels are shuffled for a p-value.
        settings: How probes are fitted; its fields may be given as options (`C=0.1`, `k=4`).
        folds: How many folds.
        edits: Edits under which the model runs, for what can still be read after them.
        batch_size: How many prompts at a time.
        seed: The seed of folds, controls and networks.
        **options: Fields of `Settings`.

    Example:
        >>> import mechcausal as mc
        >>> model, task = mc.load("organism:hiring"), mc.task("hiring")
        >>> found = mc.features.probe(model, task.prompts(model, 200), "gender", "L2.resid_post", at="@decision")
        >>> bool(found.report.accuracy.estimate > 0.9)
        True
    """
    prompts = one_set(prompts)
    settings = settings_of(settings, options, seed)
    named = in_words(labels_of(prompts, labels, concept), task)
    sites = expand([Site.parse(site)], abilities(model).shape)
    where = places(sites, Selection.parse(at), prompts)
    if len(where) > 1:
        raise SiteError("one probe reads one place", got=f"{len(where)} places", fix="use probe_sweep")
    check_pool(named, where[0], pool)
    read = readings(model, prompts, where, pool=pool, edits=edits, batch_size=batch_size)[0]
    data = examples(prompts, read, named, types)
    asked = Procedure(kind, settings, folds, seed, control, mdl, permutations)
    held = asked.held_out(data)
    chosen = best_settings(kind, data.x, data.y, data.clusters, settings, seed)
    return Probe(
        concept=named.concept,
        site=where[0].site,
        at=where[0].at,
        pool=pool,
        kind=kind,
        classes=named.classes,
        readout=fit(kind, data.x, data.y, chosen),
        report=Report.of(held, bayes=best_possible(task, prompts, named, where[0]), **asked.controls(data)),
        settings=chosen,
        fitted={
            "n": len(data.y), "n_clusters": len(np.unique(data.clusters)), "width": data.x.shape[1],
            "prompts": prompts.hash, "weights": weights_fingerprint(model), "seed": seed,
        },
    )  # fmt: skip


def settings_of(settings: Settings | None, options: dict[str, Any], seed: int) -> Settings:
    """Return the settings with these fields changed."""
    known = ("C", "k", "components", "hidden")
    for name in options:
        if name not in known:
            raise DataError(f"a probe has no setting {name!r}", expected=", ".join(known))
    return replace(settings or Settings(seed=seed), **options)


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
