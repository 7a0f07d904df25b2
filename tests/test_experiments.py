"""Each experiment runs in small, writes what its README says, and says what it found."""

import importlib.util
import re
from pathlib import Path

import pytest

import mechcausal as mc

EXPERIMENTS = Path(mc.__file__).parent.parent / "experiments"


def script(name):
    spec = importlib.util.spec_from_file_location(f"experiment_{name}", EXPERIMENTS / name / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ioi_smollm2_runs_on_a_model_that_is_known(tmp_path):
    """On the organism of the task, what is found are heads that its truth names."""
    experiment = script("ioi_smollm2")
    said = experiment.answer(experiment.run("organism:ioi", "ioi/subject", 24, 0, tmp_path, tokens=1))
    found = set(re.findall(r"^  (L\d\.z\.H\d)", said, re.MULTILINE))
    assert found
    assert found <= set(mc.truth("ioi")["circuit"])
    readme = (EXPERIMENTS / "ioi_smollm2" / "README.md").read_text()
    assert all(f"results/{path.name}" in readme for path in tmp_path.iterdir())


@pytest.mark.real
def test_ioi_smollm2_finds_the_published_heads(tmp_path):
    experiment = script("ioi_smollm2")
    results = experiment.run("smollm2", "ioi", 8, 0, tmp_path)
    effects = results["heads"].frame.set_index("site")["effect"]
    assert {"L23.z.H3", "L20.z.H0", "L29.z.H1"} <= set(effects.nlargest(8).index)
    assert "of 270 heads" in experiment.answer(results)


@pytest.mark.parametrize(
    "folder", [path.parent for path in sorted(EXPERIMENTS.glob("*/run.py"))], ids=lambda path: path.name
)
def test_a_readme_says_question_command_answer_and_time(folder):
    text = (folder / "README.md").read_text()
    for word in (
        "**Question.**",
        "**Command.**",
        "**Expected answer.**",
        "**Time.**",
        f"experiments/{folder.name}/run.py",
    ):
        assert word in text
    assert folder.name in (EXPERIMENTS / "README.md").read_text()
