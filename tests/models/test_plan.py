"""Plans cut into batches and cells, and the counts of what was run."""

import pytest
import torch
from zoo import make_pairs

from mechcausal.interventions import Edit
from mechcausal.metrics import metric
from mechcausal.models.plan import Economy, Plan


def test_a_batch_holds_the_same_rows_of_every_side():
    pairs = make_pairs()
    plan = Plan(pairs.clean, [(Edit.of("L1.z", "patch"),)], metric("kl"), rows=pairs.corrupt, reference=pairs.clean)
    batch = plan.batch(torch.tensor([4, 1]), "cpu")
    for name, side in (("base", pairs.clean), ("rows", pairs.corrupt), ("reference", pairs.clean)):
        assert getattr(batch, name).tokens.equal(side.tokens[[4, 1]])
    alone = Plan(pairs.clean, plan.cells, plan.metric).batch(torch.tensor([0]), "cpu")
    assert alone.rows is alone.reference is None


def test_some_cells_of_a_plan():
    cells = [(Edit.of(f"L{layer}.z", "zero"),) for layer in range(3)]
    plan = Plan(make_pairs().clean, cells, metric("loss"))
    assert plan.only([2, 0]).cells == [cells[2], cells[0]]
    assert plan.only([]).cells == []


def test_counts_add_up_and_give_the_ratio():
    both = Economy(10, 100, 1, 5) + Economy(30, 100, 2, 7)
    assert both == Economy(40, 200, 3, 12)
    assert both.counts() == {
        "engine": "replay", "naive_token_layers": 200, "token_layers": 40, "skipped": 3, "cells_and_examples": 12, "ratio": 5.0,
    }  # fmt: skip
    assert Economy(0, 200).counts()["ratio"] == pytest.approx(200)  # nothing was run
