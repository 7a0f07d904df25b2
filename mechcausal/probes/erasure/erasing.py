"""Erase a concept from a model: fit on one part of the prompts, and leave the other part to judge it by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from scipy import stats

from mechcausal.address import HEAD_COMPONENTS, Place, Selection, Site, expand
from mechcausal.arguments import Count, Model, OpenShare, Seed
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import SiteSpec, places
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import split, units
from mechcausal.errors import DataError, SiteError
from mechcausal.interventions.specs import Edit, Erase, Set
from mechcausal.method import Cost, Method, function
from mechcausal.models.abilities import abilities
from mechcausal.probes.erasure.fitting import fit_eraser, rank
from mechcausal.probes.kinds import separation
from mechcausal.probes.labels import Labels, labels_of, one_set
from mechcausal.probes.procedure import At, examples
from mechcausal.probes.readings import readings

logger = logging.getLogger("mechcausal")

# From which on a concept and an outcome are called correlated: Cramer's V, and the p-value of its chi-square.
CORRELATED, CERTAIN = 0.1, 0.05


@dataclass(frozen=True)
class Correlation:
    """How much a concept and an outcome have to do with each other in the fit set.

    Attributes:
        outcome: What the outcome is called.
        v: Cramer's V: 0 for none, 1 where one says the other.
        p: The p-value of the chi-square test, one example for each unit.
    """

    outcome: str
    v: float
    p: float

    @property
    def noted(self) -> bool:
        """Whether it is worth a warning."""
        return self.v >= CORRELATED and self.p < CERTAIN


@dataclass(frozen=True, eq=False)
class Erasure:
    """A concept's erasure: edits like any others, and what they were fitted to.

    Attributes:
        concept: What is erased.
        method: How: `"leace"`, `"means"` or `"features"`.
        edits: The edits, for `hooked.forward`, a `Plan`, or whatever else takes edits.
        prompts: All prompts.
        labels: Their labels.
        fit: The rows that the edits were fitted to.
        held_out: The rows that were left out; no text and no cluster is in both.
        ranks: How many directions (or features) were taken at each site.
        correlation: The concept and the outcome in the fit set, where an outcome is known.
    """

    concept: str
    method: str
    edits: tuple[Edit, ...]
    prompts: PromptSet
    labels: Labels
    fit: np.ndarray
    held_out: np.ndarray
    ranks: dict[str, int] = field(default_factory=dict)
    correlation: Correlation | None = None

    @property
    def warning(self) -> str:
        """What to know before using it; empty where there is nothing."""
        correlation = self.correlation
        if correlation is None or not correlation.noted:
            return ""
        return (
            f"{self.concept!r} is correlated with {correlation.outcome!r} in the fit set (Cramer's V {correlation.v:.2f}, p {correlation.p:.1g}): "
            "erasing one takes some of the other with it; fit on prompts in which they are independent"
        )

    @property
    def places(self) -> list[Place]:
        """Where something is erased, each activation and selection once."""
        seen = dict.fromkeys((replace(edit.site, feature=None), edit.at) for edit in self.edits)
        return [Place(site, at) for site, at in seen]

    def summary(self) -> str:
        """Say what is erased where, on how many prompts it was fitted, and what to beware of."""
        where = ", ".join(f"{site} ({count})" for site, count in self.ranks.items())
        lines = [
            f"{self.method} erasure of {self.concept} ({' / '.join(self.labels.classes)}), directions by site: {where}",
            f"  fitted to {len(self.fit)} prompts, {len(self.held_out)} held out",
        ]
        return "\n".join([*lines, *([f"  beware: {self.warning}"] if self.warning else [])])

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()


@dataclass(frozen=True, kw_only=True)
class Erasing(Method[PromptSet | Contrast, Erasure]):
    """Fit the edits that take a concept out of a model's activations.

    Estimand: the smallest change of the activations (LEACE, Belrose et al. 2023) after which no linear probe reads the
    concept at these places better than a constant does. With several sites they are fitted in the order in which the
    model computes them, each to what those before it leave, as in concept scrubbing.

    Attributes:
        labels: The concept, as for `probe`.
        sites: Where: one site, a list, or a component for every layer. For `method="features"` the features of a
            dictionary (`L2.resid_post.sae:NAME`).
        at: At which positions; each of them is an example of its own.
        method: `"leace"`, `"means"` (the projection that removes the differences of class means), or `"features"`: the
            `k` features of a dictionary that are furthest apart between the classes are set to a constant.
        k: How many features, for `method="features"`.
        fill: What such features are set to, `"zero"` or their `"mean"` over the fit set.
        concept: What the concept is called.
        outcome: What the concept should not be correlated with in the fit set, as labels are given; by default the
            labels of the prompts, or else their answers.
        share: The share of the prompts that is fitted to; the others are held out for `guardedness`.
        batch_size: How many prompts at a time.
        seed: The seed of the split.

    Example:
        >>> import mechcausal as mc
        >>> model, task = mc.load("organism:hiring"), mc.task("hiring")
        >>> erasure = mc.features.erase(model, task.prompts(model, 200), "gender", "L2.resid_post", at="@decision")
        >>> erasure.ranks
        {'L2.resid_post': 1}
    """

    word: ClassVar[str] = "erase"
    labels: Any = field(kw_only=False)
    sites: SiteSpec = field(default="resid_post", kw_only=False)
    at: At = "@all"
    method: Literal["leace", "means", "features"] = "leace"
    k: Count = 16
    fill: Literal["zero", "mean"] = "zero"
    concept: str | None = None
    outcome: Any = None
    share: OpenShare = 0.5
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: PromptSet | Contrast) -> Erasure:
        """Fit the edits."""
        prompts, labels, sites, (fit_rows, held_out) = self._asked(model, data)
        part = prompts.take(fit_rows.tolist())
        part_labels = replace(labels, codes=labels.codes[fit_rows])
        edits: list[Edit] = []
        ranks: dict[str, int] = {}
        for site in sites:
            place = places([site], Selection.parse(self.at), part)[0]
            reading = readings(model, part, [place], pool="each", edits=edits, batch_size=self.batch_size)[0]
            rows = examples(part, reading, part_labels)
            if self.method == "features":
                made = _features(site, rows.x, rows.y, self.k, self.fill, place.at)
            else:
                made = [Edit(_vector_site(site), fit_eraser(self.method, rows.x, rows.y), place.at)]
            edits += made
            ranks[str(site)] = sum(rank(edit.do) if isinstance(edit.do, Erase) else 1 for edit in made)
        erasure = Erasure(
            labels.concept, self.method, tuple(edits), prompts, labels, fit_rows, held_out, ranks,
            correlation_of(part, part_labels, self.outcome),
        )  # fmt: skip
        if erasure.warning:
            logger.warning("%s", erasure.warning)
        return erasure

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take: one run of the fit set for each site; nothing is run."""
        _, _, sites, (fit_rows, _) = self._asked(model, data)
        forwards = len(sites) * len(fit_rows)
        return Cost(len(sites), len(fit_rows), forwards, forwards)

    def _asked(
        self, model: Model, data: PromptSet | Contrast
    ) -> tuple[PromptSet, Labels, list[Site], tuple[np.ndarray, np.ndarray]]:
        """Return the prompts, the concept, the sites in the order of the model, and the rows to fit to and to hold out."""
        prompts = one_set(data)
        labels = labels_of(prompts, self.labels, self.concept)
        able = abilities(model)
        sites = expand(self.sites, able.shape)
        able.require(sites)
        return prompts, labels, sorted(sites, key=_order), split(units(prompts), self.share, [self.seed, 5])


