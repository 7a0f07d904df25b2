"""The first writer wins, on every file system."""

import errno
import os
import threading

import pytest

from mechcausal.runs import placing
from mechcausal.runs.placing import keep_names, place


def refuse(number):
    def link(*_):
        raise OSError(number, os.strerror(number))

    return link


class NoRename:
    """A C library on a file system that knows no `RENAME_NOREPLACE`."""

    def __init__(self, *_, **__):
        pass

    def renameat2(self, *_):
        placing.ctypes.set_errno(errno.EINVAL)
        return -1


class Old:
    """A C library without the call."""

    def __init__(self, *_, **__):
        pass


WAYS = {"link": None, "renameat2": "the C library here", "rename": NoRename, "old": Old}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    if request.param != "link":
        monkeypatch.setattr(placing.os, "link", refuse(errno.EPERM))
    if isinstance(WAYS[request.param], type):
        monkeypatch.setattr(placing.ctypes, "CDLL", WAYS[request.param])
    return request.param


def test_the_first_file_stays(tmp_path, way):
    first, second, path = tmp_path / "1", tmp_path / "2", tmp_path / "name"
    first.write_text("first"), second.write_text("second")
    assert place(first, path)
    assert not place(second, path)
    assert path.read_text() == "first"
    assert second.read_text() == "second"
    keep_names(tmp_path)


def test_many_writers_at_once(tmp_path, way):
    for number in range(20):
        path, barrier, outcomes = tmp_path / f"name{number}", threading.Barrier(4), {}

        def write(writer, path=path, barrier=barrier, outcomes=outcomes):
            temporary = tmp_path / f"{writer}"
            temporary.write_text(f"{writer}" * 1000)
            barrier.wait()
            outcomes[writer] = place(temporary, path)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        content = path.read_text()
        assert len(content) == 1000
        winners = {str(writer) for writer, won in outcomes.items() if won}
        assert content[0] in winners
        if way in ("link", "renameat2"):  # the last way cannot promise it
            assert len(winners) == 1


def test_a_link_whose_answer_was_lost(tmp_path):
    """A network file system made the link, and says that the name is taken: by this very file."""
    temporary, path = tmp_path / "1", tmp_path / "name"
    temporary.write_text("first")
    os.link(temporary, path)
    assert place(temporary, path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
def test_what_is_wrong_with_the_disk_is_said(tmp_path, monkeypatch, number):
    (tmp_path / "1").write_text("first")
    monkeypatch.setattr(placing.os, "link", refuse(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        place(tmp_path / "1", tmp_path / "name")
    monkeypatch.setattr(placing.os, "link", refuse(errno.EPERM))
    with pytest.raises(OSError, match="No such file"):
        place(tmp_path / "missing", tmp_path / "name")
