"""Attribute inference: can somebody's private attribute be read from the activations, and is it used?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from mechcausal.address import Place, Selection, Site, expand, vector
from mechcausal.arguments import Kind, Text, number
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Bar, Bars
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_balanced
from mechcausal.audits.privacy.adversaries import ADVERSARIES, KIND, Adversary, Reader, readers
from mechcausal.audits.privacy.words import word_counts
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import SiteSpec, as_text, places
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import units
from mechcausal.errors import MechcausalError
from mechcausal.interventions.specs import Edit, Erase
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.probes.controls import selectivity
from mechcausal.probes.kinds import Linear, Settings
from mechcausal.probes.labels import labels_of, one_set
from mechcausal.probes.readings import readings
from mechcausal.results.multiplicity import holm

FEWEST = 8
"""Clusters of each class that are needed, so that each half has a few."""
_RANDOM = 8  # random directions beside the probe's
_SHOWN = 12  # bars of the figure
_Adversaries = Annotated[
    tuple[Adversary, ...],
    Kind(f"a list of {', '.join(ADVERSARIES)}", lambda value: bool(value) and set(value) <= set(ADVERSARIES)),
]


@dataclass(frozen=True, kw_only=True)
class AttributeInference(AuditQuestion):
    """Read an attribute from activations with adversaries of three strengths, and ablate the direction that is read.

    The strongest adversary and place are chosen on half of the clusters, and judged on the other half. What can be read
    is available, not used: the effect of ablating the probe's direction stands beside it, against random directions.
    Where an attribute is stored as a product of coordinates, a linear adversary sees nothing, so a threshold is never
    passed on linear adversaries alone.

    Attributes:
        labels: The attribute: a variable or column of the prompts by its name.
        sites: Where it is read: a component word, a site, or a list of these.
        at: At which position; several are averaged.
        adversaries: Which adversaries.
        folds: How many folds choose between them.
    """

    word: ClassVar[str] = "attribute_inference"
    family: ClassVar[Family] = "privacy"
    contrast: ClassVar[str] = "prompts of one class of the attribute against those of the others"
    population: ClassVar[str] = "prompts like those in the data"
    held_fixed: ClassVar[str] = "the model and every prompt: activations are read as they are"
    identified: ClassVar[Identified] = "attack-lower-bound"
    scale: ClassVar[str] = "balanced accuracy"
    assumptions: ClassVar[tuple[str, ...]] = ("the adversary sees activations, and examples with known attribute",)
    limits: ClassVar[tuple[str, ...]] = (
        "what is read is available, not used: the effect of ablating its direction stands in the table",
        "a stronger adversary, or another site, may read more",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (PromptSet, Contrast)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    labels: Text
    sites: SiteSpec = "resid_post"
    at: str | int = "@-1"
    adversaries: _Adversaries = ADVERSARIES
    folds: Annotated[int, number("a whole number of at least 2", 2, integer=True)] = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", as_text(self.sites))
        super().__post_init__()

    @property
    def estimand(self) -> str:
        """What the number is."""
        return (
            f"the balanced accuracy with which the strongest of the adversaries {', '.join(self.adversaries)} reads "
            f"{self.labels!r} of prompts of other clusters from the activations"
        )

    @property
    def site(self) -> str:
        """Where."""
        sites = self.sites if isinstance(self.sites, tuple) else (self.sites,)
        return f"{', '.join(map(str, sites))} {Selection.parse(self.at)}"

    def require_fit(self, desk: Desk) -> None:
        """Refuse sites that the model does not have."""
        super().require_fit(desk)
        self._places(desk, one_set(desk.data))

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say which labels are missing, and which classes are too small."""
        yield from super().problems(data)
        if not isinstance(data["data"], self.takes):
            return
        prompts = one_set(data["data"])
        try:
            labels = labels_of(prompts, self.labels)
        except MechcausalError as error:
            yield str(error)
            return
        clusters = units(prompts)
        for code, name in enumerate(labels.classes):
            count = len(np.unique(clusters[labels.codes == code]))
            if count < FEWEST:
                yield f"the class {name!r} of {self.labels!r} is in {count} clusters, and {FEWEST} are needed"

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards of one prompt it takes: to read, and where directions are ablated, to ask without each."""
        moved = "linear" in self.adversaries and bridge.has_head(desk.model)
        return desk.size * (1 + moved * (3 + _RANDOM))

    def answer(self, desk: Desk) -> Answer:
        """Return what the strongest adversary reads."""
        prompts = one_set(desk.data)
        labels = labels_of(prompts, self.labels)
        kept = np.flatnonzero(labels.codes >= 0)
        prompts, y = prompts.take(kept.tolist()), labels.codes[kept]
        clusters = units(prompts)
        where = self._places(desk, prompts)
        activations = self._activations(desk, prompts, where)
        ranked = readers(activations, y, clusters, self.adversaries, folds=self.folds, seed=desk.seed, level=desk.level)
        best, chance = ranked[0], 1 / len(labels.classes)
        linear = next((reader for reader in ranked if reader.adversary == "linear"), None)
        used = (
            []
            if linear is None
            else self._used(desk, prompts, where[linear.place], linear, activations[linear.place], y)
        )
        table = pd.DataFrame([reader.row() for reader in ranked])
        table["p_adjusted"] = holm(table["p"].to_numpy())
        table["measure"] = "read"
        table = pd.concat([table, pd.DataFrame(used)], ignore_index=True)
        controls = (
            self._control_task(best, activations[best.place], y, clusters, prompts, desk.seed),
            Control(
                "no-learning",
                f"with the labels shuffled over clusters {len(best.null)} times, it reads {best.null.mean():.3f}",
                Estimate.exact(float(best.null.mean()), len(best.null)), best.p, guards=True, holds=best.p <= 0.05,
            ),
            self._text_alone(prompts, y, clusters, desk),
        )  # fmt: skip
        marks = {}
        there = next((reader for reader in ranked if reader.adversary == "linear" and reader.place == best.place), None)
        if best.adversary != "linear" and best.p <= 0.05 and there is not None and there.p > 0.05:
            marks["nonlinear-leak"] = (
                f"a linear adversary reads {there.estimate.value:.2f} at {best.place}, no better than chance; "
                f"a {best.adversary} one reads {best.estimate.value:.2f}"
            )
        only_linear = set(self.adversaries) == {"linear"}
        cannot = (
            "only linear adversaries were asked, and a product of coordinates escapes them: add quadratic or mlp"
            if only_linear and self.threshold.declared and self.threshold.kept(best.estimate)
            else ""
        )
        says = (
            f"a {best.adversary} adversary reads {self.labels!r} at {best.place} with a balanced accuracy of {best.estimate} "
            f"(chance {chance:.2f})" + _used_in_words(used)
        )
        bars = tuple(
            Bar(
                f"{reader.place} {reader.adversary}",
                reader.estimate.value,
                reader.estimate.low,
                reader.estimate.high,
                reader.adversary,
            )
            for reader in ranked[:_SHOWN]
        )
        texts = prompts.texts or ("",) * len(prompts)
        second = np.flatnonzero(np.isin(clusters, best.held_out.clusters))
        said = best.held_out.log_probabilities
        return Answer(
            best.estimate, says, controls, table.drop(columns="effect", errors="ignore"),
            (Bars(bars, f"Reading {self.labels}", "balanced accuracy on the other half", reach=1.0),),
            tuple(
                {
                    "text": texts[row], "label": labels.classes[y[row]], "read": labels.classes[int(said[number].argmax())],
                    "log_probability": float(said[number, y[row]]),
                }
                for number, row in enumerate(second.tolist())
            ),
            n_tests=len(ranked), marks=marks, cannot_fail=cannot, units=as_units(of_balanced(best.held_out.hits, best.held_out.y)),
            unit_clusters=tuple(map(str, best.held_out.clusters.tolist())),
            dropped=(("prompts without a label", len(labels.codes) - len(kept)),) if len(kept) < len(labels.codes) else (),
        )  # fmt: skip

    def _places(self, desk: Desk, prompts: PromptSet) -> dict[str, Place]:
        sites: Any = self.sites
        if isinstance(sites, str) and "." in sites:
            sites = [Site.parse(sites)]
        spots = places(expand(sites, abilities(desk.model).shape), Selection.parse(self.at), prompts)
        return {f"{place.site}{place.at}": place for place in spots}

    def _activations(self, desk: Desk, prompts: PromptSet, where: Mapping[str, Place]) -> dict[str, np.ndarray]:
        given = prompts if desk.rewrite is None else desk.rewrite(prompts)
        read = readings(desk.model, given, list(where.values()), edits=desk.edits, batch_size=desk.batch_size)
        short = next((name for name, each in zip(where, read, strict=True) if len(each.rows) < len(prompts)), None)
        if short is not None:
            raise MechcausalError(f"some prompts are too short for {short}", fix="choose another position")
        return {name: each.x.astype(float) for name, each in zip(where, read, strict=True)}

    def _used(
        self, desk: Desk, prompts: PromptSet, place: Place, reader: Reader, x: np.ndarray, y: np.ndarray
    ) -> list[dict[str, Any]]:
        """Hold directions at their mean: that of the linear probe, the difference of the class means, and random ones."""
        if not bridge.has_head(desk.model) or not abilities(desk.model).components[place.site.component].writes:
            return []
        assert isinstance(reader.readout, Linear)  # of a linear adversary
        classes = np.unique(y)
        means = np.stack([x[y == code].mean(0) for code in classes]) - x.mean(0)
        read, varied = _frame(reader.readout.weight.double().numpy()), _frame(means)[: len(classes) - 1]
        draw = np.random.default_rng([desk.seed, 23])
        drawn = [_frame(draw.normal(size=varied.shape)) for _ in range(_RANDOM)]
        odds = prompts.foil is not None or prompts.foils is not None
        metric, center = "logit_diff" if odds else "kl", vector(x.mean(0))

        def moved(frame: np.ndarray) -> np.ndarray:
            rows = tuple(vector(row) for row in frame)
            edit = Edit(place.site, Erase(rows, rows, center), place.at)
            values = replace(desk, edits=(*desk.edits, edit)).outcomes(prompts, metric)
            return np.abs(values - desk.outcomes(prompts, metric)) if odds else values

        chance = np.mean([moved(frame) for frame in drawn], axis=0)
        out = []
        for name, values in (
            ("the difference of the class means", moved(varied)), ("the probe's direction", moved(read)),
            ("random directions", chance),
        ):  # fmt: skip
            effect = desk.mean(values, prompts.clusters)
            p = desk.mean(values - chance, prompts.clusters).at_most(0.0) if values is not chance else float("nan")
            out.append(
                {"measure": f"effect of ablating {name} ({metric})", "place": reader.place, "adversary": "linear",
                 "value": effect.value, "low": effect.low, "high": effect.high, "p": p, "effect": str(effect)}
            )  # fmt: skip
        return out

    def _control_task(
        self, best: Reader, x: np.ndarray, y: np.ndarray, clusters: np.ndarray, prompts: PromptSet, seed: int
    ) -> Control:
        """Return what the same adversary reads of labels drawn at random for each type of prompt (Hewitt and Liang 2019)."""
        types = np.unique([" ".join(map(str, row)) for row in prompts.real_tokens], return_inverse=True)[1]
        compared = selectivity(
            KIND[best.adversary],
            x,
            y,
            types,
            clusters,
            draws=3,
            folds=self.folds,
            settings=Settings(seed=seed),
            seed=seed,
        )
        if not np.isfinite(compared.control):
            return Control.inapplicable("random", "prompts are of too few kinds to draw a label for each")
        says = f"of random labels, one for each kind of prompt, it reads {compared.control:.3f} (selectivity {compared.selectivity:.3f})"
        return Control("random", says, Estimate.exact(compared.control), holds=compared.selectivity > 0)

    def _text_alone(self, prompts: PromptSet, y: np.ndarray, clusters: np.ndarray, desk: Desk) -> Control:
        if not prompts.texts:
            return Control.inapplicable("trivial-input", "the prompts were given as tokens, without their text")
        counts = word_counts(prompts.texts, clusters)
        reader = readers(
            {"words": counts}, y, clusters, ("linear",), folds=self.folds, seed=desk.seed, level=desk.level
        )[0]
        says = (
            f"a classifier of word counts, which sees no model, reads it with a balanced accuracy of {reader.estimate}"
        )
        return Control("trivial-input", says, reader.estimate, reader.p)


def _frame(rows: np.ndarray) -> np.ndarray:
    """Return orthonormal rows with the same span."""
    return np.linalg.svd(rows, full_matrices=False)[2]


def _used_in_words(used: list[dict[str, Any]]) -> str:
    if not used:
        return ""
    means, probe, chance = used
    return (
        f"; with {probe['place']} held at its mean along the difference of the classes, the output moves by {means['effect']}, "
        f"along the probe's direction by {probe['effect']}, along random ones by {chance['effect']}"
    )
