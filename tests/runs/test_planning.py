"""From a step to its groups: the key holds what numbers depend on, and nothing else."""

import pytest
from runs.trials import HEADS, experiment, step

from mechcausal.errors import DataError
from mechcausal.runs.bench import Bench
from mechcausal.runs.plan import Plan
from mechcausal.runs.planning import data_digest, planned


def groups(tmp_path, table, **more):
    made = experiment(table, **more)
    Plan("trial", "", {table["id"]: table["run"]}).save(tmp_path)
    found, problems = planned(Bench(tmp_path, made.config, made.folder, None), made.config.steps[0])
    assert not problems
    return found


def key(tmp_path, table, **more):
    (group,) = groups(tmp_path, table, **more)
    return group.key


def test_what_a_number_depends_on_is_in_its_key(tmp_path):
    base = key(tmp_path, HEADS)
    assert key(tmp_path, {**HEADS, "id": "other", "sites": "mlp_out"}) == base  # cells have digests of their own
    assert key(tmp_path, HEADS, data={"gender": {"contrast": "hiring/gender", "n": 9}}) == base  # prompts too
    changed = [{**HEADS, "metric": "prob"}, {**HEADS, "direction": "noise"}, {**HEADS, "batch_size": 8}]
    keys = [key(tmp_path, table) for table in changed]
    keys += [
        key(tmp_path, HEADS, model={"load": "organism:hiring", "dtype": "float64"}),
        key(tmp_path, HEADS, threads=2),
    ]
    assert len({base, *keys}) == 6


def test_means_depend_on_all_prompts(tmp_path):
    silenced = step("silenced", "ablate", sites="z")
    base, fewer = (key(tmp_path, silenced, data={"gender": {"contrast": "hiring/gender", "n": n}}) for n in (10, 9))
    assert base != fewer
    zeroed = {**silenced, "do": "zero"}
    base, fewer = (key(tmp_path, zeroed, data={"gender": {"contrast": "hiring/gender", "n": n}}) for n in (10, 9))
    assert base == fewer


def test_a_new_meaning_is_a_new_key(tmp_path, monkeypatch):
    from mechcausal.patching.activation import Patching

    base = key(tmp_path, HEADS)
    monkeypatch.setattr(Patching, "meaning", 2)
    assert key(tmp_path, HEADS) != base


def test_a_step_is_run_for_each_model_data_seed_and_setting(tmp_path):
    table = step(
        "drawn", "ablate", ["gender", "others"], sites="z", do="resample", each={"metric": ["prob", "logprob"]}
    )
    found = groups(tmp_path, table, seeds=[0, 1])
    assert len(found) == 2 * 2 * 2
    assert len({group.key for group in found}) == 8
    assert len(groups(tmp_path, step("p", "patch", "others", sites="z"), seeds=[0, 1])) == 1


def test_digests_of_data(hiring, tmp_path):
    import mechcausal as mc

    pairs = mc.contrast("hiring/gender", hiring, n=4)
    assert data_digest(pairs) == pairs.hash
    with pytest.raises(DataError, match="no data of a run"):
        data_digest(object())
