"""Positions of two prompts that correspond, worked out by hand."""

import pytest

from mechcausal.data.spans import align_pair, matches_token_by_token, spans_of
from mechcausal.errors import DataError

# The | flight attendant | said that  against  The | man | said that
CLEAN, CORRUPT, LENGTHS = {"who": (1, 3)}, {"who": (1, 2)}, (5, 4)


@pytest.mark.parametrize(
    ("mode", "clean", "corrupt"),
    [
        ("last", (0, -1, 1, 2, 3), (0, 1, 2, 3)),
        ("mean", (0, 1, 1, 2, 3), (0, 1, 2, 3)),
        ("each", (0, -1, 1, 2, 3), (0, 1, 2, 3)),
    ],
)
def test_one_span(mode, clean, corrupt):
    assert align_pair(CLEAN, CORRUPT, LENGTHS, mode) == (clean, corrupt)


def test_each_token_from_the_end():
    found = align_pair({"a": (0, 3)}, {"a": (0, 2)}, (4, 3), "each")
    assert found == ((-1, 0, 1, 2), (0, 1, 2))


def test_several_spans_and_two_names_for_one():
    clean, corrupt = (
        {"a": (0, 1), "b": (2, 4), "end": (5, 6), "b2": (2, 4)},
        {"a": (0, 2), "b": (3, 4), "end": (5, 6), "b2": (3, 4)},
    )
    assert align_pair(clean, corrupt, (6, 6), "mean") == ((0, 1, 2, 2, 3, 4), (0, 0, 1, 2, 3, 4))


@pytest.mark.parametrize(
    ("clean", "corrupt", "lengths", "said"),
    [
        ({"a": (1, 2)}, {"a": (2, 3)}, (3, 4), "differ in length, before 'a' .got 1 and 2 tokens"),
        ({"a": (1, 2)}, {"a": (1, 2)}, (3, 4), "differ in length, after 'a'"),
        ({"a": (1, 2), "b": (3, 4)}, {"a": (1, 2), "b": (4, 5)}, (5, 6), "after 'a' and before 'b'"),
        ({"a": (1, 3), "b": (2, 4)}, {"a": (1, 3), "b": (2, 4)}, (5, 5), "the spans 'a' and 'b' overlap"),
        ({"a": (1, 2), "b": (3, 4)}, {"a": (3, 4), "b": (1, 2)}, (5, 5), "come in another order"),
    ],
)
def test_what_does_not_correspond(clean, corrupt, lengths, said):
    with pytest.raises(DataError, match=said):
        align_pair(clean, corrupt, lengths, "last")


def test_token_by_token():
    assert matches_token_by_token((0, 1, 2), (0, 1, 2))
    assert matches_token_by_token((0, -1, 1), (0, -1, 1))
    assert not matches_token_by_token((0, 1, 1), (0, 1, 1))
    assert not matches_token_by_token((0, -1, 1), (0, 1))
    assert spans_of(["ab cd"], [[(0, 2), (2, 3), (3, 5)]], {"x": ["cd"]})["x"].tolist() == [[1, 3]]  # its space too
