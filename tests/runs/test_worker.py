"""A worker turns units into a shard of rows, and a unit that fails into rows that say why."""

import pytest
from runs.trials import experiment

from mechcausal.runs.plan import Plan
from mechcausal.runs.store import Store
from mechcausal.runs.worker import Worker, failed


@pytest.fixture
def worker(tmp_path):
    made = experiment()
    plan = Plan("trial", "", {"heads": "patch"}, waiting=("heads",))
    plan.save(tmp_path)
    Store(tmp_path, writing=True)  # as the driver does
    worker = Worker(tmp_path, made.config, made.folder)
    groups, problems = worker.plan("heads")
    assert not problems
    plan = plan.with_groups("heads", groups)
    plan.save(tmp_path)
    worker.bench.know(plan)
    return worker


def units_of(worker):
    (group,) = Plan.load(worker.folder).groups
    return group, list(group.units(worker.store.done(group.key, group.cell_digests, group.prompt_digests)))


def test_units_become_one_shard(worker):
    _, units = units_of(worker)
    done = worker.do(units[:3])
    assert (done.rows, done.failed, done.errors) == (sum(unit.rows for unit in units[:3]), 0, ())
    assert len(list((worker.folder / "rows").glob("*.parquet"))) == 1
    assert len(units_of(worker)[1]) == len(units) - 3


def test_what_was_computed_is_kept_when_it_is_stopped(worker, monkeypatch):
    group, units = units_of(worker)
    from mechcausal.runs import worker as module

    right, count = module.computed, []

    def stopping(*given):
        if count:
            raise KeyboardInterrupt
        count.append(1)
        return right(*given)

    monkeypatch.setattr(module, "computed", stopping)
    with pytest.raises(KeyboardInterrupt):
        worker.do(units)
    assert worker.store.done(group.key, group.cell_digests, group.prompt_digests).sum() == units[0].rows


def test_rows_that_failed_say_why(worker):
    group, units = units_of(worker)
    rows = failed(group, units[0], RuntimeError("out of\nmemory"))
    assert len(rows) == units[0].rows
    assert set(rows["error"].to_pylist()) == {"RuntimeError: out of memory"}
    assert worker.problems("heads") == []
