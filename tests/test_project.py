"""What surrounds the package: the picture, the command lines of documents, the hooks, the workflow, a test for each module."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import mechcausal as mc

ROOT = Path(mc.__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))


def test_the_picture_is_what_its_script_draws():
    drawn = runpy.run_path(str(ROOT / "docs" / "picture.py"))["draw"]()
    kept = (ROOT / "docs" / "picture.svg").read_text()
    number, color = re.compile(r"-?\d+\.\d+"), re.compile(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})")
    shape = [number.sub("1.0", color.sub("#000000", picture)) for picture in (drawn, kept)]
    assert shape[0] == shape[1]
    numbers = [[float(x) for x in number.findall(color.sub("", picture))] for picture in (drawn, kept)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02)
    colors = [[int(x, 16) for found in color.findall(picture) for x in found] for picture in (drawn, kept)]
    assert colors[0] == pytest.approx(colors[1], abs=3)


def test_the_changelog_begins_with_what_comes_next_and_has_this_version():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert any(re.match(rf"{re.escape(mc.__version__)}\b", heading) for heading in headings[1:])


def test_the_hooks_use_the_tools_of_the_environment():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
    assert {hook["id"] for hook in repo["hooks"]} == {"ruff-check", "ruff-format", "ty", "notebooks"}


def test_the_workflow_runs_what_a_change_must_pass():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1]["run"] == ".ci/run"
    assert job["timeout-minutes"] <= 60
    called = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert set(called) <= TARGETS
    assert {"lint", "demo", "test"} <= set(called)


def test_the_lowest_versions_are_those_declared():
    pins = dict(
        line.split("==") for line in (ROOT / "requirements" / "lowest.txt").read_text().splitlines() if "==" in line
    )
    for requirement in PROJECT["project"]["dependencies"]:
        name, bound = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        assert pins[name] == bound or pins[name].startswith(f"{bound}."), requirement
    assert len(pins) == len(PROJECT["project"]["dependencies"])


@pytest.mark.parametrize("pins", ["tl3.txt", "tl4.txt"])
def test_the_tools_are_pinned(pins):
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower()
        for line in (ROOT / "requirements" / pins).read_text().splitlines()
        if "==" in line
    }
    extra = PROJECT["project"]["optional-dependencies"]["dev"]
    assert {re.match(r"[\w-]+", requirement)[0].lower() for requirement in extra} <= pinned


def notebook(outputs, count):
    cell = {"cell_type": "code", "execution_count": count, "metadata": {"id": 1}, "outputs": outputs, "source": ["1"]}
    return json.dumps({"cells": [cell], "metadata": {"language_info": {}}, "nbformat": 4, "nbformat_minor": 5})


def test_notebooks_lose_their_outputs(tmp_path):
    script, path = str(ROOT / ".ci" / "strip_notebooks.py"), tmp_path / "a.ipynb"
    path.write_text(notebook([{"output_type": "stream", "text": "secret"}], 3))
    assert subprocess.run([sys.executable, script, str(path)], check=False, capture_output=True).returncode == 1
    cell = json.loads(path.read_text())["cells"][0]
    assert (cell["outputs"], cell["execution_count"], cell["source"]) == ([], None, ["1"])
    assert subprocess.run([sys.executable, script, str(path)], check=False, capture_output=True).returncode == 0
