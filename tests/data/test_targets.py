"""Answers as tokens."""

import pytest
from byte_pairs import reader

from mechcausal.data.targets import each_of, filled, listed, targets, tokens_of
from mechcausal.errors import DataError

TOKENIZER = reader().tokenizer


def test_one_token_each_stays_simple():
    found = targets(TOKENIZER, 2, answer=" he", foil=[" she", " Mary"])
    assert set(found) == {"answer", "foil"}
    assert found["answer"].tolist() == [TOKENIZER(" he")["input_ids"][-1]] * 2


def test_sets_and_several_tokens():
    found = targets(TOKENIZER, 2, answer=[[" he", " him"], " Bartholomew"], foil=" she")
    assert set(found) == {"answers", "foils"}
    rows = listed(found["answers"])
    assert [len(row) for row in rows] == [2, 1]
    assert rows[1][0] == TOKENIZER(" Bartholomew", add_special_tokens=False)["input_ids"]
    assert filled(rows).tolist() == found["answers"].tolist()
    assert targets(TOKENIZER, 3, answer=None, foil=None) == {}


def test_one_for_all_or_one_each():
    assert each_of(" he", 2, "answer") == [" he", " he"]
    assert each_of({" b", " a"}, 2, "answer") == [(" a", " b")] * 2
    assert each_of([[" a", " b"], 7], 2, "answer") == [(" a", " b"), 7]
    with pytest.raises(DataError, match="answer must have one entry per prompt"):
        each_of([" a"], 2, "answer")


def test_what_is_no_answer(by_hand):
    with pytest.raises(DataError, match="unknown to the tokenizer"):
        tokens_of(by_hand.tokenizer, "perhaps later")
    assert tokens_of(by_hand.tokenizer, 3) == (3,)
