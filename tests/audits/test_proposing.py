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
    "bare.csv": "text\na b\n",
    "codes.csv": "prefix,secret,count\nthe code of a is,1234,4\nthe code of b is,4321,0\n",
    "words.csv": "prefix,secret\nthe color of a is,red\n",
    "documents.csv": "text,member\na,1\nb,0\n",
}  # fmt: skip
ASKED = {
    "pairs.csv": {"flips", "mediation", "selective_invariance"},
    "rewrites.csv": {"flips", "mediation", "selective_invariance", "nuisance_effect"},
    "prompts.jsonl": {"accuracy", "calibration", "group_gaps", "worst_group", "environments"},
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
        ("bare.csv", "no column cluster"), ("rewrites.csv", 'nuisance = "length"'), ("rewrites.csv", "whole = true"),
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


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="no columns that a question reads"):
        proposed(tmp_path / "a.csv")
    assert "there is no file" in refused("audit", "init", "--data", tmp_path / "none.csv")
