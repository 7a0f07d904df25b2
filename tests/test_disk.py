"""Files and folders appear whole, what killed writes leave is removed, and a disk that fails is one sentence."""

import os
import subprocess
import sys
import tempfile
import time

import pytest
from limited import small_files

from mechcausal.disk import (
    is_of_the_disk,
    reason_of,
    remove_leftovers,
    replacing,
    require_room,
    temporary_beside,
    write_file,
    write_folder,
    write_text,
)
from mechcausal.errors import ResultError


def test_the_file_appears_whole(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert [item.name for item in path.parent.iterdir()] == ["b.txt"]


def test_who_has_the_old_file_open_keeps_the_old_file(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with path.open() as reader:
        with replacing(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_breaks_off_leaves_the_old_file_and_no_rest(tmp_path, error):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def break_off():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        break_off()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["b.txt"]


def test_the_next_write_removes_what_a_killed_one_left(tmp_path):
    path = tmp_path / "b.txt"
    # Only this one module is loaded, so that the process starts quickly.
    code = (
        "import sys, os, signal, pathlib\n"
        "from mechcausal.disk import replacing\n"
        f"with replacing(pathlib.Path({str(path)!r})) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert [item.suffix for item in tmp_path.iterdir()] == [".mechcausal-part"]
    with replacing(path) as mine:
        with replacing(tmp_path / "c.txt") as other:  # of a living process: stays
            other.write_text("c")
            assert mine.exists()
        mine.write_text("b")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["b.txt", "c.txt"]


def test_what_another_machine_left_is_removed_after_a_day(tmp_path):
    fresh, old = (tmp_path / f".x.elsewhere-1-{name}.mechcausal-part" for name in ("fresh", "old"))
    fresh.write_text(""), old.write_text("")
    os.utime(old, (time.time() - 2e5,) * 2)
    strange = tmp_path / ".strange.mechcausal-part"
    strange.write_text("")
    remove_leftovers(tmp_path)
    assert {item.name for item in tmp_path.iterdir()} == {fresh.name, strange.name}


def test_a_temporary_file_is_removed_unless_it_was_moved(tmp_path):
    with temporary_beside(tmp_path / "a") as temporary:
        temporary.write_text("a")
        os.link(temporary, tmp_path / "a")
    with temporary_beside(tmp_path / "b") as temporary:
        temporary.replace(tmp_path / "b")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_that_cannot_be_written_is_found_before(tmp_path):
    assert require_room(tmp_path / "new" / "a.parquet") == tmp_path / "new" / "a.parquet"
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match=r"nothing can be written to .*got (File exists|Not a directory)"):
        require_room(tmp_path / "file" / "a.parquet")
    with pytest.raises(ResultError, match="a folder of this name"):
        require_room(tmp_path / "new")
    with pytest.raises(ResultError, match="nearly full"):
        require_room(tmp_path / "a", size=2**62)
    assert [item.name for item in (tmp_path / "new").iterdir()] == []
    with small_files(8192):
        require_room(tmp_path / "a", size=8000)
        require_room(tmp_path / "folder", size=24_000, folder=True, files=3)
        with pytest.raises(ResultError, match=r"got File too large.*make room"):
            require_room(tmp_path / "a", size=9000)


@pytest.mark.parametrize("place", ["/proc/nothing/x", "/proc/x", "file/x", "file/folder/x"])
def test_a_place_where_nothing_can_be_written_is_one_sentence(tmp_path, place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    path = tmp_path / place
    with pytest.raises(ResultError, match="nothing can be written"):
        require_room(path)

    def replace():
        with replacing(path) as temporary:
            temporary.write_text("a")

    for write in (
        replace,
        lambda: write_text(path, "a"),
        lambda: write_folder(path, lambda room: (room / "a").write_text("a"), ["a"]),
    ):
        with pytest.raises(ResultError, match="could not be written") as caught:
            write()
        assert len(str(caught.value)) < 400
    assert sorted(item.name for item in tmp_path.rglob("x")) == ["x", "x"]  # put where nothing is lost


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def replace():
        with replacing(path) as temporary:
            temporary.write_text("new" * 5000)

    with small_files(4096):
        with pytest.raises(ResultError, match=r"got File too large.*what was there before stays; make room"):
            replace()
        with pytest.raises(ResultError, match="still in memory"):
            write_text(path, "new" * 5000)
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_no_failure_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_file(tmp_path / "a", lambda path: 1 // 0)
    assert not is_of_the_disk(RuntimeError("shapes"))
    assert is_of_the_disk(RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 1\nframe #0"))
    assert reason_of(OSError()) == "OSError"


# Folders


def two(room, text):
    for name in ("facts", "data"):
        (room / name).write_text(text)


def test_a_folder_appears_in_one_step(tmp_path, monkeypatch):
    moved = []
    replace = type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, to: moved.append(to.name) or replace(self, to))
    for path in (tmp_path / "new", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert write_folder(path, lambda room: two(room, "first"), ["facts", "data"]) == path
    assert moved == ["new", "empty"]
    (path / "mine").write_text("mine")
    write_folder(path, lambda room: two(room, "second"), ["facts", "data"])
    assert moved[2:] == ["facts", "data"]
    assert {item.name: item.read_text() for item in path.iterdir()} == {
        "facts": "second",
        "data": "second",
        "mine": "mine",
    }
    assert path.stat().st_mode & 0o777 == 0o755
    assert (path / "data").stat().st_mode & 0o777 == 0o644
    with small_files(2), pytest.raises(ResultError, match="still in memory"):
        write_folder(path, lambda room: two(room, "third"), ["facts", "data"])
    assert (path / "data").read_text() == "second"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["empty", "new"]


def test_the_next_write_removes_the_folder_that_a_killed_one_left(tmp_path):
    code = (
        "import os, signal, pathlib\n"
        "from mechcausal.disk import write_folder\n"
        f"write_folder(pathlib.Path({str(tmp_path / 'made')!r}), lambda room: ((room / 'a').write_text('half'), "
        "os.kill(os.getpid(), signal.SIGKILL)), ['a'])"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "a").read_text() == "half"
    write_text(tmp_path / "other", "x")
    assert [item.name for item in tmp_path.iterdir()] == ["other"]
