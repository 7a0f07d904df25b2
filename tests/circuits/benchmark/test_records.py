"""Files of a benchmark: written whole, gone on with under the same settings, refused under others."""

import json

import pytest

from mechcausal.circuits.benchmark.records import Records, interval, short
from mechcausal.errors import ArgumentError, ResultError


class Rows(Records):
    kind = "benchmark of a test"

    def page(self):
        return f"<p>{len(self.rows)}</p>"


def test_a_file_is_gone_on_with(tmp_path):
    path = tmp_path / "rows.json"
    assert Rows.begun(path, {"n": 3}) == []
    Rows.made([{"a": 1}], {"n": 3}).save(path)
    assert path.with_suffix(".html").read_text() == "<p>1</p>"
    assert Rows.begun(path, {"n": 3}) == [{"a": 1}]
    assert Rows.load(path).provenance["packages"]["python"]
    with pytest.raises(ArgumentError, match=r"other settings \(got n 3; expected n 4\): choose another file"):
        Rows.begun(path, {"n": 4})
    assert Rows.begun(None, {}) == []


def test_what_is_no_benchmark_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"expected a name that ends in \.json"):
        Rows.begun(tmp_path / "rows.csv", {})
    with pytest.raises(ResultError, match="this is no benchmark of a test"):
        Rows.from_json({"format": 1, "kind": "circuit"})
    path = Rows.made([{"a": 1}], {}).save(tmp_path / "rows.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": []}, indent=1))
    with pytest.raises(ResultError, match="damaged"):
        Rows.load(path)


def test_numbers_as_tables_show_them():
    assert interval(0.5, 0.4, 0.6) == "0.500 [0.400, 0.600]"
    assert interval(0.5, None, None) == interval(0.5, float("nan"), 1.0) == "0.500"
    assert interval(None, 0.1, 0.2) == short(None) == short(float("nan")) == ""
