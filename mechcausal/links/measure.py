"""The two measurements of a link: availability on one half of the pairs, use on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm.auto import tqdm

from mechcausal.address import Selection
from mechcausal.errors import DataError
from mechcausal.links.association import Association, associations
from mechcausal.links.bench import BOTH, Bench
from mechcausal.links.candidates import Candidate
from mechcausal.links.concepts import Concept
from mechcausal.links.verdict import YES, answers
from mechcausal.probes.kinds import Linear
from mechcausal.probes.kinds import fit as fit_probe
from mechcausal.results.multiplicity import benjamini_hochberg
from mechcausal.results.shares import Shares

_CHANCE = 0.5


@dataclass(frozen=True)
class Available:
    """How well every candidate tells one concept.

    Attributes:
        concept: The concept.
        decision: The association at the decision position.
        pooled: The association of the mean over all positions.
        q_decision: The q-values of the first, over the family.
        q_pooled: The q-values of the second, over the same family.
        answer: `yes`, `no` or `unclear`, [candidate].
        family: How many tests were corrected for together.
        shuffled: The share of shuffled labels with which any candidate is found at the decision position.
    """

    concept: Concept
    decision: Association
    pooled: Association
    q_decision: np.ndarray
    q_pooled: np.ndarray
    answer: np.ndarray
    family: int
    shuffled: float

    @property
    def yes(self) -> np.ndarray:
        """Which candidates tell the concept."""
        return self.answer == YES

    def take(self, chosen: np.ndarray) -> Available:
        """Return the associations of some candidates; their q-values stay corrected for all."""
        arrays = {name: getattr(self, name)[chosen] for name in ("q_decision", "q_pooled", "answer")}
        return replace(self, decision=self.decision.rows(chosen), pooled=self.pooled.rows(chosen), **arrays)


@dataclass(frozen=True)
class Readings:
    """What the candidates hold, and which of them ever hold anything.

    Attributes:
        candidates: The candidates that are alive.
        decision: What each holds at the decision position, [prompt number] each.
        pooled: The same on average over all positions.
        frequency: The share of prompts in which each is active.
        dead: How many are never active on these prompts.
    """

    candidates: list[Candidate]
    decision: list[np.ndarray]
    pooled: list[np.ndarray]
    frequency: np.ndarray
    dead: int

    def take(self, chosen: np.ndarray) -> Readings:
        """Return some of the candidates."""
        lists = {name: [getattr(self, name)[i] for i in chosen] for name in ("candidates", "decision", "pooled")}
        return replace(self, frequency=self.frequency[chosen], **lists)


def hold(bench: Bench, candidates: Sequence[Candidate], at: Selection) -> Readings:
    """Read what the candidates hold; a feature that is never active on these prompts is no candidate."""
    wholes = bench.read(list(dict.fromkeys(candidate.site.whole for candidate in candidates)), at)
    alive, decision, pooled, frequency = [], [], [], []
    for candidate in candidates:
        here, everywhere = (
            candidate.of(activation, bench.able.shape.heads(candidate.site.component))
            for activation in wholes[candidate.site.whole]
        )
        active = float((np.abs(np.nan_to_num(everywhere)).max(axis=1) > 0).mean())
        if active == 0 and candidate.kind == "feature":
            continue
        alive.append(candidate)
        decision.append(here)
        pooled.append(everywhere)
        frequency.append(active)
    if not alive:
        raise DataError(
            "none of these features is ever active on these prompts", got=f"{len(candidates)} dead features",
            fix="check that the dictionary belongs to this model and site: mechcausal sae health PATH",
        )  # fmt: skip
    return Readings(alive, decision, pooled, np.array(frequency), len(candidates) - len(alive))


def availability(bench: Bench, readings: Readings, concepts: Sequence[Concept], smallest: float) -> list[Available]:
    """Measure what every candidate tells of every concept, on the half that effects are not estimated on.

    A candidate that holds a vector is read by a logistic probe that was fitted on the other half: a difference of means
    misses what is spread over directions that vary for other reasons.
    """
    chosen, other = (bench.both_sides(rows) for rows in bench.split)
    clusters = np.asarray(bench.clusters * 2)
    associations_of, count = [], len(readings.candidates)
    total = 2 * count * len(concepts)
    with tqdm(total=total, desc="link: probes", unit="probe", disable=None, leave=False) as bar:
        for concept in concepts:
            test, fit = (rows[concept.labelled[rows]] for rows in (chosen, other))
            _refuse_one_sided(concept, test, fit)
            labels = concept.labels == 1
            # Together, so that both places are compared with the same shuffles.
            scores = []
            for value in (*readings.decision, *readings.pooled):
                scores.append(_score(value, labels, fit)[test])
                bar.update()
            label = f"link: shuffled {concept.name}"
            both = associations(np.stack(scores), labels[test], clusters[test], seed=bench.seed, progress=label)
            associations_of.append((concept, both.rows(slice(count)), both.rows(slice(count, None))))
    q = benjamini_hochberg(np.concatenate([association.p for _, *both in associations_of for association in both]))
    parts = q.reshape(len(concepts), 2, -1)
    out = []
    for (concept, decision, pooled), (first, second) in zip(associations_of, parts, strict=True):
        yes, no = np.zeros(len(readings.candidates), bool), np.ones(len(readings.candidates), bool)
        for association, q_values in ((decision, first), (pooled, second)):
            yes |= (q_values <= bench.fdr) & (
                (association.low > _CHANCE + smallest) | (association.high < _CHANCE - smallest)
            )
            no &= (association.low > _CHANCE - smallest) & (association.high < _CHANCE + smallest)
        shuffles = [bool((benjamini_hochberg(p) <= bench.fdr).any()) for p in decision.shuffled.T]
        share = float(np.mean(shuffles)) if shuffles else np.nan
        out.append(Available(concept, decision, pooled, first, second, answers(yes, no), q.size, share))
    return out


def _score(values: np.ndarray, labels: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Return one number for each prompt."""
    if values.shape[1] == 1:
        return values[:, 0]
    rows = fit[np.isfinite(values[fit]).all(axis=1)]
    if len(rows) == 0 or labels[rows].all() or not labels[rows].any():
        return np.zeros(len(values))
    probe = fit_probe("logistic", values[rows], labels[rows].astype(int))
    assert isinstance(probe, Linear)  # that is what a logistic probe is
    return values @ probe.weight[0].numpy()


