"""The set that is chosen on one half: who is in it, and what it is compared with."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mechcausal.address import ALL, Site
from mechcausal.interventions.specs import Patch
from mechcausal.links.candidates import Candidate
from mechcausal.links.chosen import chosen_set
from mechcausal.results.shares import shares

SITES = [Site("z", 0, head=0), Site("z", 0), Site("mlp_out", 1), Site("z", 1, head=0), Site("z", 1, head=1)]
EFFECTS = np.array([0.2, 0.3, -0.4, 0.0, 0.0])  # of what one pair changes in all


class Linear:
    """A bench on which effects add up."""

    do, where, seed, fdr = Patch(), ALL, 0, 0.05

    def __init__(self):
        self.split = (np.arange(20), np.arange(20, 40))
        self.total = np.random.default_rng(0).normal(1, 0.2, 40)
        self.asked = []

    def changes(self, cells, stage):
        self.asked = [[edit.site for edit in cell] for cell in cells]
        return np.array([sum(EFFECTS[SITES.index(site)] for site in cell) * self.total for cell in self.asked])

    def shares(self, change, rows):
        return shares(change[:, rows], self.total[rows])


def test_the_largest_beyond_the_smallest_effect_none_inside_another():
    bench = Linear()
    change = EFFECTS[:, None] * bench.total + np.random.default_rng(1).normal(0, 1e-3, (5, 40))
    used = SimpleNamespace(other=bench.shares(change, bench.split[0]), estimate=bench.shares(change, bench.split[1]))
    readings = SimpleNamespace(candidates=[Candidate(str(site), site, "activation") for site in SITES])
    found = chosen_set(bench, readings, used, [used], random=7)
    assert found["members"] == ["L1.mlp_out", "L0.z"]  # its head L0.z.H0 lies inside
    assert np.isclose(found["share"], -0.1)
    assert np.isclose(found["sum_of_singles"], -0.1, atol=1e-3)
    assert found["random_sets"] == 7
    assert all(len(cell) == 2 and not {SITES[1], SITES[2]} & set(cell) for cell in bench.asked[1:])


def test_without_an_effect_there_is_no_set():
    bench = Linear()
    change = np.random.default_rng(1).normal(0, 1e-3, (5, 40))
    used = SimpleNamespace(other=bench.shares(change, bench.split[0]), estimate=bench.shares(change, bench.split[1]))
    readings = SimpleNamespace(candidates=[Candidate(str(site), site, "activation") for site in SITES])
    assert chosen_set(bench, readings, used, [used], random=7) == {"members": []}
    assert bench.asked == []
