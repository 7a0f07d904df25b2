"""Files that are there whole or not at all, and that are known to be what was written when they are read again.

Three ways to write, all atomic: the file appears under its name in one step, or the old one stays.

    with replacing(path) as temporary: ...          # what nobody reads back: pages, pictures
    write_json(path, data); read_json(path)         # sealed JSON
    write_tensors(path, tensors, metadata); read_tensors(path)   # sealed safetensors

Any other format is sealed by putting the text `SEAL` once into it, uncompressed (in its metadata, say), and written by
`write_sealed(path, write)`; before it is read, `check_seal(path)` compares. The seal is the SHA-256 of the file with the
seal itself blank, so the file keeps its format and other programs read it.

Before a long computation ask `require_room(path)`, which finds a read-only folder or a full disk while nothing is lost.
If a sealed write fails all the same, the file is put into the system's temporary folder and the error says where.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.errors import MechcausalError, ResultError

if TYPE_CHECKING:
    from torch import Tensor

_MARK, _DIGITS = "mechcausal-sha256-", 64
SEAL = _MARK + "0" * _DIGITS
"""The text to put once into a file that `write_sealed` writes."""

_PART = ".mechcausal-part"  # how the names of temporary files end
_OLD = 24 * 3600  # seconds after which a temporary file of another machine is taken to be left over
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROOM = 16 * 2**20  # bytes that a disk must have free where the size is not known


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; if the body succeeds, the file takes its place in one step.

    Temporary files that killed processes left in the folder are removed first.
    """
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
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.{_host()}-{os.getpid()}-", suffix=_PART)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of writes that were killed: of dead processes here, and old ones of other machines."""
    for part in folder.glob(f".*{_PART}"):
        try:
            host, pid = part.name.removesuffix(_PART).rsplit(".", 1)[1].rsplit("-", 2)[:2]
            dead = host == _host() and not alive(int(pid))
            if dead or time.time() - part.stat().st_mtime > _OLD:
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


def require_room(path: str | Path, size: int = _ROOM, *, folder: bool = False) -> Path:
    """Raise before a computation if a file cannot be written afterwards; return its path.

    Args:
        path: Where the file is going to be.
        size: How many bytes it will take, roughly.
        folder: Whether the path is of a folder that files go into.
    """
    path = Path(path)
    parent = path if folder else path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not folder:
            raise IsADirectoryError("there is a folder of this name")
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
        free = shutil.disk_usage(parent).free
    except OSError as error:
        raise ResultError(
            f"nothing can be written to {path}", got=reason_of(error),
            fix="make room, or choose another folder" if error.errno in _FULL else "choose a folder that you may write to",
        ) from error  # fmt: skip
    if free < size:
        raise ResultError(
            f"the disk of {parent} is nearly full", got=f"{free / 2**20:.0f} MiB free",
            expected=f"at least {size / 2**20:.0f} MiB", fix="make room, or choose another folder",
        )  # fmt: skip
    return path


def write_sealed(path: str | Path, write: Callable[[Path], None]) -> Path:
    """Write a file atomically and seal it; a file that cannot be put there is put into the temporary folder instead.

    Args:
        path: Where the file is to be.
        write: Writes the whole file, with the text `SEAL` in it, to the path it is given.
    """
    path = Path(path)

    def put(target: Path) -> None:
        with replacing(target) as temporary:
            write(temporary)
            seal(temporary)

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


def seal(path: Path, *, last: bool = False) -> None:
    """Put the checksum of a file into it, in the place of its `SEAL` (or of the checksum it had).

    Args:
        path: The file.
        last: Whether its last `SEAL` is its own, because it holds other sealed files before that.
    """
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.rfind(_MARK.encode()) if last else content.find(_MARK.encode())
            if start < 0:
                raise AssertionError(f"the writer of {path} has to put SEAL into the file")
            digest = _digest(content, start)
        file.seek(start + len(_MARK))
        file.write(digest.encode())
        file.flush()
        os.fsync(file.fileno())


def check_seal(
    path: str | Path,
    what: str = "a mechcausal file",
    error: type[MechcausalError] = ResultError,
    *,
    last: bool = False,
) -> None:
    """Raise if a file is missing, holds no seal, or is not what was sealed.

    Args:
        path: The file.
        what: What it should be, for the error message.
        error: The kind of error to raise.
        last: Whether its last seal is its own, because it holds other sealed files before that.
    """
    path = Path(path)
    if not path.is_file():
        raise error(f"there is no file {path}", fix="check the path")
    if not path.stat().st_size:
        raise error(f"{path} is empty", expected=what, fix="make it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.rfind(_MARK.encode()) if last else content.find(_MARK.encode())
        if start < 0:
            raise error(f"{path} is not {what}, or it is damaged", got="no checksum", fix="check the path")
        begin = start + len(_MARK)
        if content[begin : begin + _DIGITS] != _digest(content, start).encode():
            raise error(
                f"{path} is damaged: its content does not match its checksum",
                fix="take it from a backup, or make it again",
            )


def _digest(content: mmap.mmap, start: int) -> str:
    """Return the SHA-256 of a file whose checksum, at `start`, counts as blank."""
    begin = start + len(_MARK)
    digest = hashlib.sha256()
    with memoryview(content) as view:
        for part in (view[:begin], b"0" * _DIGITS, view[begin + _DIGITS :]):
            digest.update(part)
            if isinstance(part, memoryview):
                part.release()
    return digest.hexdigest()


def checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file that carries no seal, to be kept in a sealed file beside it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | Path, data: Mapping[str, Any]) -> Path:
    """Write a mapping as JSON with a seal."""
    text = json.dumps({**data, "checksum": SEAL}, indent=1, sort_keys=True) + "\n"
    return write_sealed(path, lambda temporary: _write_text(temporary, text))


def read_json(
    path: str | Path, what: str = "a mechcausal file", error: type[MechcausalError] = ResultError
) -> dict[str, Any]:
    """Read what `write_json` wrote, or raise if it is not what was written."""
    check_seal(path, what, error)
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    del data["checksum"]
    return data


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write tensors and texts about them as safetensors with a seal."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    texts = {**(metadata or {}), "checksum": SEAL}
    return write_sealed(path, lambda temporary: save_file(contiguous, str(temporary), metadata=texts))


def read_tensors(
    path: str | Path, what: str = "a mechcausal file", error: type[MechcausalError] = ResultError
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and texts that `write_tensors` wrote, or raise if they are not what was written."""
    from safetensors import SafetensorError, safe_open

    check_seal(path, what, error)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
            metadata = dict(file.metadata() or {})
    except SafetensorError as cause:
        raise error(f"{path} is not {what}", fix="check the path") from cause
    metadata.pop("checksum", None)
    return tensors, metadata


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def is_of_the_disk(error: Exception) -> bool:
    """Say whether an error is of the disk; safetensors has an error of its own for it."""
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"


def reason_of(error: Exception) -> str:
    """Return what an error of the disk says, for a message."""
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
