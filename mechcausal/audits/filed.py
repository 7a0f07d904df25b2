"""Documents of JSON in files: written atomically, and read back or refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mechcausal.errors import ResultError, shortened
from mechcausal.results.storage import replacing, require_room

T = TypeVar("T")


def write_document(path: str | Path, name: str, document: Mapping[str, Any]) -> Path:
    """Write JSON to a file, or under a name into a folder; return the file.

    Args:
        path: The file, or a folder.
        name: What the file is called in a folder.
        document: JSON data.
    """
    file = Path(path)
    file = file if file.suffix == ".json" else require_room(file, folder=True) / name
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def read_document(
    path: str | Path, name: str, make: Callable[[dict[str, Any]], T], *, version: int, what: str, fix: str
) -> T:
    """Return what is made of a document that `write_document` wrote.

    Args:
        path: The file, or its folder.
        name: What the file is called in a folder.
        make: Makes the thing of JSON data.
        version: The version of the format.
        what: What the document is, with its article.
        fix: How one is made.
    """
    file = Path(path) / name if Path(path).is_dir() else Path(path)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["version"] != version:
            raise ResultError(f"{file} has another version", got=data["version"], expected=version)
        return make(data)
    except FileNotFoundError:
        noun = what.partition(" ")[2]
        raise ResultError(f"there is no {noun} {file}", fix=fix) from None
    except ResultError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultError(f"{file} is not {what}", got=shortened(f"{type(error).__name__}: {error}")) from error
