"""Two runs are compared row by row: equal to the last bit, within a tolerance, or by what only one of them has."""

import pytest
from runs.trials import HEADS, experiment, step

from mechcausal.runs.diffing import difference, flat


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    one = experiment(HEADS, step("mediated", "mediate", mediators="L1.z.H*")).run(folder / "a", quiet=True)
    two = experiment(HEADS, step("mediated", "mediate", mediators="L1.z.H*")).run(folder / "b", quiet=True)
    return one, two


def test_equal_runs_are_identical(runs):
    found = difference(*runs)
    assert found.identical
    assert found.same == 16 * 20 + 1
    assert str(found) == "identical: 321 rows"


def test_numbers_that_moved_are_found(runs, tmp_path):
    other = experiment(HEADS, sets={"block": 5}).run(
        tmp_path / "c", quiet=True
    )  # blocks of another size round otherwise
    exact, loose = difference(runs[0], other), difference(runs[0], other, 1e-4)
    assert exact.same + len(exact.changed.drop_duplicates(["site", "at", "prompt"])) == 16 * 20
    assert len(loose.changed) == 0
    assert loose.same == 16 * 20
    assert loose.settings == ("only the first has mediated (model organism:hiring, data gender, seed 0)",)
    assert not loose.identical


def test_rows_that_only_one_has(runs, tmp_path):
    more = experiment({**HEADS, "sites": ["z", "L3.mlp_out"]}, sets={"data.gender.n": 20}).run(
        tmp_path / "d", quiet=True
    )
    found = difference(runs[0], more)
    (count,) = found.only_b.values()
    assert count == 8 * 20
    assert found.same == 16 * 20
    assert found.to_json()["identical"] is False


def test_results_are_compared_number_by_number(runs):
    numbers = flat(runs[0].result("mediated"))
    assert numbers == flat(runs[1].result("mediated"))
    assert len(numbers) > 10
