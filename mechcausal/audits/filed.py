"""Documents of JSON in files: written atomically and with a checksum, and read back or refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mechcausal.errors import ResultError, shortened
from mechcausal.results import storage

T = TypeVar("T")


def write_document(path: str | Path, name: str, document: Mapping[str, Any], *, within: str | None = None) -> Path:
    """Write JSON to a file, or under a name into a folder; return the file.

    Args:
        path: The file, or a folder.
        name: What the file is called in a folder.
        document: JSON data.
        within: The mapping in it that the checksum is put into; the whole if None.
    """
    file = Path(path)
    file = file if file.suffix == ".json" else storage.require_room(file, folder=True) / name
    return storage.write_document(file, document, within=within, ascii_only=False)


def read_document(
    path: str | Path, name: str, make: Callable[[dict[str, Any]], T], *, version: int, what: str, fix: str
) -> T:
    """Return what is made of a document that `write_document` wrote, if it is what was written.

    Args:
        path: The file, or its folder.
        name: What the file is called in a folder.
        make: Makes the thing of JSON data.
        version: The version of the format.
        what: What the document is, with its article.
        fix: How one is made.
    """
    file = storage.path_of(path)
    file = file / name if file.is_dir() else file
    if not file.is_file():
        raise ResultError(f"there is no {what.partition(' ')[2]} {file}", fix=fix)
    storage.check_seal(file, what)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["version"] != version:
            raise ResultError(f"{file} has another version", got=data["version"], expected=version)
        return make(data)
    except ResultError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultError(f"{file} is not {what}", got=shortened(f"{type(error).__name__}: {error}")) from error
