"""The verbs of runs, as a scripter types them."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from mechcausal.cli.app import app

TOML = """
name = "heads"
question = "Which heads carry gender?"
model = "organism:hiring"
[data.gender]
contrast = "hiring/gender"
n = 12
[[step]]
id = "heads"
run = "patch"
data = "gender"
sites = "z"
"""


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "experiment.toml").write_text(TOML)
    result = call("run", folder / "experiment.toml", "-o", folder / "r")
    assert result.exit_code == 0, result.output
    return folder


def test_running_again_has_nothing_to_do(done):
    result = call("run", done / "experiment.toml", "-o", done / "r", "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["complete"]
    assert said["steps"][0]["done"] == 16 * 12
    assert "192 rows, 0 to do" in (done / "r" / "run.log").read_text()


def test_how_far_it_is(done):
    assert "192 of 192 rows" in call("status", done / "r").output
    said = json.loads(call("status", done / "r", "--json").stdout)
    assert (said["planned"], said["done"], said["running"]) == (192, 192, False)


def test_the_table(done, tmp_path):
    result = call("collect", done / "r", "-o", tmp_path / "t.parquet", "--step", "heads")
    assert "192 rows, complete" in result.output
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == 192
    assert call("collect", done / "r", "-o", tmp_path / "t.txt").exception is not None


def test_the_report(done):
    result = call("view", done / "r", "--no-open")
    assert result.exit_code == 0
    assert "Which heads carry gender?" in (done / "r" / "report.html").read_text()


def test_two_runs(done, tmp_path):
    call("run", done / "experiment.toml", "-o", tmp_path / "b", "--set", "data.gender.n=12")
    same = call("diff", done / "r", tmp_path / "b")
    assert (same.exit_code, same.output.strip()) == (0, "identical: 192 rows")
    call("run", done / "experiment.toml", "-o", tmp_path / "c", "--set", "step.heads.metric=prob")
    other = call("diff", done / "r", tmp_path / "c", "--json")
    assert other.exit_code == 1
    assert not json.loads(other.stdout)["identical"]


def test_what_it_would_cost(done):
    result = call("run", done / "experiment.toml", "--dry-run", "--json")
    assert json.loads(result.stdout)["rows"] == 192
    assert "forwards" in call("run", done / "experiment.toml", "--dry-run").output


def test_everything_wrong_at_once(done, tmp_path):
    result = call(
        "run",
        done / "experiment.toml",
        "-o",
        tmp_path / "d",
        "--set",
        "step.heads.sits=z",
        "--set",
        "step.heads.metric=probb",
        "--set",
        "modl=x",
    )
    assert result.exit_code == 3
    assert result.output.count("\n") == 3
    assert not (tmp_path / "d").exists()
    listed = call("run", done / "experiment.toml", "--set", "modl=x", "--json")
    assert "did you mean 'model'?" in json.loads(listed.stdout)["problems"][0]


def test_a_set_without_a_value(done):
    result = call("run", done / "experiment.toml", "--set", "model")
    assert "KEY=VALUE" in str(result.exception)


def test_which_runs_there_are(done, tmp_path, monkeypatch):
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path))
    assert "there are no runs" in call("runs", "ls").output
    call("run", done / "experiment.toml", "-o", done / "r")
    assert str(done / "r") in call("runs", "ls").output.replace("\n", "")
    assert json.loads(call("runs", "ls", "--json").stdout)[0]["name"] == "heads"