erase = function(Erasing, data="prompts", about="The prompts, or pairs, of which both sides are taken.")


def correlation_of(prompts: PromptSet, labels: Labels, outcome: Any = None) -> Correlation | None:  # noqa: ANN401
    """Return how concept and outcome go together, or None where no outcome of more than one class is known."""
    if outcome is None:
        outcome = np.asarray(prompts.labels, dtype=object) if prompts.labels else prompts.answer
        if outcome is None or len(np.unique(np.asarray(outcome).astype(str))) < 2:
            return None
        name = "the label" if prompts.labels else "the answer"
    else:
        name = outcome if isinstance(outcome, str) else "the outcome"
        outcome = outcome if isinstance(outcome, str) or len(outcome) == len(prompts) else None
        if outcome is None:
            raise DataError("outcome and prompts differ in number", expected=len(prompts))
    other = labels_of(prompts, outcome, name)
    codes = labels.codes.max(axis=1) if labels.of_tokens else labels.codes
    both = (codes >= 0) & (other.codes >= 0)
    first = np.unique(units(prompts)[both], return_index=True)[1]
    pair = codes[both][first], other.codes[both][first]
    counts = stats.contingency.crosstab(*pair).count
    if min(counts.shape) < 2:
        return None
    test = stats.chi2_contingency(counts, correction=False)
    v = float(np.sqrt(test.statistic / (counts.sum() * (min(counts.shape) - 1))))
    return Correlation(name, v, float(test.pvalue))


def _features(site: Site, x: np.ndarray, y: np.ndarray, k: int, fill: str, at: Selection) -> list[Edit]:
    if site.dictionary is None or site.feature is not None or site.error:
        raise SiteError(
            "features are ablated in a dictionary", got=str(site), expected="all its features: L2.resid_post.sae:NAME"
        )
    if not 1 <= k <= x.shape[1]:
        raise DataError("the number of features to ablate does not fit", got=k, expected=f"1 to {x.shape[1]}")
    apart = separation(x, y)
    chosen = np.argsort(-apart, kind="stable")[:k]
    value = x.mean(0) if fill == "mean" else np.zeros(x.shape[1])
    return [Edit(replace(site, feature=int(j)), Set(float(value[j])), at) for j in chosen if apart[j] > 0]


def _vector_site(site: Site) -> Site:
    if site.component in HEAD_COMPONENTS and site.head is None:
        raise SiteError(
            f"{site} is several heads, each with its own space",
            fix=f"name one, or all: L{site.layer}.{site.component}.H*",
        )
    if site.unit is not None:
        raise SiteError(
            f"{site} is a single number, and has no directions to erase", fix="ablate it, or name the whole site"
        )
    return site


def _order(site: Site) -> tuple[float, int, int]:
    return (*site.depth, site.head or 0)


def joined(erasures: Sequence[Erasure]) -> tuple[Edit, ...]:
    """Return the edits of several erasures, in the order in which the model computes them."""
    return tuple(sorted((edit for erasure in erasures for edit in erasure.edits), key=lambda edit: _order(edit.site)))
