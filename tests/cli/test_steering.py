"""`mechcausal steer`: the curve of Python, and a direction that `generate` takes."""

import pytest
from commands import refused, run

import mechcausal as mc

WORDS = (
    "steer", "organism:hiring", "--site", "L2.resid_post", "--contrast", "hiring/gender", "-n", "24", "--dose", "1", "--dose", "-1",
    "--at", "@decision", "--read-at", "@decision",
)  # fmt: skip


def test_it_is_the_curve_of_python(tmp_path, hiring):
    direction = tmp_path / "gender.safetensors"
    done = run(*WORDS, "--direction", direction, "-o", tmp_path / "steered.parquet", "--json")
    assert done.code == 0
    pairs = mc.contrast("hiring/gender", hiring, n=24)
    curve = mc.steer(hiring, pairs, "L2.resid_post", at="@decision", read_at="@decision", doses=[1, -1])
    assert [row["change"] for row in done.document["rows"]] == pytest.approx(curve.frame["change"].tolist(), abs=1e-4)
    assert mc.generation.load_direction(direction).numpy() == pytest.approx(curve.direction, abs=1e-5)
    assert len(mc.results.load(tmp_path / "steered.parquet")) == 2


def test_text_dry_runs_and_errors():
    assert "dose    +1 " in run(*WORDS).output
    assert run(*WORDS, "--dry-run").output.startswith("2 cells")
    assert "name the data" in refused("steer", "organism:hiring", "--site", "L2.resid_post")
    assert "ends in .safetensors" in refused(*WORDS, "--direction", "x.pt")
    assert "'vector'" in refused(*WORDS, "--vector", "men")
