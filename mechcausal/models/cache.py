"""The folder of the user in which things are kept that are slow to make again: converted models, measured abilities.

It is `$MECHCAUSAL_CACHE`, else `mechcausal` in `$XDG_CACHE_HOME`, else `~/.cache/mechcausal`. All of it may be deleted
at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mechcausal import __version__
from mechcausal.errors import MechcausalError
from mechcausal.results.storage import read_json, write_json

VARIABLE = "MECHCAUSAL_CACHE"
_MEASURED_BY = (
    "address",
    "data",
    "interventions",
    "metrics",
    "models",
)  # the folders whose code decides what is measured
_OLD = 24 * 3600  # seconds
_log = logging.getLogger(__name__)


def cache_folder(kind: str) -> Path:
    """Return the folder for things of a kind; it need not exist yet."""
    base = os.environ.get(VARIABLE)
    home = Path(base).expanduser() if base else _home() / "mechcausal"
    return home / kind


def _home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The standard says that a relative path is to be ignored.
    return Path(base) if Path(base).is_absolute() else Path.home() / ".cache"


@contextmanager
def making_folder(path: Path) -> Generator[Path]:
    """Yield a temporary folder beside `path`; if the body succeeds, it takes the place of `path`.

    If another process was faster, its folder stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}-*"):  # by a process that was killed
        if time.time() - left.stat().st_mtime > _OLD:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as room:
        fresh, old = Path(room) / "new", Path(room) / "old"
        fresh.mkdir()
        yield fresh
        if path.exists():
            path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            if not path.exists():
                raise


@cache
def versions(*packages: str) -> dict[str, str]:
    """Return the versions of these packages and of ours, of which the code counts too: a checkout changes under one version."""
    stated = {"mechcausal": f"{__version__} {_code()}"}
    for package in packages:
        try:
            stated[package] = version(package)
        except PackageNotFoundError:
            stated[package] = "not installed"
    return stated


def _code() -> str:
    """Return a digest of the code that measures."""
    digest = hashlib.sha256()
    for folder in _MEASURED_BY:
        for path in sorted((Path(__file__).parents[1] / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def recall(kind: str, key: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever JSON was kept
    """Return what was kept under a key, or None where nothing is, or nothing readable."""
    path = _file(kind, key)
    if not path.is_file():
        return None
    try:
        kept = read_json(path)
    except (MechcausalError, OSError, ValueError) as error:
        _log.info("what was kept at %s is not used: %s", path, error)
        return None
    # The name of the file is a digest of the key; the key itself is compared too.
    return kept.get("value") if kept.get("key") == _plain(key) else None


def keep(kind: str, key: dict[str, Any], value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Keep a value under a key for later processes; where nothing can be written, nothing is kept."""
    path = _file(kind, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.{os.getpid()}")
        probe.touch()
        probe.unlink()
        write_json(path, {"key": _plain(key), "value": value})
    except (MechcausalError, OSError) as error:
        _log.info("nothing is kept at %s: %s", path, error)


def _file(kind: str, key: dict[str, Any]) -> Path:
    text = json.dumps(_plain(key), sort_keys=True)
    return cache_folder(kind) / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _plain(key: dict[str, Any]) -> Any:  # noqa: ANN401
    return json.loads(json.dumps(key))
