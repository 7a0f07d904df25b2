"""Texts with slots: balanced, and what is left out is counted."""

from collections import Counter

import pytest
from byte_pairs import reader

import mechcausal as mc
from mechcausal.data.slots import Form, written
from mechcausal.errors import DataError

STORY = "When {A} and {B} went to {PLACE} , {S} gave a drink to"
NAMES = ["Mary", "John", "Tom", "Anna"]


def build(template=STORY, fillers=None, **options):
    told = {"clean": {"S": "{B}"}, "corrupt": {"S": "{A}"}, "answer": " {A}", "foil": " {B}", **options}
    return mc.Contrast.from_template(
        reader(), template, fillers or {"A": NAMES, "B": NAMES, "PLACE": ["the store", "the park"]}, **told
    )


def test_every_filler_comes_as_often():
    pairs = build(n=12)
    assert len(pairs) == 12
    assert set(Counter(pairs.clean.given["answer"]).values()) == {3}
    assert set(Counter(pairs.clean.given["foil"]).values()) == {3}
    assert pairs.clean.texts[0].count(pairs.clean.given["foil"][0]) == 2
    assert pairs.dropped == (("one filler in two slots", 8),)
    assert sorted(pairs.clean.positions) == ["A", "B", "PLACE", "S"]
    again = build(n=12)
    assert again.hash == pairs.hash != build(n=12, seed=1).hash
    assert len(build()) == 24


def test_fillers_that_do_not_fit_are_counted_and_replaced(caplog):
    names = [*NAMES, "Bartholomew"]
    pairs = build(fillers={"A": names, "B": names, "PLACE": ["the store"]}, n=12, lengths="equal")
    assert len(pairs) == 12
    assert set(Counter(pairs.clean.given["answer"]).values()) == {3}
    assert dict(pairs.dropped)["prompts of different length"] > 0
    assert "are left out" in caplog.text
    longer = build(fillers={"A": names, "B": names, "PLACE": ["the store"]})
    assert len(longer) == 20
    assert not longer.even


def test_templates_are_clusters_and_columns_have_slots():
    pairs = build(
        [STORY, "Then {A} and {B} were at {PLACE} , and {S} gave a ring to"], n=10, group="{PLACE}", label="{A}"
    )
    assert set(pairs.clean.clusters) == {"template 0", "template 1"}
    assert set(pairs.clean.groups) == {"the store", "the park"}
    assert set(pairs.clean.labels) <= set(NAMES)
    assert build(n=4, cluster="{A}").clean.n_clusters == 4
    assert build(n=4).clean.clusters == ()
    assert build(n=4).factor == "S"


def test_a_table_of_fillers(tmp_path):
    path = tmp_path / "fillers.csv"
    path.write_text("A,B,PLACE\nMary,John,the store\nAnna,Tom,the park\n")
    pairs = build(fillers=path)
    assert len(pairs) == 2
    assert {text.split()[1] for text in pairs.clean.texts} == {"Mary", "Anna"}
    with pytest.raises(DataError, match="row 1: there is no text for the slot 'B'"):
        build(fillers=[{"A": "Mary", "B": "John", "PLACE": "x"}, {"A": "Tom", "PLACE": "y"}])


def test_sets_of_answers():
    pairs = build(answer=[" {A}", " her"], foil=" {B}", n=4)
    assert pairs.clean.answers.shape[1] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": "When {A} and {C}, {S}"}, r"nothing fills the slot \{C\}.*use one of"),
        ({"template": "When {A} met {B} at {PLACE}"}, r"has no slot \{S\}"),
        ({"corrupt": {"T": "x"}}, "fill different slots .got S, T"),
        ({"corrupt": {"S": "{B}"}}, "say the same in every slot"),
        ({"fillers": {"A": "Mary"}}, "the fillers of 'A' are no list of words"),
        ({"fillers": {"A": ["Mary", "Mary"]}}, "name a word twice"),
        (
            {"fillers": {"A": ["Mary"], "B": ["Mary"], "PLACE": ["x"]}},
            "every combination of fillers has one word in two",
        ),
        ({"fillers": {"A": ["Mary"], "B": ["Tom"], "PLACE": ["x"], "S": ["y"]}}, r"the slot \{S\} is filled twice"),
        ({"answer": " {WHO}"}, r"nothing fills the slot \{WHO\}"),
    ],
)
def test_mistakes(options, said):
    with pytest.raises(DataError, match=said):
        build(**options)


def test_places_of_slots():
    text, places = written("{A} and {B}, {S}", {"A": "Mary", "B": "Tom", "S": "{B}"})
    assert (text, places) == ("Mary and Tom, Tom", {"A": [0, 4], "B": [9, 12], "S": [14, 17]})
    assert Form.of("x {S}", {"S": "a"}, {"S": "b"}, None, None, "f", {}).factor == "f"