def _refuse_one_sided(concept: Concept, *halves: np.ndarray) -> None:
    for rows in halves:
        with_it = int((concept.labels[rows] == 1).sum())
        if with_it in (0, len(rows)):
            raise DataError(
                f"the concept {concept.name!r} does not vary over one half of the pairs",
                got=f"{with_it} of {len(rows)} prompts with it",
                fix="use more pairs, or a concept that varies over them",
            )


@dataclass(frozen=True, eq=False)
class Used:
    """What every candidate does to the behavior.

    Attributes:
        change: What each changes in each pair, [candidate pair], over all pairs.
        estimate: The shares on the half that nothing was chosen by.
        other: The shares on the half to choose by.
        answer: `yes`, `no` or `unclear`, [candidate].
    """

    change: np.ndarray
    estimate: Shares
    other: Shares
    answer: np.ndarray

    def corrected(self, q: np.ndarray, fdr: float) -> Used:
        """Return the same with the q-values of a larger family."""
        estimate = replace(self.estimate, q=q)
        return replace(self, estimate=estimate, answer=answers(estimate.beyond(fdr), estimate.within))

    @property
    def fragile(self) -> np.ndarray:
        """Which effects have another sign on the half to choose by."""
        return np.sign(self.estimate.share) * np.sign(self.other.share) < 0


def use(bench: Bench, candidates: Sequence[Candidate], concepts: Sequence[Concept]) -> tuple[Used, list[Used]]:
    """Measure what every candidate does to the behavior, exactly: over all pairs, and over those that judge each concept.

    They are all pairs but for a value of a concept with many; then the effects on all values are corrected for together.
    """
    change = bench.changes(bench.cells(candidates), "candidates", halves=BOTH)
    overall = _used(bench, change, *bench.split)
    effects = [
        overall if concept.sides is None else _used(bench, change, *map(concept.judged, bench.split))
        for concept in concepts
    ]
    if all(concept is overall for concept in effects):
        return overall, effects
    q = benjamini_hochberg(np.concatenate([concept.estimate.p for concept in effects])).reshape(len(effects), -1)
    return overall, [concept.corrected(q_values, bench.fdr) for concept, q_values in zip(effects, q, strict=True)]


def _used(bench: Bench, change: np.ndarray, chosen: np.ndarray, estimated: np.ndarray) -> Used:
    estimate, other = bench.shares(change, estimated), bench.shares(change, chosen)
    return Used(change, estimate, other, answers(estimate.beyond(bench.fdr), estimate.within))
