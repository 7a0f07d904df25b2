from pathlib import Path

import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.sources import SOURCES, beside, digest_of, missing_files, source
from mechcausal.errors import ArgumentError, DataError


@pytest.fixture(scope="module")
def model(by_hand):
    return by_hand


TABLES = (
    {"contrast": "by_hand/gender", "n": 8, "seed": 1},
    {"pairs": "pairs.jsonl"},
    {"prompts": "prompts.csv"},
    {"task": "by_hand", "n": 5},
)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: next(iter(table)))
def test_a_source_is_read_and_written(table, model, tmp_path):
    mc.contrast("by_hand/gender", model, n=8).write(tmp_path / "pairs.jsonl")
    mc.task("by_hand").prompts(model, 5).write(tmp_path / "prompts.csv")
    made = source(table)
    assert made.to_json() == table
    assert source(made.to_json()) == made
    assert made.missing(tmp_path) is None
    data = made.read(model, tmp_path)
    assert len(data) in (5, 8)
    assert digest_of(data) == data.hash


def test_one_answer_for_all_prompts_of_a_task(hiring, tmp_path):
    plain = source({"task": "hiring", "n": 12}).read(hiring, tmp_path)
    asked = source({"task": "hiring", "n": 12, "answer": "accept", "foil": "reject"}).read(hiring, tmp_path)
    assert len(plain.answer.unique()) > 1
    assert len(asked.answer.unique()) == len(asked.foil.unique()) == 1
    assert asked.labels == plain.labels
    assert asked.hash != plain.hash


def test_groups_have_the_names_of_values(hiring, tmp_path):
    made = source({"task": "hiring", "n": 12, "group": "gender"}).read(hiring, tmp_path)
    assert made.groups == tuple(text.split()[1] for text in made.texts)
    with pytest.raises(DataError, match="did you mean 'gender'"):
        source({"task": "hiring", "n": 12, "group": "gendr"}).read(hiring, tmp_path)


def test_the_first_rows_of_a_file(model, tmp_path):
    mc.contrast("by_hand/gender", model, n=8).write(tmp_path / "pairs.jsonl")
    assert len(source({"pairs": "pairs.jsonl", "n": 3}).read(model, tmp_path)) == 3


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("x", "is a table"),
        ({}, "names one kind"),
        ({"contrst": "ioi"}, "did you mean 'contrast'"),
        ({"contrast": "ioi", "pairs": "x"}, "names one kind"),
        ({"contrast": "ioi", "m": 3}, "m"),
        ({"contrast": "ioi", "n": 0}, "at least 1"),
    ],
)
def test_a_wrong_table_is_refused(table, words):
    with pytest.raises(ArgumentError, match=words):
        source(table)


def test_a_file_that_is_not_there():
    assert "there is no file" in source({"pairs": "none.csv"}).missing(Path())
    assert source({"contrast": "ioi"}).missing(Path()) is None
    assert {"contrast", "pairs", "prompts", "task"} <= set(SOURCES)


def test_data_have_a_digest():
    with pytest.raises(DataError, match="a list is no data"):
        digest_of([1])


def test_columns_of_ones_own_are_part_of_the_digest(model):
    def pairs(**columns):
        return mc.Contrast.read([{"clean": "he high ask", "corrupt": "she high ask", **columns}], model)

    bare, short, long, other = pairs(), pairs(length=1), pairs(length=2), pairs(length=1, corrupt_length=2)
    assert short.hash == bare.hash
    assert len({digest_of(data) for data in (bare, short, long, other)}) == 4
    assert digest_of(short) == digest_of(pairs(length=1))
    assert digest_of(bare) == bare.hash


def test_whole_texts(model, tmp_path):
    (tmp_path / "pairs.csv").write_text("clean,corrupt\nhe high ask,she ask\n")
    table = {"pairs": "pairs.csv", "whole": True}
    assert source(table).to_json() == table
    assert not source(table).read(model, tmp_path).even
    with pytest.raises(DataError, match="different lengths"):
        source({"pairs": "pairs.csv"}).read(model, tmp_path)


def test_the_prompts_of_every_pair_change_places(model, tmp_path):
    told = {"contrast": "by_hand/gender", "n": 8}
    plain, swapped = (source({**told, "swap": flag}).read(model, tmp_path) for flag in (False, True))
    assert (swapped.clean.texts, swapped.corrupt.texts) == (plain.corrupt.texts, plain.clean.texts)
    assert swapped.clean.answer.tolist() == plain.clean.answer.tolist()
    assert swapped.hash != plain.hash
    assert source({**told, "swap": True}).to_json() == {**told, "swap": True}


def test_a_path_is_read_from_the_folder_of_the_plan(tmp_path, monkeypatch):
    plans, elsewhere = tmp_path / "plans", tmp_path / "elsewhere"
    for folder in (plans / "mine", elsewhere / "mine", elsewhere / "theirs"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert beside(plans, "mine") == str(plans / "mine")
    assert beside(plans, "./mine") == str(plans / "mine")
    assert beside(plans, "./theirs") == str(plans / "theirs")  # which is not there, and is not looked for here
    assert beside(plans, str(elsewhere / "theirs")) == str(elsewhere / "theirs")
    for name in ("organism:hiring", "smollm2", "someone/model"):
        assert beside(plans, name) == name


def test_a_file_of_a_question_that_is_not_there_is_named(tmp_path):
    found = list(missing_files(audit.Exposure("codes", base="./base"), tmp_path))
    assert found == [f"there is no file or folder {tmp_path / 'base'}, which base names"]
    assert not list(missing_files(audit.Exposure("codes", base="organism:hiring"), tmp_path))
    (tmp_path / "base").mkdir()
    assert not list(missing_files(audit.Exposure("codes", base="./base"), tmp_path))
