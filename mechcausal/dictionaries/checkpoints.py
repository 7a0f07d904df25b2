"""Checkpoints of a training: kept, resumed from and removed, never touching a file that is not theirs.

    FOLDER/00000700/             the steps that were taken
        weights.pt, ...          what the trainer needs to go on
        facts.json               of which training, and the checksum of each file; sealed

A checkpoint appears under its name when all of it is written, so at any time there is one that is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.errors import DataError, ModelError
from mechcausal.results.storage import checksum, read_json, write_json

if TYPE_CHECKING:
    from mechcausal.dictionaries.saelens import Trainer

FACTS = "facts.json"
_PART = ".mechcausal-checkpoint-"  # how the names of unfinished ones begin


def keep(trainer: Trainer, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint, and then remove those before it and what killed processes left."""
    folder.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(dir=folder, prefix=f"{_PART}{os.getpid()}-"))
    trainer.save(room)
    files = {path.name: checksum(path) for path in sorted(room.iterdir())}
    write_json(room / FACTS, {"facts": dict(facts), "files": files})
    name = f"{trainer.steps:08d}"
    _remove_one(folder / name)
    if (folder / name).exists():
        shutil.rmtree(room)
        raise DataError(f"{folder / name} holds files that are not ours", fix="move them, or choose another folder")
    room.rename(folder / name)
    for other in _found(folder):
        if other.name != name:
            _remove_one(other)
    for part in folder.glob(f"{_PART}*"):
        shutil.rmtree(part, ignore_errors=True)


def resume(trainer: Trainer, folder: Path, facts: Mapping[str, Any]) -> None:
    """Go on from the last checkpoint, if there is one of this very training; refuse one that is damaged."""
    if not (kept := _found(folder)):
        return
    last = kept[-1]
    fix = f"delete {last}: the training then begins anew"
    try:
        described = read_json(last / FACTS, "the facts of a checkpoint", ModelError)
    except ModelError as error:
        raise ModelError(f"the checkpoint in {last} is damaged", got=FACTS, fix=fix) from error
    if described.get("facts") != json.loads(json.dumps(dict(facts))):
        raise DataError(
            f"{folder.parent} holds the checkpoint of another training",
            fix="choose another folder, or delete its checkpoint",
        )
    for name, digest in described["files"].items():
        if not (last / name).is_file() or checksum(last / name) != digest:
            raise ModelError(f"the checkpoint in {last} is damaged", got=name, fix=fix)
    trainer.load(last)


def remove(folder: Path) -> None:
    """Remove all checkpoints, and their folder if nothing else is in it."""
    for checkpoint in _found(folder):
        _remove_one(checkpoint)
    for part in folder.glob(f"{_PART}*"):
        shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):  # it holds files of somebody else
        folder.rmdir()


def _found(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the last one last."""
    return sorted(path for path in folder.glob("[0-9]" * 8) if (path / FACTS).is_file())


def _remove_one(checkpoint: Path) -> None:
    """Remove the files that a checkpoint names, and its folder if nothing else is in it."""
    with suppress(ModelError):  # it is damaged, or no checkpoint: it is left for its owner to see
        for name in read_json(checkpoint / FACTS, "the facts of a checkpoint", ModelError)["files"]:
            (checkpoint / Path(name).name).unlink(missing_ok=True)
        (checkpoint / FACTS).unlink(missing_ok=True)
    with suppress(OSError):
        checkpoint.rmdir()
