"""Which organisms and tasks exist: the one list that loading, the methods and the commands read.

A package of yours adds its own: `ORGANISMS.register("mine")(folder)` with a folder that holds `weights/` and `truth.json`
makes `mc.load("organism:mine")` work, and `TASKS.register("mine")(task)` makes `mc.task("mine")` and
`mc.contrast("mine/FACTOR", ...)` work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mechcausal.errors import DataError, ModelError
from mechcausal.registry import Registry

ORGANISMS: Registry[Path] = Registry("organism", ModelError)
"""The folder of each organism."""

TASKS: Registry[Any] = Registry("task", DataError)
"""Each task, or the name of the module that holds it, which is imported when the task is first asked for."""

ADAPTERS: Registry[Path] = Registry("adapter", ModelError)
"""The folder of each adapter: an organism that is a change of a real model."""

for _name in ("smollm2_bias", "smollm2_canaries"):
    ADAPTERS.register(_name)(Path(__file__).parent / "organisms" / _name)

for _name in (
    "hiring",
    "hiring_backup",
    "hiring_subspace",
    "hiring_shared",
    "hiring_exposed",
    "hiring_natural",
    "by_hand",
    "reverse",
    "fraction",
    "fraction_linear",
    "brackets",
    "brackets_natural",
    "ioi",
    "induction",
    "bios",
):
    ORGANISMS.register(_name)(Path(__file__).parent / "organisms" / _name)

for _module, _names in {
    "hiring": ("hiring", "hiring_backup", "hiring_backups", "hiring_shared", "hiring_secret"),
    "by_hand": ("by_hand",),
    "reverse": ("reverse",),
    "fraction": ("fraction",),
    "bios": ("bios",),
    "brackets": ("brackets",),
    "induction": ("induction",),
    "ioi": ("ioi",),
}.items():
    for _name in _names:
        TASKS.register(_name)(f"mechcausal.data.tasks.{_module}")
