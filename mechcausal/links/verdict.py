"""Verdicts: one word from two answers, available and used, and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CAUSAL, CORRELATE, UNASSOCIATED, INCONCLUSIVE, INCOMPLETE = VERDICTS = (
    "causal", "correlate-only", "causal-but-not-associated", "inconclusive", "sae-incomplete",
)  # fmt: skip
YES, NO, UNCLEAR = "yes", "no", "unclear"


@dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS`, and the reason in a sentence."""

    word: str
    why: str


def answers(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """Return `yes`, `no` or `unclear` for each candidate."""
    return np.where(yes, YES, np.where(no, NO, UNCLEAR))


def verdict(
    available: str, used: str, *, blocked: Verdict | None = None, like_random: bool = False, fragile: bool = False
) -> Verdict:
    """Judge one candidate for one concept.

    Args:
        available: Whether it tells the concept: `yes`, `no` or `unclear`.
        used: Whether the behavior moves with it beyond the smallest effect of interest.
        blocked: A reason why no candidate here can be judged.
        like_random: Whether random directions at its place move the behavior as much.
        fragile: Whether its effect had the other sign on the half that was not used for the estimate.
    """
    if blocked is not None:
        return blocked
    if used == YES and like_random:
        return Verdict(INCONCLUSIVE, "random directions at this place move the behavior as much")
    if used == YES and fragile:
        return Verdict(INCONCLUSIVE, "its effect has the opposite sign on the other half of the pairs")
    match available, used:
        case "yes", "yes":
            return Verdict(CAUSAL, "it tells the concept, and the behavior moves with it")
        case "yes", "no":
            return Verdict(CORRELATE, "it tells the concept, and the behavior does not move with it")
        case "no", "yes":
            return Verdict(UNASSOCIATED, "the behavior moves with it, and it does not tell the concept")
        case "no", "no":
            return Verdict(INCONCLUSIVE, "it neither tells the concept nor moves the behavior")
        case "unclear", "yes":
            return Verdict(
                INCONCLUSIVE, "the behavior moves with it; these pairs do not settle whether it tells the concept"
            )
        case "yes", _:
            return Verdict(
                INCONCLUSIVE, "it tells the concept; these pairs do not settle whether the behavior moves with it"
            )
    return Verdict(INCONCLUSIVE, "these pairs settle neither whether it tells the concept nor whether it is used")
