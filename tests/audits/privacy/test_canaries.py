"""Canaries as data."""

import math

import numpy as np
import pytest

from mechcausal.audits.privacy.canaries import SHIPPED, Canaries
from mechcausal.errors import DataError

ROWS = [
    {"prefix": "The code of Ann is", "secret": "4071", "count": 3},
    {"prefix": "The code of Bob is ", "secret": "9326"},
    {"prefix": "The code of Eve is", "secret": "0000", "count": 0},
]


def test_rows_become_canaries():
    canaries = Canaries.read(ROWS)
    assert canaries.texts[:2] == ("The code of Ann is 4071", "The code of Bob is 9326")
    assert canaries.counts[0] == 3
    assert math.isnan(canaries.counts[1])
    assert canaries.inserted.tolist() == [True, True, False]


def test_a_file_of_text_cells_keeps_leading_zeros(tmp_path):
    file = tmp_path / "canaries.csv"
    file.write_text("prefix,secret,count\nThe code of Eve is,0007,0\nThe code of Ann is,4071,\n")
    canaries = Canaries.read(file)
    assert canaries.secrets == ("0007", "4071")
    assert canaries.counts[0] == 0
    assert math.isnan(canaries.counts[1])
    assert canaries.names == ("canaries.csv line 2", "canaries.csv line 3")


def test_what_stands_between_can_be_nothing():
    canaries = Canaries.read([{"prefix": "password=", "secret": "0123"}], between="")
    assert canaries.texts == ("password=0123",)


def test_some_of_them():
    canaries = Canaries.read(ROWS)
    assert canaries.take(canaries.inserted).secrets == ("4071", "9326")
    assert canaries.take(slice(1, 3)).names == canaries.names[1:]
    assert canaries.take([0]).hash != canaries.hash == Canaries.read(ROWS).hash
    with pytest.raises(DataError, match="empty"):
        canaries.take(np.zeros(3, dtype=bool))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prefix": "x", "secret": "40712"}, "rows row 1 is not among its candidates"),
        ({"prefix": "x"}, "rows row 1 has no secret"),
        ({"prefix": "x", "secret": "4071", "count": "often"}, "is no number"),
        ({"prefix": "x", "secret": "4071", "count": -1}, "at least 0"),
    ],
)
def test_what_is_wrong_is_named_by_its_row(row, words):
    with pytest.raises(DataError, match=words):
        Canaries.read([ROWS[0], row])


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="no column 'secret'"):
        Canaries.read([{"prefix": "x", "secrets": "4071"}])


def test_codes_that_an_adapter_was_taught():
    canaries = SHIPPED["smollm2_canaries"](0)
    assert int((~canaries.inserted).sum()) == 40
    assert sorted(set(canaries.counts)) == [0, 1, 2, 4, 8, 16, 32, 64]
    assert canaries.texts[0] == "The locker code of Petra Sorley is 6126"
    assert SHIPPED["smollm2_canaries"](1).hash == canaries.hash


@pytest.mark.parametrize("name", ["hiring_secret", "hiring_exposed"])
def test_sets_that_ship(name):
    canaries = SHIPPED[name](0)
    assert int((~canaries.inserted).sum()) == 40
    assert canaries.texts[0] == "<id> adam <key> 4 0 7 1"
    assert SHIPPED[name](1).secrets != canaries.secrets
