"""What is written is read back as the same."""

import pytest
from byte_pairs import reader

import mechcausal as mc
from mechcausal.data import Contrast, PromptSet, pad
from mechcausal.errors import DataError

SUFFIXES = ("jsonl", "json", "csv", "tsv", "parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["by_hand/gender", "hiring/gender", "ioi/order"])
def test_pairs_of_a_task(name, suffix, tmp_path):
    model = mc.load(f"organism:{name.partition('/')[0]}")
    pairs = mc.contrast(name, model, n=6, seed=2)
    again = Contrast.read(pairs.write(tmp_path / f"p.{suffix}"), model)
    assert again.hash == pairs.hash
    assert again.factor == pairs.factor


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("mode", ["last", "mean", "each"])
def test_pairs_of_unequal_length_with_sets_of_answers(suffix, mode, tmp_path):
    rows = [
        {"clean": "The flight attendant said that", "corrupt": "The man said that", "answer": [" she", " Mary"],
         "foil": " Bartholomew", "position.who": "flight attendant", "corrupt_position.who": "man", "tone": 1,
         "corrupt_tone": 2, "group": "g", "label": "x"},
    ]  # fmt: skip
    pairs = Contrast.read(rows, reader(), spans=mode)
    again = Contrast.read(pairs.write(tmp_path / f"p.{suffix}"), reader(), spans=mode)
    assert again.hash == pairs.hash
    assert again.corrupt.given["tone"] == pairs.corrupt.given["tone"] == (2,)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_differs_in_some_pairs_only(suffix, tmp_path, by_hand):
    """Columns, labels and whole texts of the same number of characters."""
    rows = [
        {
            "clean": "he high ask",
            "corrupt": "she ask",
            "tone": 1,
            "corrupt_tone": 2,
            "label": "a",
            "corrupt_label": "b",
        },
        {
            "clean": "he low ask",
            "corrupt": "he ask ask",
            "tone": 3,
            "corrupt_tone": 3,
            "label": "a",
            "corrupt_label": "a",
        },
    ]
    pairs = Contrast.read(rows, by_hand, whole=True)
    again = Contrast.read(pairs.write(tmp_path / f"p.{suffix}"), by_hand)
    assert again.hash == pairs.hash
    assert again.corrupt.given["tone"] == (2, 3)
    assert again.corrupt.labels == ("b", "a")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_prompts(suffix, tmp_path, by_hand):
    prompts = mc.task("by_hand").prompts(by_hand, 5)
    assert PromptSet.read(prompts.write(tmp_path / f"p.{suffix}"), by_hand).hash == prompts.hash


def test_what_has_no_text(tmp_path, by_hand):
    with pytest.raises(DataError, match="given as tokens have no text"):
        PromptSet(*pad([[1, 2]])).write(tmp_path / "p.csv")
    from dataclasses import replace

    bare = replace(mc.task("by_hand").prompts(by_hand, 3), given={})
    with pytest.raises(DataError, match="the 'answer' of these prompts was given as tokens"):
        bare.write(tmp_path / "p.csv")
