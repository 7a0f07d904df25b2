"""Every study has a README that says what it asks, how it is run, what comes out and how long it takes."""

import re
import tomllib

import pytest
from studies import EXPERIMENTS

import mechcausal as mc

STUDIES = sorted(path.parent.name for path in EXPERIMENTS.glob("*/experiment.toml"))


@pytest.mark.parametrize("study", STUDIES)
def test_a_readme_says_question_command_answer_and_time(study):
    text = (EXPERIMENTS / study / "README.md").read_text()
    for words in ("**Question.**", "**Command.**", "**Expected answer.**", "**Time.**", "**What is written.**"):
        assert words in text
    assert f"mechcausal run experiments/{study}/experiment.toml -o" in text
    assert f"python experiments/{study}/analyse.py" in text
    assert f"[{study}]({study}/README.md)" in (EXPERIMENTS / "README.md").read_text()


@pytest.mark.parametrize("study", STUDIES)
def test_an_experiment_is_read_and_has_its_question(study):
    path = EXPERIMENTS / study / "experiment.toml"
    content = tomllib.loads(path.read_text())
    assert content["name"] == study
    assert content["question"].endswith("?")
    if not (path.parent / "prepare.py").exists():  # else its files are made first
        assert [step.id for step in mc.Experiment.read(path).config.steps] == [step["id"] for step in content["step"]]


def test_the_table_names_studies_that_exist():
    table = (EXPERIMENTS / "README.md").read_text()
    assert set(re.findall(r"^\| \[(\w+)\]", table, re.MULTILINE)) == set(STUDIES)
