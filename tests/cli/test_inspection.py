"""`mechcausal lens`: the table of Python, from prompts and from pairs."""

import pytest
from commands import refused, run

import mechcausal as mc

WORDS = ("lens", "organism:hiring", "--contrast", "hiring/gender", "-n", "8", "--at", "@decision")


def test_it_is_the_lens_of_python(tmp_path, hiring):
    table = tmp_path / "new" / "lens.parquet"
    done = run(*WORDS, "-o", table, "--json")
    assert done.code == 0
    read = mc.lens(hiring, mc.contrast("hiring/gender", hiring, n=8), at="@decision")
    for column in ("value", "rank", "readable", "used"):
        assert [row[column] for row in done.document["rows"]] == pytest.approx(read.frame[column].tolist(), abs=1e-5)
    assert len(mc.results.load(table)) == 4


def test_prompts_and_dry_runs():
    text = "red blue gold white blue gray red"
    said = run("lens", "organism:induction", "--prompt", text, "--answer", "blue", "--at", "@-1")
    assert "rank 1, 'blue'" in said.output
    assert run(*WORDS, "--dry-run").output.startswith("4 cells x 8 examples")
    assert run(*WORDS, "--dry-run", "--json").document["cells"] == 4


def test_what_is_wrong_is_said(tmp_path):
    assert "name the data" in refused("lens", "organism:hiring")
    assert "either prompts or pairs" in refused(*WORDS, "--prompt", "red")
    assert "'kind'" in refused(*WORDS, "--kind", "blurred")
    assert "-o cannot be" in refused(*WORDS, "-o", "lens.csv")


def test_pairs_of_your_own(tmp_path, hiring):
    file = tmp_path / "pairs.jsonl"
    pairs = mc.contrast("hiring/gender", hiring, n=4)
    pairs.write(file)
    done = run("lens", "organism:hiring", "--pairs", file, "--at", "@-1", "--json")
    read = mc.lens(hiring, pairs, at="@-1")
    assert [row["value"] for row in done.document["rows"]] == pytest.approx(read.frame["value"].tolist(), abs=1e-5)
