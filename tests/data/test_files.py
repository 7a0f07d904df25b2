"""Tables from anywhere: every form gives the same rows, and every mistake names the row."""

import tempfile

import pandas as pd
import pytest
from limited import small_files

from mechcausal.data.files import read_rows, write_rows
from mechcausal.errors import DataError, ResultError

ROWS = [{"clean": 'he said, "hm"', "corrupt": "she; said", "n": 1}, {"clean": "é", "corrupt": " b", "n": 2}]
FLAT = [{**row, "n": str(row["n"])} for row in ROWS]


class DataSet:
    """What a `datasets.Dataset` looks like from outside."""

    column_names = ("clean", "corrupt", "n")

    def __iter__(self):
        return iter(ROWS)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = write_rows(tmp_path / "new" / f"rows.{suffix}", ROWS)
    found = read_rows(path)
    assert found.values == (FLAT if suffix in ("csv", "tsv") else ROWS)
    assert found.columns == ["clean", "corrupt", "n"]


def test_frames_data_sets_and_lists():
    for source in (pd.DataFrame(ROWS), DataSet(), ROWS):
        assert read_rows(source).values == ROWS
    frame = pd.DataFrame([{"a": "x", "b": None}, {"a": float("nan"), "b": [1, 2]}])
    assert read_rows(frame).values == [{"a": "x"}, {"b": [1, 2]}]
    assert read_rows(ROWS).where == ["rows row 0", "rows row 1"]


def test_a_mark_at_the_beginning_and_semicolons(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes('\ufeffclean;corrupt;n\n"he; x";she, y;1\n\n'.encode())
    found = read_rows(path, needed=("clean", "corrupt"))
    assert found.values == [{"clean": "he; x", "corrupt": "she, y", "n": "1"}]
    assert found.where == ["rows.csv line 2"]
    path.write_text("text\nhe said\n")
    assert read_rows(path, needed=("text",)).values == [{"text": "he said"}]
    (tmp_path / "lines.txt").write_text("one\n\ntwo\n")
    assert read_rows(tmp_path / "lines.txt").where == ["lines.txt line 1", "lines.txt line 3"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"clean": "x"}\n{"clean" "y"}\n', "a.jsonl line 2 is not JSON .got Expecting ':' delimiter in column 10"),
        ("a.jsonl", '{"clean": "x"}\n["y"]\n', "a.jsonl line 2 is no object"),
        ("a.json", '{"clean": "x"}', "a.json is no list of objects"),
        ("a.json", '[{"clean": "x"},\n{]', "a.json line 2 is not JSON"),
        ("a.csv", "clean,corrupt\nx,y,z\n", 'a.csv line 2 has 3 cells .got x,y,z; expected 2, .*in "quotes"'),
        ("a.csv", "a;b,c\n1;2,3\n", "may be divided by ',' or ';'"),
        ("a.csv", "a,b,a\n1,2,3\n", "two columns called 'a'"),
        ("a.csv", 'a,b\n"x,y\n', "is not CSV"),
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "a,b\n", "a.csv has no rows"),
        ("a.jsonl", " \n\n", "a.jsonl is empty"),
        ("a.xlsx", "x", r"a.xlsx is no table that can be read .*\.csv"),
        ("a.parquet", "x", "a.parquet is not a Parquet file"),
        ("a.csv", b"a,b\nx,\xe9\n", "line 2 is not UTF-8 .got byte 0xe9.*save it as UTF-8"),
        ("a.csv", "a,b".encode("utf-16"), "written in UTF-16"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said):
        read_rows(path, needed=("clean", "corrupt"))


def test_other_mistakes(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_rows(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"several splits of a data set .got train, test.*give one"):
        read_rows({"train": DataSet(), "test": DataSet()})
    for wrong in (3, [1, 2], b"x", {"a": 1}):
        with pytest.raises(DataError, match="rows cannot be read from this"):
            read_rows(wrong)
    with pytest.raises(DataError, match="no table that can be written"):
        write_rows(tmp_path / "a.xlsx", ROWS)


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json", "csv", "tsv", "parquet"])
def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, suffix, monkeypatch):
    path = write_rows(tmp_path / f"rows.{suffix}", ROWS)
    before = path.read_bytes()
    with small_files(64), pytest.raises(ResultError, match=r"could not be written.*still in memory"):
        write_rows(path, [{**row, "n": row["n"] + 1} for row in ROWS * 20])
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ResultError, match="nothing is lost"):
        write_rows(tmp_path / path.name / f"rows.{suffix}", ROWS)
