import json

import numpy as np
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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', '{"version": 2, "things": [], "checksum": "x"}'])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "things.json").write_text(content)
    with pytest.raises(ResultError, match=r"is not a list of things|is empty"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("document", "words"), [({"version": 2}, "is not a list of things"), ({"version": 3}, "has another version")]
)
def test_a_document_of_another_kind_is_refused(tmp_path, document, words):
    with pytest.raises(ResultError, match=words):
        read(write_document(tmp_path, "things.json", document))


@pytest.mark.parametrize("within", [None, "times"])
def test_a_document_that_was_changed_is_refused(tmp_path, within):
    """Every single bit counts, and so does an edit by hand; texts that look like a checksum are texts."""
    things = [0.25, "mechcausal-sha256-" + "0" * 64, "\u00e9"]
    file = write_document(
        tmp_path, "things.json", {"version": 2, "things": things, "times": {"seconds": 1}}, within=within
    )
    content, draw = file.read_bytes(), np.random.default_rng(0)
    checksum = json.loads(content)["checksum"] if within is None else json.loads(content)["times"]["checksum"]
    assert len(checksum) == len("mechcausal-sha256-") + 64
    assert read(file) == things
    for _ in range(40):
        changed = bytearray(content)
        changed[draw.integers(len(content))] ^= 1 << draw.integers(8)
        file.write_bytes(changed)
        with pytest.raises(ResultError, match="damaged"):
            read(file)
    file.write_bytes(content.replace(b"0.25", b"0.75"))
    with pytest.raises(ResultError, match=r"was changed by hand: its content does not match its checksum") as caught:
        read(file)
    assert len(str(caught.value)) < 400


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ResultError, match="there is no list of things"):
        read(tmp_path / "none.json")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = write_document(tmp_path, "things.json", {"version": 2, "things": 1})
    with pytest.raises(TypeError):
        write_document(tmp_path, "things.json", {"version": 2, "things": object()})
    assert json.loads(file.read_text())["things"] == 1
