"""Files as text and JSON, and what is none."""

import math

import pytest

from mechcausal.circuits.formats.files import json_of, list_of, mapping_of, number_of, text_of, write_text
from mechcausal.errors import ResultError


def test_text_goes_there_and_back(tmp_path):
    assert text_of(write_text(tmp_path / "folder" / "a.txt", "Zürich\n")) == "Zürich\n"
    with pytest.raises(ResultError, match="nothing can be written"):
        write_text(tmp_path / "folder", "a")


def test_json_that_is_none():
    with pytest.raises(ResultError, match=r"a\.json is not readable as JSON"):
        json_of("{", "a.json")
    with pytest.raises(ResultError, match="nested too deeply"):
        json_of("[" * 100_000, "a.json")
    with pytest.raises(ResultError, match=r"a\.json is not a JSON object \(got \[1\]"):
        json_of("[1]", "a.json")


def test_kinds_of_data():
    assert number_of(3, "a") == 3.0
    assert math.isnan(number_of(None, "a"))
    for wrong in (True, "3", [], 10**400, math.inf):
        with pytest.raises(ResultError, match="a is not a"):
            number_of(wrong, "a")
    with pytest.raises(ResultError, match="a is not a JSON list"):
        list_of({}, "a")
    assert mapping_of({"a": 1}, "a") == {"a": 1}
