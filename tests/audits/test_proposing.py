"""A plan that fits a data file is a plan, and it can be run where the file's content can."""

import tomllib

import pytest
from commands import refused, run

import mechcausal as mc
from mechcausal.audits.plan import Plan
from mechcausal.audits.proposing import proposed
from mechcausal.audits.reading import plan_of
from mechcausal.errors import DataError

FILES = {
    "pairs.csv": "clean,corrupt,answer,foil,template\na,b,c,d,t1\n",
    "rewrites.csv": "clean,corrupt,length,corrupt_length,tone,corrupt_tone\na b,c,2,1,warm,cold\nb c,d,2,1,warm,cold\n",
    "prompts.jsonl": '{"text": "a", "answer": "b", "foil": "c", "group": "x", "environment": "e1"}\n'
    '{"text": "b", "answer": "c", "foil": "b", "group": "y", "environment": "e2"}\n',
    "many.jsonl": "".join(
        f'{{"text": "a {row}", "answer": "b", "foil": "c", "group": "{"xy"[row % 2]}", "environment": "e{row % 2}"}}\n'
        for row in range(50)
    ),
    "unanswered.csv": "clean,corrupt,template\na,b,t1\n",
    "bare.csv": "text\na b\n",
    "codes.csv": "prefix,secret,count\nthe code of a is,1234,4\nthe code of b is,4321,0\n",
    "words.csv": "prefix,secret\nthe color of a is,red\n",
    "documents.csv": "text,member\na,1\nb,0\n",
}  # fmt: skip
ASKED = {
    "pairs.csv": {"flips", "selective_invariance"},
    "rewrites.csv": {"flips", "nuisance_effect"},
    "prompts.jsonl": {"accuracy"},
    "many.jsonl": {"accuracy", "calibration", "group_gaps", "worst_group", "environments"},
    "unanswered.csv": {"flips"},
    "bare.csv": {"irrelevant"},
    "codes.csv": {"exposure", "extraction"},
    "words.csv": {"exposure", "extraction"},
    "documents.csv": {"membership"},
}


@pytest.mark.parametrize("name", FILES)
def test_columns_say_which_questions(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    text = proposed(tmp_path / name, "mine")
    table = tomllib.loads(text)
    assert {question["ask"] for question in table["question"]} == ASKED[name]
    assert table["model"] == "mine"
    assert isinstance(plan_of(table, tmp_path), Plan)
    assert not any("at_most" in question for question in table["question"])  # thresholds are the reader's


def test_what_must_be_filled_in_is_said(tmp_path):
    for name, words in (
        ("codes.csv", 'candidates = "digits:4"'), ("words.csv", "fill in"), ("words.csv", "count 0"),
        ("pairs.csv", "by the column template: 1 clusters"), ("prompts.jsonl", "too small to be judged: x (1), y (1)"),
        ("prompts.jsonl", "calibration needs at least 50 prompts: here are 2"),
        ("prompts.jsonl", "worst_group needs at least 10"), ("prompts.jsonl", "environments needs at least 20"),
        ("unanswered.csv", "only for a classifier"), ("bare.csv", "no column cluster"), ("rewrites.csv", 'nuisance = "length"'), ("rewrites.csv", "whole = true"),
        ("pairs.csv", "mediation needs pairs of at least 2 clusters: here is 1"), ("prompts.jsonl", "one answer for all prompts"),
    ):  # fmt: skip
        (tmp_path / name).write_text(FILES[name])
        assert words in proposed(tmp_path / name)
    assert "tone" not in proposed(tmp_path / "rewrites.csv").partition("[data.pairs]")[2]  # its values are words


def test_a_proposed_plan_runs(tmp_path, by_hand):
    mc.contrast("by_hand/gender", by_hand, n=12).write(tmp_path / "pairs.jsonl")
    done = run(
        "audit", "init", "--data", tmp_path / "pairs.jsonl", "--model", "organism:by_hand", "-o", tmp_path / "a.toml"
    )
    assert done.code == 0, done.error
    checked = run("audit", "check", tmp_path / "a.toml", "--json")
    assert checked.code == 0, checked.document
    assert set(checked.document["forwards"]) == {"FAIR-1", "FAIR-2", "INV-1"}


def test_the_file_is_named_from_where_the_plan_lies(tmp_path, monkeypatch, by_hand):
    """Of a plan on standard output that is the folder one is in; so the plan finds its data."""
    for name in ("data", "plans"):
        (tmp_path / name).mkdir()
    mc.contrast("by_hand/gender", by_hand, n=4).write(tmp_path / "data" / "pairs.jsonl")
    monkeypatch.chdir(tmp_path)
    for words, folder in (([], tmp_path), (["-o", tmp_path / "plans" / "a.toml"], tmp_path / "plans")):
        done = run("audit", "init", "--data", "data/pairs.jsonl", *words)
        text = (folder / "a.toml").read_text() if words else done.output
        table = tomllib.loads(text)
        assert table["data"]["pairs"]["pairs"] == ("../data/pairs.jsonl" if words else "data/pairs.jsonl")
        assert plan_of(table, folder).problems() == []


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="no columns that a question reads"):
        proposed(tmp_path / "a.csv")
    assert "there is no file" in refused("audit", "init", "--data", tmp_path / "none.csv")
