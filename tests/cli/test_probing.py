"""`mechcausal probe` and `mechcausal erase`: a concept by its column, of a task or of a file of your own."""

import json

import pytest
from commands import run

import mechcausal as mc
from mechcausal.errors import ResultError


@pytest.fixture
def pairs(tmp_path, hiring):
    made = mc.contrast("hiring/gender", hiring, n=60)
    return made.write(tmp_path / "pairs.jsonl")


def test_a_probe_at_every_place_is_the_sweep_of_python(tmp_path, hiring):
    table = tmp_path / "probe.parquet"
    words = ("probe", "organism:hiring", "--task", "hiring", "--concept", "gender", "--sites", "L2.resid_post")
    done = run(*words, "--at", "@decision", "-n", "80", "-o", table, "--json")
    assert done.code == 0, done.error
    prompts = mc.task("hiring").prompts(hiring, 80)
    sweep = mc.features.probe_sweep(hiring, prompts, "gender", sites="L2.resid_post", at="@decision")
    assert done.document["rows"][0]["value"] == pytest.approx(sweep.frame["value"].item())
    assert mc.results.load(table).frame["concept"].item() == "gender"
    assert run(*words, "--dry-run", "--json").document["cells"] == 8


def test_pairs_of_a_file_are_probed_by_side_or_by_a_column(tmp_path, pairs):
    words = ("probe", "organism:hiring", "--sites", "L2.resid_post", "--at", "@decision", "-o", tmp_path / "p.parquet")
    sides = run(*words, "--pairs", pairs, "--json").document["rows"][0]
    assert (sides["concept"], sides["value"] > 0.9) == ("gender", True)
    column = tmp_path / "labeled.csv"
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    column.write_text("text,who\n" + "".join(f"{r['clean']},first\n{r['corrupt']},second\n" for r in rows))
    named = run(*words, "--probe-labels", column, "--concept", "who", "--drop-unfit", "--at", "@-1", "--json")
    assert named.code == 0, named.error
    assert named.document["rows"][0]["concept"] == "who"


def test_erasure_writes_its_edits_beside_what_is_still_read(tmp_path, pairs):
    table = tmp_path / "erase.parquet"
    words = ("erase", "organism:hiring", "--pairs", pairs, "--sites", "L2.resid_post", "--at", "@decision")
    assert run(*words, "--dry-run").output.startswith("1 cells x ")
    done = run(*words, "-o", table, "--json")
    assert done.code == 0, done.error
    kept = json.loads((tmp_path / "erase.json").read_text())
    assert (kept["concept"], kept["ranks"]) == ("gender", {"L2.resid_post": 1})
    assert [edit["site"] for edit in kept["edits"]] == ["L2.resid_post"]
    assert {row["kind"] for row in done.document["rows"]} == {"logistic", "quadratic", "mlp"}
    assert mc.results.load(table).frame["before"].iloc[0] > 0.8


def test_edits_that_cannot_be_written_leave_the_old_ones(tmp_path, pairs, monkeypatch):
    from mechcausal.results import storage

    def full(path, text):
        raise ResultError(f"{path} could not be written", got="No space left on device")

    (tmp_path / "erase.json").write_text("old")
    monkeypatch.setattr(storage, "write_text", full)
    words = ("erase", "organism:hiring", "--pairs", pairs, "--sites", "L2.resid_post", "--at", "@decision")
    done = run(*words, "-o", tmp_path / "erase.parquet")
    assert (done.code, "No space left" in done.error) == (4, True)
    assert (tmp_path / "erase.json").read_text() == "old"
