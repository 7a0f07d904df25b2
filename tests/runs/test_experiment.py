"""An experiment in Python is that of the file."""

import pytest
from runs.trials import HEADS, experiment, step

import mechcausal as mc
from mechcausal.errors import ArgumentError


def test_a_file_and_its_content_are_the_same(tmp_path):
    made = experiment()
    path = tmp_path / "experiment.toml"
    path.write_text(made.config.to_toml())
    assert mc.Experiment.read(path).config == made.config
    assert mc.Experiment.read(path, {"data.gender.n": 3}).config.data["gender"]["n"] == 3


def test_some_steps_bring_those_that_they_take():
    made = mc.Experiment.of(
        {
            "name": "trial", "models": {"a": "organism:hiring", "b": "organism:by_hand"},
            "data": {"gender": {"contrast": "hiring/gender", "n": 4}},
            "step": [
                {**HEADS, "models": ["a"]}, step("other", "mediate", mediators="z", models=["b"]),
                step("top", "patch", sites={"from": "heads", "top": 1}, models=["a"]),
                step("last", "ablate", sites={"from": "top", "top": 1}, models=["a"]),
            ],
        }
    )  # fmt: skip
    few = made.only(["last"])
    assert [each.id for each in few.config.steps] == ["heads", "top", "last"]
    assert list(few.config.models) == ["a"]
    with pytest.raises(ArgumentError, match="did you mean 'last'"):
        made.only(["lst"])


def test_a_run_of_some_steps(tmp_path):
    run = experiment(HEADS, step("other", "mediate", mediators="z")).run(tmp_path / "r", only=["heads"], quiet=True)
    assert list(run.plan.steps) == ["heads"]
