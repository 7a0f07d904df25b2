"""Which runs are on this machine: each notes its folder in the user's cache when it begins."""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from mechcausal.errors import MechcausalError
from mechcausal.models.cache import cache_folder
from mechcausal.results.storage import replacing
from mechcausal.runs.run import Run


def note(folder: Path) -> None:
    """Remember the folder of a run; where the cache cannot be written, the run is not listed."""
    where = str(folder.absolute())
    with suppress(OSError, MechcausalError):
        file = cache_folder("runs") / f"{hashlib.sha256(where.encode()).hexdigest()[:16]}.json"
        with replacing(file) as temporary:
            temporary.write_text(json.dumps({"folder": where}), encoding="utf-8")


def listed() -> list[dict[str, Any]]:
    """Return the runs that are still there: folder, name, rows planned, done and failed, and whether one is under way."""
    runs = []
    with suppress(OSError, MechcausalError):
        for file in sorted(cache_folder("runs").glob("*.json")):
            try:
                folder = Path(json.loads(file.read_text(encoding="utf-8"))["folder"])
                run = Run(folder)
            except (OSError, ValueError, KeyError, MechcausalError):
                continue
            parts = run.status()
            runs.append(
                {
                    "folder": str(folder), "name": run.plan.name,
                    "planned": sum(part.planned or 0 for part in parts), "done": sum(part.done for part in parts),
                    "failed": sum(part.failed for part in parts), "waiting": len(run.plan.waiting),
                    "running": driver(folder) is not None,
                }
            )  # fmt: skip
    return runs


def driver(folder: Path) -> dict[str, Any] | None:
    """Return what the driver of a run says of itself, if one is at work; of another machine it cannot be known, and is believed."""
    from mechcausal.results.storage import alive

    try:
        state = json.loads((folder / "driver.json").read_text(encoding="utf-8"))
        here = state["host"] == platform.node()
        return state if not here or alive(int(state["process"])) else None
    except (OSError, ValueError, KeyError):
        return None
