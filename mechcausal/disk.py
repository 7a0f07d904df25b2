"""Files and folders that are there whole or not at all.

    write_text(path, text); write_file(path, write)       # a file that nobody reads back, or whose format has checks
    write_folder(path, write, names)                      # several files that belong together
    with replacing(path) as temporary: ...                # the same as a block

A file appears under its name in one step, or the old one stays. What a killed process leaves behind is known by its name
and removed by the next write beside it. Every failure of the disk is a `ResultError` of one sentence; where the text or
the files can be made again at once they are put into the system's temporary folder, and the error says where.

Before a long computation ask `require_room(path)`, which finds a read-only folder or a full disk while nothing is lost.
Files that are read back carry a checksum: `results/storage.py`.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mechcausal.errors import MechcausalError, ResultError, shortened

_PART = ".mechcausal-part"  # how the names of temporary files and folders end
_OLD = 24 * 3600  # seconds after which a temporary file of another machine is taken to be left over
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROOM = 16 * 2**20  # bytes that a disk must have free where the size is not known


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; if the body succeeds, the file takes its place in one step.

    Temporary files that killed processes left in the folder are removed first.
    """
    try:
        with _replacing(path) as temporary:
            yield temporary
    except Exception as error:
        if not is_of_the_disk(error):
            raise
        kept = "what was there before stays; " if path.is_file() else ""
        raise ResultError(
            f"{path} could not be written", got=reason_of(error), fix=f"{kept}make room, or choose another folder"
        ) from error


@contextmanager
def _replacing(path: Path) -> Generator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    with temporary_beside(path) as temporary:
        yield temporary
        # A temporary file is private to its owner; a result is to be handed over.
        temporary.chmod(0o644)
        temporary.replace(path)


@contextmanager
def temporary_beside(path: Path) -> Generator[Path]:
    """Yield the path of a new file in the folder of `path`, named so that `remove_leftovers` knows whose it is.

    The body moves or links it where it belongs; what is left of it afterwards is removed.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=_PART)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder_beside(path: Path) -> Generator[Path]:
    """Yield a new folder beside `path`, as `temporary_beside` yields a new file."""
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path), suffix=_PART))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prefix(path: Path) -> str:
    return f".{path.name[:80]}.{_host()}-{os.getpid()}-"


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writes left: temporary files and folders of dead processes here, and old ones of other machines."""
    for part in folder.glob(f".*{_PART}"):
        try:
            host, pid = part.name.removesuffix(_PART).rsplit(".", 1)[1].rsplit("-", 2)[:2]
            dead = host == _host() and not alive(int(pid))
            if dead or time.time() - part.stat().st_mtime > _OLD:
                if part.is_dir() and not part.is_symlink():
                    shutil.rmtree(part, ignore_errors=True)
                else:
                    part.unlink(missing_ok=True)
        except (OSError, ValueError, IndexError):  # somebody else's, or gone already
            continue


def _host() -> str:
    return socket.gethostname().replace(".", "_").replace("/", "_")[:40]


def alive(pid: int) -> bool:
    """Say whether a process of this machine is alive, as far as can be known."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def path_of(name: str | Path, error: type[MechcausalError] = ResultError) -> Path:
    """Return the path that a name stands for, or raise if no file can be called so."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as cause:
        raise error(
            "no file or folder can be called so", got=shortened(str(name)), fix=f"check the name: {reason_of(cause)}"
        ) from cause
    return path


def require_room(path: str | Path, size: int | None = None, *, folder: bool = False, files: int = 1) -> Path:
    """Raise before a computation if a file cannot be written afterwards; return its path.

    Args:
        path: Where the file is going to be.
        size: How many bytes it will take, roughly; a few MiB where it is not known.
        folder: Whether the path is of a folder that files go into.
        files: How many files the bytes are spread over.
    """
    path = Path(path)
    parent = path if folder else path.parent
    needed = _ROOM if size is None else size
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not folder:
            raise IsADirectoryError("there is a folder of this name")
        free = shutil.disk_usage(parent).free
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            if size is not None and size <= free:
                probe.truncate(size // files)  # takes no room, and is refused where files may not grow so large
    except OSError as error:
        raise ResultError(
            f"nothing can be written to {path}", got=reason_of(error),
            fix="make room, or choose another folder" if error.errno in _FULL else "choose a folder that you may write to",
        ) from error  # fmt: skip
    if free < needed:
        raise ResultError(
            f"the disk of {parent} is nearly full", got=f"{free / 2**20:.0f} MiB free",
            expected=f"at least {needed / 2**20:.0f} MiB", fix="make room, or choose another folder",
        )  # fmt: skip
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write a text to a file, whole or not at all."""
    return write_file(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def write_file(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Write a file whole or not at all; one that cannot be put there is put into the temporary folder instead.

    Args:
        path: Where the file is to be.
        write: Writes the whole file to the path it is given.
    """

    def put(target: Path) -> None:
        with _replacing(target) as temporary:
            write(temporary)

    return _put(Path(path), put)


def write_folder(path: str | Path, write: Callable[[Path], object], names: Sequence[str]) -> Path:
    """Write files that belong together into a folder, whole or not at all; files of others in it stay.

    A folder that is not there yet, or is empty, appears in one step. In one that is there the files are replaced one by
    one, in the order of their names, so its reader has to know a set that is mixed: by checksums in the first of them.

    Args:
        path: The folder.
        write: Writes the files into the folder it is given.
        names: What they are called.
    """

    def put(target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        with temporary_folder_beside(target) as temporary:
            write(temporary)
            for name in names:  # temporary files are private to their owner
                (temporary / name).chmod(0o644)
            if target.is_dir() and (target.is_symlink() or any(target.iterdir())):
                for name in names:
                    (temporary / name).replace(target / name)
            else:
                temporary.chmod(0o755)
                temporary.replace(target)

    return _put(Path(path), put)


def _put(path: Path, put: Callable[[Path], None]) -> Path:
    """Put something where it belongs, or into the temporary folder if the disk refuses it; then say so."""
    try:
        put(path)
    except Exception as error:
        if not is_of_the_disk(error):
            raise
        instead = Path(tempfile.gettempdir()) / f"mechcausal-{os.getpid()}-{time.time_ns():x}" / path.name
        try:
            put(instead)
        except Exception as second:
            with suppress(OSError):
                instead.parent.rmdir()
            raise ResultError(
                f"{path} could not be written, nor {instead}", got=reason_of(second),
                fix="the result is still in memory: make room and save it again",
            ) from error  # fmt: skip
        raise ResultError(
            f"{path} could not be written", got=reason_of(error), fix=f"nothing is lost: it was put into {instead}"
        ) from error
    return path


def is_of_the_disk(error: Exception) -> bool:
    """Say whether an error is of the disk; safetensors has an error of its own for it, and torch has none."""
    of_torch = isinstance(error, RuntimeError) and (
        "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
    )
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError" or of_torch


def reason_of(error: Exception) -> str:
    """Return what an error of the disk says, for a message."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
    return text[:150] or type(error).__name__
