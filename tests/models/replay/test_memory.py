"""The memory of unedited runs: what it finds, what it keeps, and that cells come out the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Site, expand
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.metrics import metric
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.replay.memory import Memory
from mechcausal.models.replay.twin import recorded
from mechcausal.models.replay.verify import replayer


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, 12)


def test_a_run_is_found_again_by_its_prompts_and_its_activations(hiring, pairs):
    twin, memory = replayer(hiring).twin, Memory([Site("resid_post", 3)])
    run, forwards = recorded(twin, pairs.clean, [Site("z", 1)], memory)
    assert forwards == 1
    assert {Site("z", 1), Site("resid_post", 3)} <= set(run.values)
    again, forwards = recorded(twin, pairs.clean, [Site("resid_post", 3)], memory)
    assert forwards == 0
    assert torch.equal(again.values[Site("z", 1)], run.values[Site("z", 1)])
    again.values[Site("z", 1)] = torch.zeros(1)  # what a caller changes stays with the caller
    assert torch.equal(memory.find(pairs.clean, []).values[Site("z", 1)], run.values[Site("z", 1)])
    assert memory.find(pairs.corrupt, []) is None
    assert memory.find(pairs.clean, [Site("z", 2)]) is None
    _, forwards = recorded(twin, pairs.clean, [Site("z", 2)], memory)
    assert forwards == 1


def test_beyond_its_budget_nothing_is_kept(hiring, pairs):
    memory = Memory(budget=100)
    recorded(replayer(hiring).twin, pairs.clean, [Site("z", 1)], memory)
    assert memory.find(pairs.clean, []) is None


def test_cells_come_out_the_same(hiring, pairs):
    cells = [(Edit(site, Patch()),) for site in expand("z", abilities(hiring).shape)]
    plan = Plan(pairs.clean, cells, metric("logit_diff"), rows=pairs.corrupt)
    plain = evaluate(hiring, plan, batch_size=5).values
    shared = Plan(pairs.clean, cells, metric("logit_diff"), rows=pairs.corrupt, memory=Memory())
    first, second = (evaluate(hiring, shared, batch_size=5) for _ in range(2))
    assert np.array_equal(plain, first.values)
    assert np.array_equal(plain, second.values)
    assert second.forwards == 0
