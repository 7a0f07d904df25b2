"""`mechcausal link`: one page, its numbers beside it, and the verdicts on standard output."""

import json

import pytest
from commands import run


@pytest.mark.slow
def test_the_page_and_its_numbers_stand_side_by_side(tmp_path):
    page = tmp_path / "new" / "heads.html"
    words = ("link", "organism:hiring", "--sites", "L1.z.H*", "--suite", "hiring/fairness", "-o", page, "-n", "64")
    done = run(*words, "--json")
    assert done.code == 0, done.error
    assert done.document["report"] == str(page)
    assert done.document["data"] == str(page.with_suffix(".json"))
    assert page.read_text().startswith("<!doctype html>")
    numbers = json.loads(page.with_suffix(".json").read_text())
    assert set(numbers) == set(done.document["verdicts"])
    verdict_of = {name: {row["candidate"]: row["verdict"] for row in study["rows"]} for name, study in numbers.items()}
    gender, proxy = verdict_of["hiring/fairness/gender"], verdict_of["hiring/fairness/proxy"]
    assert [gender[f"L1.z.H{head}"] for head in (1, 2, 3)] == ["causal", "causal", "correlate-only"]
    assert proxy["L1.z.H1"] == "causal"
    assert proxy["L1.z.H2"] != "causal"  # it carries the pronoun, which these pairs leave alone
    for study, verdicts in done.document["verdicts"].items():
        stated = {name: verdict for verdict, names in verdicts.items() for name in names}
        assert stated.items() <= verdict_of[study].items()


@pytest.mark.slow
def test_pairs_of_your_own(tmp_path, hiring):
    import mechcausal as mc

    pairs = mc.contrast("hiring/gender", hiring, n=64).write(tmp_path / "pairs.jsonl")
    words = ("link", "organism:hiring", "--sites", "L1.z.H*", "--pairs", pairs)
    assert run(*words, "--dry-run", "--json").document
    done = run(*words, "-o", tmp_path / "page.html", "--json")
    assert done.code == 0, done.error
    (verdicts,) = done.document["verdicts"].values()
    assert "L1.z.H2" in verdicts["causal"]
    named = run(*words, "--concept", "gender", "-o", tmp_path / "page.html", "--json")
    assert named.code == 0, named.error
    assert next(iter(named.document["verdicts"].values()))["causal"] == verdicts["causal"]
