"""Availability and use, on numbers that are made up."""

from __future__ import annotations

import numpy as np
import pytest
from tqdm.auto import tqdm

from mechcausal.address import Site
from mechcausal.errors import DataError
from mechcausal.links.association import associations
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


def test_each_part_of_availability_has_a_progress_bar(monkeypatch):
    """Probes are fitted for every candidate and place, and labels are shuffled for every concept."""
    bars = []

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": True})
            self.told, self.done, self.asked = options, 0, options["disable"]
            bars.append(self)

        def update(self, n=1):
            self.done += n

    for module in ("measure", "association"):
        monkeypatch.setattr(f"mechcausal.links.{module}.tqdm", Bar)
    draw = np.random.default_rng(0)
    values = [draw.normal(size=(2 * N, 2)) for _ in range(3)]
    candidates = [Candidate(f"c{i}", Site("z", 0, head=i), "head") for i in range(3)]
    readings = Readings(candidates, values, values, np.ones(3), 0)
    availability(Made(), readings, [Concept(name, np.repeat([1, 0], N)) for name in ("a", "b")], 0.05)
    assert [bar.told["desc"] for bar in bars] == ["link: probes", "link: shuffled a", "link: shuffled b"]
    assert [bar.done for bar in bars] == [bar.told["total"] for bar in bars] == [12, 9999, 9999]
    assert all(bar.asked is None for bar in bars)  # shown where there is a terminal
    associations(draw.normal(size=(1, 8)), np.arange(8) < 4)
    assert bars[-1].asked is True  # none where nobody asked for it
