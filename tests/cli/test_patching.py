"""`mechcausal patch`: what it announces, what it writes, and that it is the sweep of Python."""

import pytest
from commands import run

import mechcausal as mc

WORDS = ("patch", "organism:hiring", "--contrast", "hiring/gender", "--sites", "z", "-n", "8")


def test_a_dry_run_writes_nothing(tmp_path):
    table = tmp_path / "heads.parquet"
    said = run(*WORDS, "-o", table, "--dry-run")
    assert said.output.startswith("16 cells x 8 examples: ")
    assert run(*WORDS, "--dry-run", "--json").document["cells"] == 16
    assert not table.exists()


def test_it_is_the_sweep_of_python(tmp_path, hiring):
    table = tmp_path / "new" / "heads.parquet"
    done = run(*WORDS, "-o", table, "--direction", "noise", "--at", "@decision", "--seed", "3", "--json")
    assert done.code == 0
    sweep = mc.patch(
        hiring, mc.contrast("hiring/gender", hiring, n=8, seed=3), sites="z", direction="noise", at="@decision"
    )
    assert mc.results.load(table).frame["effect"].to_numpy() == pytest.approx(sweep.frame["effect"].to_numpy())
    rows = done.document["rows"]
    assert [row["site"] for row in rows] == [str(site) for site in sweep.frame["site"]]
    assert [row["effect"] for row in rows] == pytest.approx(sweep.frame["effect"].tolist())
    assert done.document["table"] == str(table)


def test_the_summary_names_the_table(tmp_path):
    done = run(*WORDS, "-o", tmp_path / "heads.parquet")
    assert done.output.rstrip().endswith(f"table  {tmp_path / 'heads.parquet'}")
