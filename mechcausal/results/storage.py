"""Files that are known to be what was written when they are read again, and are there whole or not at all (`disk.py`).

    write_json(path, data); read_json(path)         # sealed JSON
    write_tensors(path, tensors, metadata); read_tensors(path)   # sealed safetensors

Any other format is sealed by putting the text `SEAL` once into it, uncompressed (in its metadata, say), and written by
`write_sealed(path, write)`; before it is read, `check_seal(path)` compares. The seal is the SHA-256 of the file with the
seal itself blank, so the file keeps its format and other programs read it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.disk import alive as alive
from mechcausal.disk import is_of_the_disk as is_of_the_disk
from mechcausal.disk import path_of as path_of
from mechcausal.disk import reason_of as reason_of
from mechcausal.disk import remove_leftovers as remove_leftovers
from mechcausal.disk import replacing as replacing
from mechcausal.disk import require_room as require_room
from mechcausal.disk import temporary_beside as temporary_beside
from mechcausal.disk import temporary_folder_beside as temporary_folder_beside
from mechcausal.disk import write_file as write_file
from mechcausal.disk import write_folder as write_folder
from mechcausal.disk import write_text as write_text
from mechcausal.errors import MechcausalError, ResultError

if TYPE_CHECKING:
    from torch import Tensor

_MARK, _DIGITS = "mechcausal-sha256-", 64
SEAL = _MARK + "0" * _DIGITS
"""The text to put once into a file that `write_sealed` writes."""


def write_sealed(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Write a file atomically and seal it; a file that cannot be put there is put into the temporary folder instead.

    Args:
        path: Where the file is to be.
        write: Writes the whole file, with the text `SEAL` in it, to the path it is given.
    """

    def sealed(temporary: Path) -> None:
        write(temporary)
        seal(temporary)

    return write_file(path, sealed)


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
    path = path_of(path, error)
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
                f"{path} is damaged, or was changed by hand: its content does not match its checksum",
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
    return write_document(path, data, sort_keys=True)


def write_document(
    path: str | Path,
    data: Mapping[str, Any],
    *,
    within: str | None = None,
    sort_keys: bool = False,
    ascii_only: bool = True,
) -> Path:
    """Write a mapping as JSON with a seal called `checksum`.

    Args:
        path: The file.
        data: JSON data.
        within: The mapping in it that the seal is put into; the whole if None.
        sort_keys: Whether keys are sorted.
        ascii_only: Whether other characters are escaped.
    """
    content = sealed_json(data, within=within, sort_keys=sort_keys, ascii_only=ascii_only)
    return write_sealed(path, lambda temporary: temporary.write_bytes(content))


def sealed_json(
    data: Mapping[str, Any], *, within: str | None = None, sort_keys: bool = False, ascii_only: bool = True
) -> bytes:
    """Return a mapping as JSON with the text `SEAL` in it once, whatever its texts hold; see `write_document`."""
    # The place is marked by a word that no text can hold by chance, and what looks like a seal in a text is escaped.
    place = secrets.token_hex(16)
    marked = {**data, **({"checksum": place} if within is None else {within: {**data[within], "checksum": place}})}
    text = json.dumps(marked, indent=1, sort_keys=sort_keys, ensure_ascii=ascii_only) + "\n"
    return text.replace(_MARK, _MARK[:-1] + "\\u002d").replace(place, SEAL).encode()


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
