"""What is kept on disk: where, under which key, whole or not at all, and never in the way."""

import os
from pathlib import Path

import pytest

from mechcausal.models.cache import cache_folder, keep, making_folder, recall, versions

KEY = {"weights": "abc", "versions": {"torch": "1"}}


@pytest.fixture(autouse=True)
def room(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path / "cache"))


def test_where_it_is(monkeypatch, tmp_path):
    assert cache_folder("models") == tmp_path / "cache" / "models"
    monkeypatch.delenv("MECHCAUSAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("models") == tmp_path / "mechcausal" / "models"
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder("models") == Path.home() / ".cache" / "mechcausal" / "models"


def test_what_is_kept_comes_back():
    assert recall("things", KEY) is None
    keep("things", KEY, {"a": [1, 2], "b": None})
    assert recall("things", KEY) == {"a": [1, 2], "b": None}
    keep("things", KEY, 7)
    assert recall("things", KEY) == 7


@pytest.mark.parametrize("other", [{**KEY, "weights": "abd"}, {**KEY, "versions": {"torch": "2"}}, {}])
def test_another_key_is_another_thing(other):
    keep("things", KEY, 7)
    assert recall("things", other) is None
    assert recall("others", KEY) is None


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text.replace("7", "8"), lambda text: ""])
def test_a_damaged_file_is_not_used(damage):
    keep("things", KEY, 7)
    (path,) = cache_folder("things").glob("*.json")
    path.write_text(damage(path.read_text()))
    assert recall("things", KEY) is None


def test_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path / "file"))
    keep("things", KEY, 7)
    assert recall("things", KEY) is None


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"

    def fail():
        with making_folder(path) as fresh:
            (fresh / "part").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    for content in ("old", "new"):
        with making_folder(path) as fresh:
            (fresh / "file").write_text(content)
    assert (path / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left, recent = tmp_path / ".folder-abc", tmp_path / ".folder-def"
    for path in (left, recent):
        path.mkdir()
    os.utime(left, (0, 0))
    with making_folder(tmp_path / "folder"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".folder-def", "folder"]


def test_the_versions():
    found = versions("torch", "no-such-package")
    assert set(found) == {"mechcausal", "torch", "no-such-package"}
    assert found["no-such-package"] == "not installed"
    assert len(found["mechcausal"].split()) == 2  # the version, and a digest of the code
