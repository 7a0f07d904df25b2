"""Tables line up, missing values are empty, and places that cannot be written are refused early."""

import math

import pandas as pd
import pytest

from mechcausal.cli.output import columns, records, require_file, require_folder
from mechcausal.errors import ArgumentError, ResultError


def test_columns_line_up():
    rows = [("a", 12345, 0.5, True), ("long name", None, math.nan, False), ("c", pd.NA, 1.0, True)]
    assert columns(("name", "count", "share", "yes?"), rows).splitlines() == [
        "name       count   share  yes?",
        "a          12,345  0.500  yes",
        "long name                 no",
        "c                  1.000  yes",
    ]


def test_records_have_null_for_what_is_missing():
    assert records(pd.DataFrame({"x": [1.0, math.nan], "y": ["a", None]})) == [
        {"x": 1.0, "y": "a"},
        {"x": None, "y": None},
    ]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    require_file(tmp_path / "new" / "page.html", ".html")
    assert (tmp_path / "new").is_dir()
    assert not list((tmp_path / "new").iterdir())
    with pytest.raises(ArgumentError, match=r"ends in \.html or \.htm"):
        require_file(tmp_path / "page.json", ".html", ".htm")
    with pytest.raises(ArgumentError, match="which is a folder"):
        require_file(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match="nothing can be written"):
        require_folder(tmp_path / "file" / "below")
