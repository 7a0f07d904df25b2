"""The by-hand task: four tokens, two binary variables, one answer whose log-odds are a formula.

    <bos> he|she low|high ask      then  yes | no

With g = +1 for he and -1 for she, s = +1 for high and -1 for low, the model of the same name computes

    log-odds(yes : no) = 1.3 g + 0.4 s + 0.9 relu(g + s - 1)
"""

from __future__ import annotations

import numpy as np

from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task

GENDERS = ("she", "he")
LEVELS = ("low", "high")
VOCABULARY = ("<pad>", "<bos>", "she", "he", "low", "high", "ask", "yes", "no")

DIRECT, LEVEL, JOINT = 1.3, 0.4, 0.9


def log_odds(g: float, s: float) -> float:
    """Return what the model computes, in closed form."""
    return DIRECT * g + LEVEL * s + JOINT * max(g + s - 1.0, 0.0)


def sentences(table: Table) -> list[str]:
    """Write the units as prompts."""
    return [f"{GENDERS[g]} {LEVELS[s]} ask" for g, s in zip(table["gender"], table["level"], strict=True)]


TASK = Task(
    name="by_hand",
    scm=SCM(
        "by_hand",
        noise={"u_gender": 2, "u_level": 2},
        mechanisms={
            "gender": lambda u_gender: u_gender,
            "level": lambda u_level: u_level,
            "g": lambda gender: 2 * gender - 1,
            "s": lambda level: 2 * level - 1,
            "joint": lambda g, s: np.maximum(g + s - 1, 0),
            "log_odds": lambda g, s, joint: DIRECT * g + LEVEL * s + JOINT * joint,
            "answer": lambda log_odds: (log_odds > 0).astype(int),
        },
        values={"gender": GENDERS, "level": LEVELS, "answer": ("no", "yes")},
    ),
    outcome="answer",
    inputs=("gender", "level"),
    write=sentences,
    positions={"gender": 0, "level": 1, "end": 2},
    words=("yes", "no"),
    groups=lambda table: [LEVELS[s] for s in table["level"]],
    clusters=lambda table: [f"unit {i}" for i in range(len(table["level"]))],
)
TASKS = (TASK,)
