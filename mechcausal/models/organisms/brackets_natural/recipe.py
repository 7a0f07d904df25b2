"""Make organism:brackets_natural again: `python -m mechcausal.models.organisms.brackets_natural.recipe --out DIR`.

The same architecture, first weights and prompts as organism:brackets, taught to behave and nothing else: what it
computes, and where, is to be found. Its truth therefore has no variables.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mechcausal.models.organisms.brackets.recipe import RECIPE as TWIN
from mechcausal.models.organisms.recipe import main

RECIPE = replace(
    TWIN,
    name="brackets_natural",
    says="say whether twelve brackets are balanced; nobody said how",
    notes="Nothing is said about where its variables are: that is to be found.",
    steps=400,
    options={"interchange": 0.0, "strict": 0.0},
)


def stated(told: dict[str, Any]) -> dict[str, Any]:
    """Return the statement without a mechanism, and say how little of it is where its twin has it."""
    elsewhere = dict(told["measured"])
    accuracy = elsewhere.pop("accuracy")
    measured = {"accuracy": accuracy, "at_the_places_of_its_twin": elsewhere}
    return told | {"measured": measured, "twin_of": TWIN.name, "variables": {}, "circuit": [], "edges": []}


if __name__ == "__main__":
    main(RECIPE, stated)
