import json

import pytest

from mechcausal.audits.filed import read_document, write_document
from mechcausal.errors import ResultError

WORDS = {"version": 2, "what": "a list of things", "fix": "make one"}


def read(path):
    return read_document(path, "things.json", lambda data: data["things"], **WORDS)


def test_a_document_comes_back_from_its_file_and_from_its_folder(tmp_path):
    file = write_document(tmp_path / "new", "things.json", {"version": 2, "things": [1, "\u00e9"]})
    assert file == tmp_path / "new" / "things.json"
    assert read(file) == read(tmp_path / "new") == [1, "\u00e9"]
    assert write_document(tmp_path / "a.json", "things.json", {"version": 2, "things": 3}) == tmp_path / "a.json"


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is not a list of things"), ("[]", "is not a list of things"), ('{"version": 2}', "is not a list of things"),
     ('{"version": 3}', "has another version")],
)  # fmt: skip
def test_another_file_is_refused(tmp_path, content, words):
    (tmp_path / "things.json").write_text(content)
    with pytest.raises(ResultError, match=words):
        read(tmp_path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ResultError, match="there is no list of things"):
        read(tmp_path / "none.json")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = write_document(tmp_path, "things.json", {"version": 2, "things": 1})
    with pytest.raises(TypeError):
        write_document(tmp_path, "things.json", {"version": 2, "things": object()})
    assert json.loads(file.read_text())["things"] == 1
