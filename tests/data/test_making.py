"""Pairs and prompts of your own, from a table to what every method takes."""

import json

import pandas as pd
import pytest
import torch
from byte_pairs import reader

import mechcausal as mc
from mechcausal.data.making import pairs_of, read_pairs, read_prompts
from mechcausal.errors import DataError

PAIR = {"clean": "he high ask", "corrupt": "she high ask", "answer": "yes", "foil": "no"}


def test_a_file_is_what_text_is(by_hand, tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [
        {**PAIR, "group": "a", "environment": "e", "template": "t1", "label": 1, "positions": {"who": "he"}},
        {**PAIR, "clean": "he low ask", "corrupt": "she low ask", "group": "b", "environment": "e", "template": "t2", "label": 0, "positions": {"who": "he"}},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = mc.Contrast.read(path, by_hand, factor="gender")
    built = mc.Contrast.from_text(
        by_hand, [row["clean"] for row in rows], [row["corrupt"] for row in rows], answer="yes", foil="no", factor="gender",
        groups=["a", "b"], environments=["e", "e"], clusters=["t1", "t2"], labels=[1, 0], positions={"who": "he"},
    )  # fmt: skip
    assert found.hash == built.hash
    assert (found.name, found.factor) == ("p.jsonl", "gender")
    assert len(mc.patch(by_hand, found, sites="resid_pre")) > 0
    frame = mc.Contrast.read(
        pd.DataFrame([{k: v for k, v in row.items() if k != "positions"} for row in rows]), by_hand
    )
    assert frame.clean.groups == ("a", "b")
    assert frame.factor == "undeclared"
    assert read_pairs([{**PAIR, "factor": "g"}], by_hand).factor == "g"


def test_columns_of_your_own_are_labels(by_hand):
    rows = [
        {**PAIR, "gender": "m", "corrupt_gender": "f"},
        {**PAIR, "clean": "he low ask", "corrupt": "she low ask", "gender": "m", "corrupt_gender": "f"},
    ]
    pairs = mc.Contrast.read(rows, by_hand)
    assert pairs.clean.given["gender"] == ("m", "m")
    assert pairs.corrupt.given["gender"] == ("f", "f")
    labels = mc.features.labels_of if hasattr(mc.features, "labels_of") else None
    from mechcausal.probes.labels import labels_of, one_set

    assert labels is None or labels is labels_of
    assert labels_of(one_set(pairs), "gender").codes.tolist() == [1, 1, 0, 0]
    with pytest.raises(DataError, match="did you mean 'gender'"):
        labels_of(pairs.clean, "gendr")
    marked = mc.Contrast.read([{**PAIR, "label": 1, "corrupt_label": 0}], by_hand)
    assert (marked.clean.labels, marked.corrupt.labels) == ((1,), (0,))


def test_pairs_of_unequal_length():
    rows = [
        {"clean": "The flight attendant said that", "corrupt": "The man said that", "answer": " she", "foil": " he",
         "position.who": "flight attendant", "corrupt_position.who": "man"},
        {"clean": "The nurse said that", "corrupt": "The man said that", "answer": " she", "foil": " he",
         "position.who": "nurse", "corrupt_position.who": "man"},
    ]  # fmt: skip
    pairs = mc.Contrast.read(rows, reader())
    assert not pairs.even
    assert pairs.clean.n_positions.tolist() == [5, 5]
    assert pairs.clean.select("@who").nonzero().tolist() == [[0, 3], [1, 2]]
    assert pairs.clean.select(-1).nonzero().tolist() == [[0, 5], [1, 4]]
    assert pairs.differs.any(1).tolist() == [True, True]
    assert mc.Contrast.read(rows[1:], reader()).even
    with pytest.raises(DataError, match="row 0: the prompts have different lengths"):
        mc.Contrast.read([{k: v for k, v in rows[0].items() if "position" not in k}], reader())


def test_answers_of_several_tokens_and_sets():
    rows = [
        {
            "clean": "The nurse said that",
            "corrupt": "The man said that",
            "answer": [" she", " Mary"],
            "foil": " Bartholomew",
        }
    ]
    pairs = mc.Contrast.read(rows, reader())
    assert pairs.clean.answer is None
    assert pairs.clean.answers.shape[:2] == (1, 2)
    assert pairs.clean.foils.shape[2] > 1
    again = mc.Contrast.from_text(
        reader(), [rows[0]["clean"]], [rows[0]["corrupt"]], answer={" she", " Mary"}, foil=" Bartholomew"
    )
    assert {*map(tuple, again.clean.answers[0].tolist())} == {*map(tuple, pairs.clean.answers[0].tolist())}
    with pytest.raises(DataError, match=r"the answer of prompt 0 is its foil.*a text that is in both"):
        mc.Contrast.from_text(reader(), ["The nurse"], ["The man"], answer=[[" he", " Mary"]], foil=" he")
    with pytest.raises(DataError, match="names a text twice"):
        mc.Contrast.from_text(reader(), ["The nurse"], ["The man"], answer=[[" he", " he"]], foil=" she")


def test_unfit_rows_are_dropped_on_request(by_hand, caplog):
    rows = [PAIR, {**PAIR, "clean": "he unheard ask"}]
    with pytest.raises(DataError, match=r"rows row 1: the tokenizer does not know 'unheard' in the clean prompt"):
        mc.Contrast.read(rows, by_hand)
    pairs = mc.Contrast.read(rows, by_hand, unfit="drop")
    assert pairs.dropped == (("words that the tokenizer does not know", 1),)
    assert "1 of 2 rows of rows are left out" in caplog.text
    told = mc.patch(by_hand, pairs, sites="resid_pre", at="@-1").provenance.prompts
    assert told["dropped"] == {"words that the tokenizer does not know": 1}
    with pytest.raises(DataError, match="can take none of the pairs of rows"):
        mc.Contrast.read(rows[1:], by_hand, unfit="drop")


def test_prompts(by_hand, tmp_path):
    (tmp_path / "p.csv").write_text("text,label,tone\nhe high ask,1,a\nshe low ask,0,b\n")
    prompts = mc.PromptSet.read(tmp_path / "p.csv", by_hand)
    assert (prompts.labels, prompts.given["tone"]) == ((1, 0), ("a", "b"))
    (tmp_path / "p.txt").write_text("he high ask\nshe low ask\n")
    assert mc.PromptSet.read(tmp_path / "p.txt", by_hand).texts == prompts.texts
    with pytest.raises(DataError, match=r"p.csv has no column 'clean'"):
        mc.Contrast.read(tmp_path / "p.csv", by_hand)
    with pytest.raises(DataError, match="can take none of the 1 prompts"):
        read_prompts([{"text": "unheard"}], by_hand, unfit="drop")
    answered = mc.PromptSet.read([{"text": "he high ask", "answer": "yes", "foil": "no"}], by_hand)
    assert torch.is_tensor(answered.answer)


def test_a_missing_cluster_is_named(by_hand):
    with pytest.raises(DataError, match="row 1: the cluster is missing"):
        mc.Contrast.read([{**PAIR, "cluster": "a"}, {**PAIR, "clean": "he low ask"}], by_hand)
    with pytest.raises(DataError, match="other variables than the first row"):
        mc.Contrast.read([{**PAIR, "variable.g": 1}, {**PAIR, "clean": "he low ask"}], by_hand)
    assert pairs_of  # what suites and templates call


def test_whole_texts_may_differ_anywhere_and_in_length(by_hand, tmp_path):
    rows = [
        {"clean": "he high ask", "corrupt": "she ask", "length": 3, "corrupt_length": 2},
        {"clean": "he ask", "corrupt": "she ask", "length": 2, "corrupt_length": 2},
    ]
    with pytest.raises(DataError, match=r"row 0: the prompts have different lengths.*whole texts \(whole=True\)"):
        mc.Contrast.read(rows, by_hand)
    pairs = mc.Contrast.read(rows, by_hand, whole=True)
    assert pairs.clean.lengths.tolist() == [4, 3]
    assert pairs.corrupt.lengths.tolist() == [3, 3]
    assert (pairs.clean.given["length"], pairs.corrupt.given["length"]) == ((3, 2), (2, 2))
    # The BOS token and the end of the text correspond, nothing between them.
    assert (pairs.clean.aligned, pairs.corrupt.aligned) == (((0, -1, -1, 1), (0, -1, 1)), ((0, -1, 1), (0, -1, 1)))
    again = mc.Contrast.read(pairs.write(tmp_path / "pairs.csv"), by_hand)
    assert again.hash == pairs.hash
    with pytest.raises(DataError, match="row 0: it names a position"):
        mc.Contrast.read([{**rows[0], "position.who": "he", "corrupt_position.who": "she"}], by_hand, whole=True)


def test_the_example_of_the_documentation():
    from pathlib import Path

    pairs = mc.Contrast.read(Path(mc.__file__).parents[1] / "docs" / "pairs.jsonl", reader())
    assert len(pairs) == 3
    assert not pairs.even
    assert pairs.clean.clusters == ("nurse", "flight attendant", "nurse")
    assert pairs.clean.answers.shape[1] == 2
