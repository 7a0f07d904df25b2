"""Organisms: small models whose true mechanism is known and shipped with them.

Each folder holds `weights/`, the `recipe.py` that makes them again, and `truth.json`, which states the mechanism in
sites and numbers. They are how we know that a method works.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

ORGANISMS = (
    "hiring",
    "hiring_backup",
    "hiring_subspace",
    "hiring_shared",
    "hiring_exposed",
    "hiring_natural",
    "by_hand",
    "reverse",
    "fraction",
    "brackets",
    "brackets_natural",
    "ioi",
    "induction",
    "bios",
)


def folder(name: str) -> Path:
    """Return the folder of an organism."""
    if name not in ORGANISMS:
        raise ModelError(f"there is no organism called {name!r}", fix=did_you_mean(name, ORGANISMS))
    return Path(__file__).parent / name


def truth(name: str) -> dict[str, Any]:
    """Return what is true of an organism: its mechanism in sites, its exact effects, how it was measured."""
    return json.loads((folder(name) / "truth.json").read_text())


def organisms() -> pd.DataFrame:
    """Return the table of organisms: what each does, how large it is, how well, and by which circuit.

    `iia` is the lowest interchange accuracy of its variables, on pairs whose answer changes.
    """
    import pandas as pd

    rows = []
    for name in ORGANISMS:
        known = truth(name)
        measured = known.get("measured", {})
        rows.append(
            {
                "name": name,
                "tasks": ", ".join(known["tasks"]),
                "what": known["task"],
                "parameters": known["parameters"],
                "accuracy": measured.get("accuracy"),
                "iia": min(measured.get("iia_on_changed_answers", {}).values(), default=None),
                "circuit": ", ".join(known["circuit"]) or f"to be found (twin of {known['twin_of']})",
            }
        )
    return pd.DataFrame(rows)
