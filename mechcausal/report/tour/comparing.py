"""The last step of the tour: what was found, against what the model was trained to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What the tour looks for: the words of the report, and the variables of truth.json that are there.
MECHANISMS = {
    "gender": ("gender, on the way to the decision", ("bias", "proxy")),
    "merit": ("qualification, on the way to the decision", ("merit",)),
    "secret": ("the secret number", ("secret",)),
}
READER = "what adds them up"


def compare(numbers: Mapping[str, Any], truth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each mechanism: where it was found, where the truth has it, and whether these are the same."""
    true_site = {name: str(entry["site"]) for name, entry in truth["variables"].items()}
    rows = [
        _row(words, numbers["carriers"][factor], [true_site[name] for name in variables])
        for factor, (words, variables) in MECHANISMS.items()
    ]
    reader = [] if numbers["reader"] is None else [numbers["reader"]]
    return [*rows, _row(READER, reader, [true_site["score"]])]


def _row(mechanism: str, discovered: list[str], true: list[str]) -> dict[str, Any]:
    return {
        "mechanism": mechanism,
        "found": sorted(discovered),
        "true": sorted(true),
        "same": set(discovered) == set(true),
    }
