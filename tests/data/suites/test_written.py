"""Tasks that are written here: the answer is what the text says."""

from itertools import islice
from random import Random

import pytest
from byte_pairs import reader

from mechcausal.data.suites.written import SUITES, greater_than, indirect_objects, induction


def some(make, n=200, tokenizer=None):
    return list(islice(make(Random(3), tokenizer or reader().tokenizer), n))


def test_indirect_objects():
    for record in some(indirect_objects):
        receiver, subject = record.cells["answer"].strip(), record.cells["foil"].strip()
        assert record.cells["clean"].count(subject) == 2
        assert record.cells["clean"].count(receiver) == 1
        assert record.cells["corrupt"].count(receiver) == 2
        begin, end = record.places[0]["subject"]
        assert record.cells["clean"][begin:end] == subject
        begin, end = record.places[1]["subject"]
        assert record.cells["corrupt"][begin:end] == receiver
    assert {record.cells["group"] for record in some(indirect_objects)} == {"the first receives", "the second receives"}


class Whole:
    """A tokenizer with one token for two digits."""

    def __call__(self, text, **options):
        return {"input_ids": [text[:2], text[2:]]}


@pytest.mark.parametrize("whole", [True, False])
def test_greater_than(whole):
    for record in some(greater_than, tokenizer=Whole() if whole else None):
        year = record.cells["year"]
        answers, foils = ([int(text) for text in record.cells[what]] for what in ("answer", "foil"))
        own = year if whole else year // 10
        assert min(answers) > own
        assert max(foils) <= own if whole else max(foils) < own
        assert f"{year:02d} to the year" in record.cells["clean"]
        assert "01 to the year" in record.cells["corrupt"]
        begin, end = record.places[0]["year"]
        assert record.cells["clean"][begin:end] == f"{year:02d}"


def test_induction():
    for record in some(induction):
        words, other = record.cells["clean"].split(), record.cells["corrupt"].split()
        assert words[words.index(words[-1]) + 1] == record.cells["answer"].strip()
        assert other[other.index(other[-1]) + 1] == record.cells["foil"].strip()
        assert words[:-1] == other[:-1]
        begin, end = record.places[0]["follower"]
        assert record.cells["clean"][begin:end] == record.cells["answer"].strip()
    assert set(SUITES) == {"ioi", "greater_than", "induction"}
