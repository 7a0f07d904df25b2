"""The list of organisms and tasks: complete, and open to what others add."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import mechcausal as mc
from mechcausal.catalog import ADAPTERS, ORGANISMS, TASKS
from mechcausal.data import tasks
from mechcausal.errors import DataError, ModelError
from mechcausal.organisms import organisms


def test_every_folder_of_an_organism_is_listed_and_nothing_else():
    shipped = Path(mc.__file__).parent / "organisms"
    assert {path.parent.name for path in shipped.glob("*/truth.json")} == {*ORGANISMS, *ADAPTERS}
    assert all((ORGANISMS[name] / "weights" / "model.safetensors").exists() for name in ORGANISMS)
    assert all((ADAPTERS[name] / "adapter" / "adapter_model.safetensors").exists() for name in ADAPTERS)


def test_every_task_of_a_module_is_listed_and_nothing_else():
    modules = [import_module(f"mechcausal.data.tasks.{found.name}") for found in iter_modules(tasks.__path__)]
    assert {task.name for module in modules for task in getattr(module, "TASKS", ())} == set(TASKS)
    assert [mc.task(name).name for name in TASKS] == list(TASKS)


def test_every_organism_names_tasks_that_exist():
    assert {task for name in ORGANISMS for task in mc.truth(name)["tasks"]} <= set(TASKS)


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Add an organism and a task, for one test."""
    for registry in (ORGANISMS, TASKS):
        monkeypatch.setattr(registry, "_things", dict(registry._things))
    shutil.copytree(ORGANISMS["by_hand"], tmp_path / "mine")
    ORGANISMS.register("mine")(tmp_path / "mine")
    TASKS.register("my_task")(mc.task("by_hand"))
    statement = json.loads((tmp_path / "mine" / "truth.json").read_text())
    (tmp_path / "mine" / "truth.json").write_text(json.dumps(statement | {"task": "added by a test"}))


def test_what_others_add_is_known_everywhere(added, by_hand):
    model = mc.load("organism:mine")
    assert model.cfg.n_layers == by_hand.cfg.n_layers
    assert mc.truth("mine")["task"] == "added by a test"
    assert organisms().set_index("name").loc["mine", "what"] == "added by a test"
    assert mc.contrast("my_task/gender", model, n=4).hash == mc.contrast("by_hand/gender", by_hand, n=4).hash


def test_a_wrong_name_or_a_name_twice(added):
    with pytest.raises(ModelError, match="there is no organism called 'hirng': did you mean 'hiring'"):
        mc.load("organism:hirng")
    with pytest.raises(DataError, match="there is no task called 'hirng': did you mean 'hiring'"):
        mc.task("hirng")
    with pytest.raises(ModelError, match="'mine' is registered already"):
        ORGANISMS.register("mine")(Path())
