"""Where named positions stand in counterparts, and when prompts are matched by them."""

import pytest
import torch
from byte_pairs import reader

import mechcausal as mc
from mechcausal.data.matching import aligned, counterparts
from mechcausal.errors import DataError

LONG, SHORT = "The flight attendant said that", "The man said that"


def build(clean=LONG, corrupt=SHORT, **options):
    told = {"positions": {"who": "flight attendant"}, "corrupt_positions": {"who": "man"}, **options}
    return mc.Contrast.from_text(reader(), [clean], [corrupt], answer=" she", foil=" he", **told)


def test_by_name_or_where_the_same_words_stand():
    pairs = build(positions={"who": "flight attendant", "verb": "said"})
    assert pairs.corrupt.select("@verb").nonzero().tolist() == [[0, 3]]
    assert pairs.clean.select("@verb").nonzero().tolist() == [[0, 4]]
    assert build(spans="mean").clean.select("@who").sum() == 2
    assert build(spans="last").clean.select("@who").sum() == 1
    assert build(spans="each").clean.n_positions.tolist() == [5]
    assert counterparts(pairs.clean, [SHORT], {"who": "man"})["verb"] == ["said"]


def test_prompts_of_one_length_stay_token_by_token():
    even = build("The nurse said that", positions={"who": "nurse"})
    assert even.even
    assert torch.equal(even.clean.positions["who"], even.corrupt.positions["who"])
    assert not build("The nurse said that", positions={"who": "nurse"}, spans="mean").even
    first, second = aligned(reader(), even.clean, even.corrupt, "last", True)
    assert not first.aligned
    assert not second.aligned


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"corrupt_positions": {"whom": "man"}}, "no position called 'whom': did you mean 'who'"),
        (
            {"corrupt_positions": None},
            r"'who' \('flight attendant'\) stands in its counterpart 0 times.*corrupt_positions=",
        ),
        ({"corrupt_positions": {"who": "woman"}}, "does not occur"),
        (
            {"positions": None, "corrupt_positions": None},
            r"pair 0 tokenizes to different lengths.*positions= and corrupt_positions=",
        ),
        ({"positions": {"who": "said"}, "corrupt_positions": {"who": "said"}}, "pair 0: outside the named spans"),
        ({"positions": {"who": 1}, "corrupt_positions": None}, "stands in its counterpart 0 times"),
    ],
)
def test_mistakes(options, said):
    with pytest.raises(DataError, match=said):
        build(**options)


def test_sides_without_the_same_positions_are_refused():
    from dataclasses import replace

    pairs = build()
    with pytest.raises(DataError, match="do not have the same positions"):
        replace(pairs, corrupt=replace(pairs.corrupt, aligned=((0, 1, 2, 3, 3),)))
