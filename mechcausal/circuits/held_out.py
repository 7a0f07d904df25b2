"""Which pairs a circuit was found on, so that it can be judged on others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechcausal.data.contrast import Contrast
from mechcausal.data.splits import FEWEST, cluster_numbers
from mechcausal.errors import DataError

FOUND_ON = "found_on"
"""Where a circuit's `about` keeps the digests of the pairs that it was found on."""


def digests(pairs: Contrast) -> list[str]:
    """Return a short digest of the tokens of each pair, whatever their padding and their order among others."""
    rows = zip(pairs.clean.real_tokens, pairs.corrupt.real_tokens, strict=True)
    return [hashlib.sha256(f"{list(clean)}|{list(corrupt)}".encode()).hexdigest()[:12] for clean, corrupt in rows]


@dataclass(frozen=True)
class HeldOut:
    """Pairs by which a circuit is judged.

    Attributes:
        pairs: The pairs.
        dropped: How many were left out because the circuit was found on them.
        shared: How many of those that stay it was found on.
        told: Whether the circuit says what it was found on.
    """

    pairs: Contrast
    dropped: int
    shared: int
    told: bool

    @property
    def sentence(self) -> str:
        """What a reader must know of it."""
        if not self.told:
            return "the circuit does not say which pairs it was found on, so these may be among them"
        if self.shared:
            return f"{self.shared} of {len(self.pairs)} pairs are among those that the circuit was found on: this is no test on held-out pairs"
        if self.dropped:
            return f"{self.dropped} pairs were left out because the circuit was found on them"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON data."""
        return {"dropped": self.dropped, "shared": self.shared, "told": self.told, "n": len(self.pairs)}


def held_out(pairs: Contrast, about: Mapping[str, Any], *, shared: bool = False, what: str = "judge") -> HeldOut:
    """Return the pairs that a circuit was not found on.

    Args:
        pairs: All pairs at hand.
        about: What the circuit says of itself.
        shared: Whether pairs that it was found on are kept.
        what: What is done with the pairs, for the error message.
    """
    used: Iterable[str] | None = about.get(FOUND_ON)
    if used is None:
        return HeldOut(pairs, 0, 0, told=False)
    before = set(used)
    seen = np.array([digest in before for digest in digests(pairs)])
    if shared:
        return HeldOut(pairs, 0, int(seen.sum()), told=True)
    rows = np.flatnonzero(~seen)
    units = len(np.unique(cluster_numbers(pairs.clean.clusters, len(pairs))[rows]))
    if len(rows) == 0 or (seen.any() and units < FEWEST):
        raise DataError(
            f"too few pairs are left to {what} the circuit, because it was found on {int(seen.sum())} of these {len(pairs)}",
            got=f"{units} {'cluster' if units == 1 else 'clusters'}", expected=f"at least {FEWEST}",
            fix="bring other pairs, such as those of another seed; shared=True uses these and says so",
        )  # fmt: skip
    return HeldOut(pairs if len(rows) == len(pairs) else pairs.take(rows.tolist()), int(seen.sum()), 0, told=True)
