"""What a verb runs on, from its options."""

import json

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.cli.data import Chosen, concept_labels
from mechcausal.data import Contrast, PromptSet
from mechcausal.errors import ArgumentError

SOURCES = ("contrast", "pairs", "prompts", "task")


def test_data_are_named_once(tmp_path):
    Chosen(contrast="by_hand/gender").check(*SOURCES)
    with pytest.raises(ArgumentError, match=r"name the data: give --contrast NAME or --pairs FILE"):
        Chosen().check(*SOURCES)
    with pytest.raises(ArgumentError, match=r"name the data once .got --contrast and --task"):
        Chosen(contrast="by_hand/gender", task="by_hand").check(*SOURCES)
    with pytest.raises(ArgumentError, match="there is no file"):
        Chosen(pairs=tmp_path / "none.csv").check(*SOURCES)


def test_what_ships_is_drawn_by_the_seed(by_hand):
    drawn = Chosen(contrast="by_hand/gender", n=20, seed=3).read(by_hand)
    assert isinstance(drawn, Contrast)
    assert drawn.hash == mc.contrast("by_hand/gender", by_hand, n=20, seed=3).hash
    prompts = Chosen(task="by_hand", n=9, seed=1).read(by_hand)
    assert isinstance(prompts, PromptSet)
    assert prompts.hash == mc.task("by_hand").prompts(by_hand, 9, seed=1).hash


def test_a_file_of_your_own_is_read_and_cut(by_hand, tmp_path):
    pairs = mc.contrast("by_hand/gender", by_hand, n=6)
    rows = [
        {"clean": clean, "corrupt": corrupt}
        for clean, corrupt in zip(pairs.clean.texts, pairs.corrupt.texts, strict=True)
    ]
    rows = [{**row, "answer": "yes", "foil": "no"} for row in {row["clean"]: row for row in rows}.values()]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(Chosen(pairs=path).read(by_hand).clean.texts) == [row["clean"] for row in rows]
    assert list(Chosen(pairs=path, n=1).read(by_hand).clean.texts) == [rows[0]["clean"]]
    assert len(Chosen(pairs=path, n=99).read(by_hand)) == len(rows)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(row["clean"] for row in rows))
    assert list(Chosen(prompts=prompts).read(by_hand).texts) == [row["clean"] for row in rows]


def test_the_concept_of_pairs_is_their_side_unless_it_is_named(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    assert concept_labels(pairs, None) == ("gender", ["clean"] * 4 + ["corrupt"] * 4)
    name, labels = concept_labels(pairs, "gender")
    expected = [pairs.clean.variables["gender"], pairs.corrupt.variables["gender"]]
    assert name == "gender"
    np.testing.assert_array_equal(labels, np.concatenate(expected))
    with pytest.raises(ArgumentError, match="--concept COLUMN"):
        concept_labels(pairs.clean, None)
