"""The by-hand task: four tokens, two binary variables, one answer whose log-odds are a formula.

    <bos> he|she low|high ask      then  yes | no

With g = +1 for he and -1 for she, s = +1 for high and -1 for low, the model of the same name computes

    log-odds(yes : no) = 1.3 g + 0.4 s + 0.9 relu(g + s - 1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

GENDERS = ("she", "he")
LEVELS = ("low", "high")
VOCABULARY = ("<pad>", "<bos>", "she", "he", "low", "high", "ask", "yes", "no")
POSITIONS = {"gender": 0, "level": 1, "end": 2}

DIRECT, LEVEL, JOINT = 1.3, 0.4, 0.9


def log_odds(g: float, s: float) -> float:
    """Return what the model computes, in closed form."""
    return DIRECT * g + LEVEL * s + JOINT * max(g + s - 1.0, 0.0)


def _pairs(clean: list[tuple[int, int]], corrupt: list[tuple[int, int]], factor: str) -> dict[str, Any]:
    def sentence(g: int, s: int) -> str:
        return f"{GENDERS[g]} {LEVELS[s]} ask"

    return {
        "clean": [sentence(*row) for row in clean],
        "corrupt": [sentence(*row) for row in corrupt],
        "answer": "yes",
        "foil": "no",
        "factor": factor,
        "group": [LEVELS[s] for _, s in clean],
        "labels": [log_odds(2 * g - 1, 2 * s - 1) for g, s in clean],
        "positions": dict(POSITIONS),
    }


def gender(n: int, seed: int) -> dict[str, Any]:
    """'he' against 'she', the level drawn at random."""
    levels = np.random.default_rng(seed).integers(2, size=n).tolist()
    return _pairs([(1, s) for s in levels], [(0, s) for s in levels], "gender")


def level(n: int, seed: int) -> dict[str, Any]:
    """'high' against 'low', the gender drawn at random."""
    genders = np.random.default_rng(seed).integers(2, size=n).tolist()
    return _pairs([(g, 1) for g in genders], [(g, 0) for g in genders], "level")


CONTRASTS: dict[str, Callable[[int, int], dict[str, Any]]] = {"gender": gender, "level": level}
