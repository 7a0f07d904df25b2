"""Checkpoints of a training: kept, resumed from and removed, never touching a file that is not theirs.

    FOLDER/00000700/             the steps that were taken
        weights.pt, ...          what the trainer needs to go on
        facts.json               of which training, and the checksum of each file; sealed

A checkpoint appears under its name when all of it is written, so at any time there is one that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.errors import DataError, ModelError, ResultError
from mechcausal.results.storage import (
    checksum,
    is_of_the_disk,
    read_json,
    reason_of,
    remove_leftovers,
    seal,
    sealed_json,
    temporary_folder_beside,
)

if TYPE_CHECKING:
    from mechcausal.dictionaries.saelens import Trainer

FACTS = "facts.json"


def keep(trainer: Trainer, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint, and then remove those before it and what killed processes left."""
    name = f"{trainer.steps:08d}"
    kept = _found(folder)
    try:
        _write(trainer, folder / name, facts)
    except Exception as error:
        if not is_of_the_disk(error):
            raise
        left = f"{kept[-1].name} stays: make room, and the same call goes on from it" if kept else "make room"
        raise ResultError(
            f"the checkpoint {folder / name} could not be written", got=reason_of(error), fix=left
        ) from error
    for other in _found(folder):
        if other.name != name:
            _remove_one(other)


def _write(trainer: Trainer, place: Path, facts: Mapping[str, Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place.parent)
    with temporary_folder_beside(place) as room:
        trainer.save(room)
        files = {path.name: checksum(path) for path in sorted(room.iterdir())}
        (room / FACTS).write_bytes(sealed_json({"facts": dict(facts), "files": files}, sort_keys=True))
        seal(room / FACTS)
        _remove_one(place)
        if place.exists():
            raise DataError(f"{place} holds files that are not ours", fix="move them, or choose another folder")
        room.rename(place)


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
    remove_leftovers(folder)
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
