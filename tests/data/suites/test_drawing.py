"""Pairs drawn of a suite: which there are, in what order, and what is left out."""

from random import Random
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mechcausal.data.suites.drawing import SUITES, draw, pair, shipped, shuffled, suite
from mechcausal.data.suites.written import INDIRECT, NAMES, SHOPS, THINGS

CFG = SimpleNamespace(tokenizer_prepends_bos=False, default_prepend_bos=False)


def words_of(texts):
    """Return a tokenizer of which every word of these texts is one token."""
    words = sorted({word for text in texts for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text)})
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<pad>", *words])}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<pad>", unk_token="<pad>")


@pytest.fixture(scope="module")
def tokenizer():
    return words_of([*INDIRECT, *NAMES, *SHOPS, *THINGS, ".", ","])


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_stands_where_it_is_said_to(name):
    made = suite(name)
    assert made.name == name
    assert made.factor


def test_pairs_of_a_suite_are_pairs_of_the_tokenizer(tokenizer):
    model = SimpleNamespace(tokenizer=tokenizer, cfg=CFG)
    pairs = draw("ioi", model, 12, seed=3)
    records = suite("ioi").records(Random(3), tokenizer)
    drawn = [next(records) for _ in range(12)]
    assert (len(pairs), pairs.factor, pairs.name) == (12, "subject", "ioi")
    assert list(pairs.clean.texts) == [record.cells["clean"] for record in drawn]
    assert list(pairs.corrupt.texts) == [record.cells["corrupt"] for record in drawn]
    said = tokenizer.convert_ids_to_tokens(pairs.clean.answer.tolist())
    assert said == [record.cells["answer"].strip() for record in drawn]
    assert draw("ioi", model, 12, seed=3).clean.texts == pairs.clean.texts
    assert draw("ioi", model, 12, seed=4).clean.texts != pairs.clean.texts
    assert draw("ioi", model, 12, seed=3, side="left").clean.side == "left"


def test_what_the_tokenizer_does_not_know_is_left_out_and_counted():
    poor = words_of([*INDIRECT, *NAMES[:12], *SHOPS, *THINGS, ".", ","])
    pairs = draw("ioi", SimpleNamespace(tokenizer=poor, cfg=CFG), 10)
    assert len(pairs) == 10
    assert all(name.strip() in NAMES[:12] for name in poor.convert_ids_to_tokens(pairs.clean.answer.tolist()))
    assert sum(count for _, count in pairs.dropped) > 0


def test_the_last_word_of_a_pair_is_named():
    record = pair("it", "She went home", "He stayed at the office", " now", places={"who": ("She", "He")}, cluster="c")
    assert record.cells == {
        "clean": "She went home",
        "corrupt": "He stayed at the office",
        "answer": " now",
        "cluster": "c",
    }
    clean, corrupt = record.places
    assert (clean["who"], corrupt["who"]) == ("She", "He")
    assert "She went home"[slice(*clean["end"])] == "home"
    assert "He stayed at the office"[slice(*corrupt["end"])] == "office"


def test_shipped_rows_are_read_once_and_shuffled_by_the_seed():
    rows = shipped("professions")
    assert shipped("professions") is rows
    assert {"profession", "definition", "stereotype"} == set(rows[0])
    mixed = shuffled(rows, Random(1))
    assert mixed != list(rows)
    assert sorted(map(str, mixed)) == sorted(map(str, rows))
    assert shuffled(rows, Random(1)) == mixed
