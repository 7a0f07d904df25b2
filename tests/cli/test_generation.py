"""`mechcausal generate`: what it writes, with edits as JSON and directions from files."""

import pytest
from commands import refused, run

import mechcausal as mc

TEXT = "red blue gold white blue gray red"
WORDS = ("generate", "organism:induction", "--prompt", TEXT, "--tokens", "1")


def test_it_writes_what_python_writes(tmp_path):
    model = mc.load("organism:induction")
    path = mc.generation.save_direction([50.0] * model.cfg.d_model, tmp_path / "up.safetensors")
    edit = '{"site":"L1.z.H1","do":"zero"}'
    added = f'{{"site":"L0.resid_post","do":"add","direction":"{path}","scale":4}}'
    table = tmp_path / "new" / "text.parquet"
    done = run(*WORDS, "--edit", edit, "--edit", added, "-o", table, "--json")
    assert done.code == 0
    written = mc.generate(model, TEXT, tokens=1, edits=[edit, added])
    (row,) = done.document["rows"]
    assert row["text"] == written.texts[0]
    assert row["logprob"] == pytest.approx(written.frame["logprob"].item())
    assert [one["forwards"] for one in done.document["edits"]] == [1, 1]
    assert mc.results.load(table).texts == written.texts


def test_without_json_it_says_what_was_written():
    assert "'blue'" in run(*WORDS).output
    assert run(*WORDS, "--dry-run").output.startswith("1 cells x 1 examples")
    assert run(*WORDS, "--dry-run", "--json").document["cells"] == 1


def test_what_is_wrong_is_said():
    assert "an edit cannot be read" in refused(*WORDS, "--edit", "{")
    assert "no chat template" in refused(*WORDS, "--chat")
    assert "-o cannot be" in refused(*WORDS, "-o", "text.csv")
    assert "name the data" in refused("generate", "organism:induction")
    assert "there is no file" in refused("generate", "organism:induction", "--prompts", "none.csv")


def test_prompts_of_a_file(tmp_path):
    file = tmp_path / "prompts.csv"
    file.write_text(f"text\n{TEXT}\n{TEXT[:13]}\n")
    done = run("generate", "organism:induction", "--prompts", file, "--tokens", "1", "--json")
    assert [row["before"] for row in done.document["rows"]] == [TEXT, TEXT[:13]]
