"""Suites that are written here: each answer follows from the text by the rule of its task."""

import re
from itertools import islice
from random import Random

import pytest

from mechcausal.data.suites.written import greater_than, indirect_objects, induction

N = 60


def drawn(maker, tokenizer=None, seed=0):
    return list(islice(maker(Random(seed), tokenizer), N))


def at(record, side, name):
    """Return what stands at a named place."""
    text, place = record.cells[("clean", "corrupt")[side]], record.places[side][name]
    return place if isinstance(place, str) else text[slice(*place)]


def test_whoever_is_named_once_receives():
    for record in drawn(indirect_objects):
        for side, answer in ((0, record.cells["answer"]), (1, record.cells["foil"])):
            text = record.cells[("clean", "corrupt")[side]]
            names = [at(record, side, "first"), at(record, side, "second")]
            once = [name for name in names if len(re.findall(rf"\b{name}\b", text)) == 1]
            assert [answer] == [f" {name}" for name in once]
            (subject,) = set(names) - set(once)
            assert at(record, side, "subject") == subject
            assert record.places[side]["subject"][0] == text.rindex(subject)
            assert at(record, side, "end") == "to"
    assert len({record.cells["template"] for record in drawn(indirect_objects)}) == 6
    assert {record.cells["group"] for record in drawn(indirect_objects)} == {
        "the first receives",
        "the second receives",
    }


@pytest.mark.parametrize("tokens", [2, 4])  # a year as two tokens, and digit by digit
def test_a_year_ends_after_it_began(tokens):
    tokenizer = lambda text, **_: {"input_ids": [0] * tokens}  # noqa: E731
    for record in drawn(greater_than, tokenizer):
        began, century = re.search(r"from the year (\d\d)(\d\d) to the year (\d\d)$", record.cells["clean"]).groups()[
            1:
        ]
        year = int(began)
        assert record.cells["year"] == year
        assert at(record, 0, "year") == began
        assert at(record, 1, "year") == "01"
        assert record.cells["corrupt"].endswith(f"{century}01 to the year {century}")
        later, earlier = ([int(text) for text in record.cells[what]] for what in ("answer", "foil"))
        if tokens == 2:
            assert later == list(range(year + 1, 100))
            assert later
            assert sorted(earlier + later) == list(range(2, 100))
        else:  # decades
            assert all(10 * decade > year for decade in later)
            assert all(10 * decade + 9 < year for decade in earlier)
            assert sorted([*earlier, year // 10, *later]) == list(range(10))
            assert later
            assert earlier


def test_a_word_that_came_before_is_followed_as_before():
    for record in drawn(induction):
        for side, said in ((0, record.cells["answer"]), (1, record.cells["foil"])):
            words = record.cells[("clean", "corrupt")[side]].split()
            assert words[words.index(words[-1]) + 1] == said.strip()
            assert words.count(words[-1]) >= 2
        clean = record.cells["clean"].split()
        assert at(record, 0, "before") == clean[-1]
        assert at(record, 0, "follower") == record.cells["answer"].strip()
        assert record.cells["answer"] != record.cells["foil"]


@pytest.mark.parametrize("maker", [indirect_objects, induction])
def test_the_seed_decides(maker):
    assert drawn(maker, seed=1) == drawn(maker, seed=1)
    assert drawn(maker, seed=1) != drawn(maker, seed=2)


def test_years_are_drawn_by_the_seed():
    tokenizer = lambda text, **_: {"input_ids": [0, 0]}  # noqa: E731
    assert drawn(greater_than, tokenizer, 1) == drawn(greater_than, tokenizer, 1) != drawn(greater_than, tokenizer, 2)
