"""Availability and use, on numbers that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from mechcausal.address import Site
from mechcausal.errors import DataError
from mechcausal.links.candidates import Candidate
from mechcausal.links.concepts import Concept
from mechcausal.links.measure import Readings, availability, use
from mechcausal.results.shares import shares

N = 40


class Made:
    """A bench with known effects: the first candidate does half of everything, the second nothing, the third is noise."""

    fdr, seed = 0.05, 0
    split = (np.arange(0, N, 2), np.arange(1, N, 2))
    clusters = tuple(map(str, range(N)))

    def __init__(self):
        draw = np.random.default_rng(0)
        self.total = draw.normal(1, 0.1, N)
        self.change = np.stack([0.5 * self.total, 1e-4 * draw.normal(size=N), draw.normal(size=N)])

    def both_sides(self, rows):
        return np.concatenate([rows, rows + N])

    def cells(self, candidates):
        return [()] * len(candidates)

    def changes(self, cells, stage, *, halves):
        return self.change

    def shares(self, change, rows):
        return shares(change[:, rows], self.total[rows], np.asarray(self.clusters)[rows])


def test_effects_are_used_absent_or_unclear():
    bench, concept = Made(), Concept("c", np.repeat([1, 0], N))
    used, (judged,) = use(bench, [None] * 3, [concept])
    assert judged is used
    assert used.answer.tolist() == ["yes", "no", "unclear"]
    assert used.estimate.share[0] == pytest.approx(0.5)


def test_values_of_a_concept_are_corrected_together():
    bench = Made()
    sides = [np.where(np.arange(N) < 24, 1, 0), np.where(np.arange(N) >= 12, -1, 0)]
    concepts = [Concept(f"v{i}", np.repeat([1, 0], N), sides=side) for i, side in enumerate(sides)]
    used, judged = use(bench, [None] * 3, concepts)
    assert all(effects is not used for effects in judged)
    p = np.concatenate([effects.estimate.p for effects in judged])
    q = np.concatenate([effects.estimate.q for effects in judged])
    order = np.argsort(p)
    expected = np.minimum.accumulate((p[order] * 6 / np.arange(1, 7))[::-1])[::-1]
    assert q[order] == pytest.approx(np.minimum(expected, 1))


def test_a_vector_is_read_along_a_direction_of_the_other_half():
    bench, draw = Made(), np.random.default_rng(1)
    labels = np.repeat([1, 0], N)
    vectors = draw.normal(size=(2 * N, 6)) * 0.1
    vectors[:, 2] += labels
    noise = draw.normal(size=(2 * N, 6))
    made = [Candidate("head", Site("z", 0, head=0), "head"), Candidate("other", Site("z", 0, head=1), "head")]
    readings = Readings(made, [vectors, noise], [vectors, noise], np.ones(2), 0)
    (found,) = availability(bench, readings, [Concept("c", labels)], 0.05)
    assert found.yes.tolist() == [True, False]
    assert found.decision.auc[0] == 1
    assert found.family == 4
    turned = vectors.copy()
    turned[bench.both_sides(bench.split[1]), 2] *= -1  # the half that directions are fitted on says the opposite
    (wrong,) = availability(
        bench, Readings(made, [turned, noise], [turned, noise], np.ones(2), 0), [Concept("c", labels)], 0.05
    )
    assert wrong.decision.auc[0] == 0


def test_a_concept_that_a_half_lacks_is_refused():
    labels = np.zeros(2 * N, dtype=int)
    labels[::2] = 1  # only prompts of the first half have it
    readings = Readings(
        [Candidate("a", Site("z", 0, head=0), "head")], [np.zeros((2 * N, 1))], [np.zeros((2 * N, 1))], np.ones(1), 0
    )
    with pytest.raises(DataError, match="does not vary over one half"):
        availability(Made(), readings, [Concept("c", labels)], 0.05)
