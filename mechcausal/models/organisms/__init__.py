"""Organisms: small models whose true mechanism is known and shipped with them.

Each folder holds `weights/`, the `recipe.py` that makes them again, and `truth.json`, which states the mechanism in
sites and numbers. They are how we know that a method works.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mechcausal.errors import ModelError, did_you_mean

ORGANISMS = ("hiring", "by_hand")


def folder(name: str) -> Path:
    """Return the folder of an organism."""
    if name not in ORGANISMS:
        raise ModelError(f"there is no organism called {name!r}", fix=did_you_mean(name, ORGANISMS))
    return Path(__file__).parent / name


def truth(name: str) -> dict[str, Any]:
    """Return what is true of an organism: its mechanism in sites, its exact effects, how it was measured."""
    return json.loads((folder(name) / "truth.json").read_text())
