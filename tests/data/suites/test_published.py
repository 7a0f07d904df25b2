"""Benchmarks as pairs: what differs, what is asked, and how many there are."""

from functools import partial
from random import Random

import pytest
from byte_pairs import reader

import mechcausal as mc
from mechcausal.data.suites.published import (
    SUITES,
    agreement,
    bbq,
    crows_pairs,
    professions,
    winobias_continued,
    winobias_swapped,
    winogender,
)

TOKENIZER = reader().tokenizer


def records(make):
    return list(make(Random(1), TOKENIZER))


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (partial(agreement, "simple"), 600), (partial(agreement, "nounpp"), 503), (professions, None), (winogender, None),
        (winobias_continued, None), (winobias_swapped, None), (crows_pairs, 1508), (partial(bbq, "age"), None),
        (partial(bbq, "religion"), None),
    ],
)  # fmt: skip
def test_all_of_them(make, count):
    found = records(make)
    assert len(found) > 40
    assert count is None or abs(len(found) - count) <= 100
    for record in found:
        assert record.cells["clean"] != record.cells["corrupt"]
        assert record.cells["cluster"]
        for side, text in zip(record.places, ("clean", "corrupt"), strict=True):
            for place in side.values():
                assert place in record.cells[text] if isinstance(place, str) else 0 <= place[0] < place[1]


def test_agreement_has_nouns_as_clusters():
    for record in records(partial(agreement, "simple")):
        nouns = record.places[0]["subject"], record.places[1]["subject"]
        assert record.cells["cluster"] == min(nouns, key=len)
        assert (record.cells["answer"], record.cells["foil"]) != (record.cells["foil"], record.cells["answer"])


def test_the_pronoun_of_the_stereotype():
    for record in records(professions):
        female = record.cells["stereotype"] < 0
        assert record.cells["answer"] == (" she" if female else " he")
        assert record.places[1]["who"] == ("man" if female else "woman")
    nurse = next(record for record in records(professions) if record.cells["cluster"] == "nurse")
    assert nurse.cells["group"] == "female"


def test_winogender_goes_on_in_two_ways():
    for record in records(winogender):
        assert record.cells["answer"] != record.cells["foil"]
        assert record.cells["clean"].split()[-1] in ("he", "she", "his", "her", "him")
        assert record.cells["clean"].rsplit(" ", 1)[0] == record.cells["corrupt"].rsplit(" ", 1)[0]


def test_winobias():
    for record in records(winobias_continued):
        assert record.cells["clean"].rsplit(" ", 1)[0] == record.cells["corrupt"].rsplit(" ", 1)[0]
    for record in records(winobias_swapped):
        assert record.cells["answer"] in (" she", " her")
        assert record.cells["foil"] in (" he", " him", " his")
        first, second = (record.places[side]["first"] for side in (0, 1))
        assert first != second
        assert {first, second} == {*record.cells["cluster"].split(" and ")}


def test_crows_pairs_differ_within_their_span():
    for record in records(crows_pairs):
        sides = [(record.cells[text], record.places[i]["group"]) for i, text in enumerate(("clean", "corrupt"))]
        assert sides[0][0][: sides[0][1][0]] == sides[1][0][: sides[1][1][0]]
        assert sides[0][0][sides[0][1][1] :] == sides[1][0][sides[1][1][1] :]
    pairs = mc.contrast("crows_pairs", reader(), n=60)
    assert len(pairs) == 60
    assert pairs.clean.answer is None


def test_bbq_asks_for_the_contrary():
    found = records(partial(bbq, "religion"))
    assert {record.cells["environment"] for record in found} == {"ambig", "disambig"}
    assert all(record.cells["clean"].endswith("? Answer:") for record in found)
    assert set(SUITES) >= {"bbq/age", "bbq/religion"}
