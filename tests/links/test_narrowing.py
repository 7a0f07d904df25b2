"""The choice of candidates that are measured exactly: two estimates, and some at random."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import planted
import pytest
import torch

from mechcausal.address import Site
from mechcausal.links import narrowing
from mechcausal.links.candidates import Candidate
from mechcausal.links.gather import gather
from mechcausal.links.linking import Linking
from mechcausal.links.measure import Readings
from mechcausal.models.hooked import forward

N, HEADS, MOST = 40, 3, 20
GRADIENT, STRENGTH = np.random.default_rng(0).permuted([np.arange(N + HEADS)] * 2, axis=1)


class Association:
    """One concept of which the strength of the association is known; p-values fall with the strength."""

    def __init__(self, rows):
        self.rows = rows
        self.decision = SimpleNamespace(p=1 / (1 + STRENGTH[rows]), auc=0.5 + STRENGTH[rows] / 100)
        self.pooled = SimpleNamespace(p=np.ones(len(rows)))

    def take(self, chosen):
        return Association(self.rows[chosen])


def made():
    sites = [Site("resid_post", 0, dictionary="d", feature=number) for number in range(N)]
    sites += [Site("z", 0, head=head) for head in range(HEADS)]
    values = [np.full((4, 1), float(number)) for number in range(len(sites))]
    candidates = [Candidate(str(site), site, "made") for site in sites]
    return Readings(candidates, values, values, np.arange(len(sites)) / 100, 0), [Association(np.arange(len(sites)))]


def test_so_many_are_chosen_by_each_estimate_and_the_rest_at_random(monkeypatch):
    monkeypatch.setattr(narrowing, "_gradient", lambda bench, readings: np.where(np.arange(N + HEADS) < N, GRADIENT, 0))
    readings, available = made()
    kept, (association,), family = narrowing.narrowed(SimpleNamespace(seed=0), readings, available, MOST)
    assert family == {
        "of": N + HEADS, "measured": MOST + HEADS, "by gradient": 12, "by association": 4, "by random": 4,
    }  # fmt: skip
    numbers = [int(value[0, 0]) for value in kept.decision]
    assert numbers == association.rows.tolist() == sorted(numbers)
    assert set(range(N, N + HEADS)) <= set(numbers)  # what is no feature is always measured
    features = np.arange(N)
    by_gradient = features[np.argsort(-GRADIENT[:N])][:12]
    rest = [number for number in features[np.argsort(-STRENGTH[:N])] if number not in by_gradient]
    assert {*by_gradient.tolist(), *rest[:4]} <= set(numbers)


def test_without_an_estimate_the_association_chooses_in_its_place(monkeypatch):
    monkeypatch.setattr(narrowing, "_gradient", lambda bench, readings: None)
    readings, available = made()
    kept, _, family = narrowing.narrowed(SimpleNamespace(seed=0), readings, available, MOST)
    assert (family["by gradient"], family["by association"], family["by random"]) == (0, 16, 4)
    numbers = [int(value[0, 0]) for value in kept.decision]
    assert {*np.arange(N)[np.argsort(-STRENGTH[:N])][:16].tolist()} <= set(numbers)


@pytest.mark.parametrize("changed", ["unequal", "long answers"])
def test_there_is_no_estimate_where_tokens_do_not_match_or_answers_are_long(changed):
    bench = SimpleNamespace(
        pairs=SimpleNamespace(even=changed != "unequal"), base=None,
        metric=SimpleNamespace(forces=lambda prompts: changed == "long answers"),
    )  # fmt: skip
    assert narrowing._gradient(bench, made()[0]) is None


def test_few_candidates_are_all_measured():
    readings, available = made()
    kept, associations, family = narrowing.narrowed(SimpleNamespace(seed=0), readings, available, N)
    assert kept is readings
    assert associations == available
    assert family == {"of": N + HEADS, "measured": N + HEADS}


def test_in_a_linear_network_the_gradient_is_the_effect(linear_network, linear_pairs, attached):
    sides = (linear_pairs.clean, linear_pairs.corrupt)
    streams = [forward(linear_network, side, read=[planted.SITE]).read[planted.SITE][:, -1] for side in sides]
    made = planted.Split(torch.cat(streams))
    own = attached(made, "split")
    asked = Linking([own, "L0.z.H0"], "high", direction="noise")
    gathered = gather(asked, linear_network, linear_pairs)
    bench, readings = gathered.bench, gathered.readings()
    rows = bench.split[0]
    expected = np.abs(planted.effects(made, *streams, linear_pairs)[:, rows].mean(1))
    estimated = narrowing._gradient(bench, readings)
    for number, candidate in enumerate(readings.candidates):
        feature = candidate.site.feature
        assert np.isclose(estimated[number], 0 if feature is None else expected[feature], atol=1e-3)
