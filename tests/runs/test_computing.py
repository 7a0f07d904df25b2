"""Rows of a unit: the numbers that the method gives of these cells and prompts."""

import numpy as np
import pytest
from runs.trials import experiment, step

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.runs.bench import Bench
from mechcausal.runs.computing import computed
from mechcausal.runs.plan import Plan, Unit
from mechcausal.runs.planning import planned
from mechcausal.runs.store import ROW


@pytest.fixture
def at_hand(tmp_path):
    made = experiment(step("heads", "patch", sites="z"), step("silenced", "ablate", sites="z"))
    bench = Bench(tmp_path, made.config, made.folder, None)
    found = [group for table in made.config.steps for group in planned(bench, table)[0]]
    Plan("trial", "", {"heads": "patch", "silenced": "ablate"}, tuple(found)).save(tmp_path)
    return bench, found


def test_a_block_of_a_sweep(at_hand, hiring):
    bench, (group, _) = at_hand
    unit = Unit(group.id, (2, 5, 6), (1, 3, 4, 7), tuple(range(8)))
    rows = computed(bench, group, unit)
    assert rows.schema == ROW
    truth = mc.patch(hiring, mc.contrast("hiring/gender", hiring, n=20), sites="z")
    wanted = truth.examples[np.ix_(unit.cells, unit.prompts)]
    np.testing.assert_allclose(rows["value"].to_numpy().reshape(3, 4), wanted, atol=2e-5)
    for side in ("base", "clean", "corrupt"):
        np.testing.assert_allclose(
            rows[side].to_numpy().reshape(3, 4)[0], truth.baselines[side][list(unit.prompts)], atol=2e-5
        )


def test_means_are_those_of_all_prompts(at_hand, hiring):
    bench, (_, group) = at_hand
    unit = Unit(group.id, (4, 9), (0, 5), tuple(range(20)))
    rows = computed(bench, group, unit)
    truth = mc.ablate(hiring, mc.contrast("hiring/gender", hiring, n=20), sites="z")
    np.testing.assert_allclose(
        rows["value"].to_numpy().reshape(2, 2), truth.examples[np.ix_((4, 9), (0, 5))], atol=2e-5
    )


def test_data_that_changed_since_are_refused(at_hand):
    bench, (group, _) = at_hand
    bench.config.data["gender"]["n"] = 21
    later = Bench(bench.folder, bench.config, bench.base, None)
    with pytest.raises(DataError, match="have changed"):
        computed(later, group, Unit(group.id, (0,), (0,), (0,)))
