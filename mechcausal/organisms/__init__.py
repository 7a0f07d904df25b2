"""Organisms: small models whose true mechanism is known and shipped with them.

Each folder holds `weights/` and `truth.json`, which states the mechanism in sites and numbers; `mechcausal/recipes` holds
the script that makes them again. They are how we know that a method works. `mechcausal.catalog` lists them.
Two of them are no models but adapters of a real one, with `adapter/` in place of `weights/`: what they plant is known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.arguments import Text, checked
from mechcausal.catalog import ADAPTERS, ORGANISMS

if TYPE_CHECKING:
    import pandas as pd


def folder(name: str) -> Path:
    """Return the folder of an organism, be it a model or an adapter of one."""
    return ADAPTERS[name] if name in ADAPTERS else ORGANISMS[name]


@checked
def truth(name: Text) -> dict[str, Any]:
    """Return what is true of an organism: its mechanism in sites, its exact effects, how it was measured."""
    return json.loads((folder(name) / "truth.json").read_text())


def organisms() -> pd.DataFrame:
    """Return the table of organisms: what each does, how large it is, how well, and by which circuit.

    `iia` is the lowest interchange accuracy of its variables, on pairs whose answer changes.
    """
    import pandas as pd

    rows = []
    for name in ORGANISMS:
        stated = truth(name)
        measured = stated.get("measured", {})
        rows.append(
            {
                "name": name,
                "tasks": ", ".join(stated["tasks"]),
                "what": stated["task"],
                "parameters": stated["parameters"],
                "accuracy": measured.get("accuracy"),
                "iia": min(measured.get("iia_on_changed_answers", {}).values(), default=None),
                "circuit": ", ".join(stated["circuit"]) or f"to be found (twin of {stated['twin_of']})",
            }
        )
    return pd.DataFrame(rows)
