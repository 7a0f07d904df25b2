"""A table is handed over only with the proof that it is whole."""

import shutil

import pandas as pd
import pytest
from runs.trials import experiment

import mechcausal as mc
from mechcausal.runs.collecting import problems, write_table


@pytest.fixture
def run(tmp_path):
    return experiment().run(tmp_path / "r", quiet=True)


def test_a_run_that_is_sound(finished):
    assert problems(finished) == []


def test_rows_that_are_missing_are_named(run):
    shard = min((run.folder / "rows").glob("*.parquet"))
    shard.unlink()
    wrong = problems(mc.Run(run.folder))
    assert any("step heads, L0.z.H" in line and "missing" in line for line in wrong)


def test_a_damaged_shard_is_named(run):
    shard = min((run.folder / "rows").glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    assert any(shard.name in line for line in problems(mc.Run(run.folder)))


def test_a_table_is_written_and_read_back(finished, tmp_path):
    table = finished.table()
    assert len(pd.read_parquet(write_table(table, tmp_path / "t.parquet"))) == len(table)
    heads = finished.table("heads")
    read = pd.read_csv(write_table(heads, tmp_path / "t.csv"))
    assert read["value"].tolist() == pytest.approx(heads["value"].tolist())


def test_a_copied_run_is_as_good(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "copy")
    assert problems(mc.Run(tmp_path / "copy")) == []
