"""Induction: what followed, the last time the present word came?

    <bos> red blue gold white blue gray red      then  blue
    <bos> red blue gold white blue gray pink     then  none

Words are drawn independently, so that the last one may have come several times before (the latest counts), right before
(it is what followed), or never (`none`).

At word k two things are known: the word itself (`held_k`) and, once it is taken there, the one before it (`previous_k`).
The answer is the `held_k` of the latest k whose `previous_k` is the `held_7` of the end.
"""

from __future__ import annotations

import numpy as np

from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task
from mechcausal.data.tasks.reading import reading

WORDS = ("red", "blue", "gold", "white", "gray", "pink")
LENGTH = 7
ANSWERS = (*WORDS, "none")
VOCABULARY = ("<pad>", "<bos>", *ANSWERS)

PLACES = tuple(f"word_{k}" for k in range(1, LENGTH + 1))
HELD = tuple(f"held_{k}" for k in range(1, LENGTH + 1))
PREVIOUS = tuple(f"previous_{k}" for k in range(2, LENGTH + 1))


def latest(words: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Return the word whose `previous` is the last word, the latest of them, or `none`."""
    copied = np.full(len(words), ANSWERS.index("none"))
    for word, before in zip(words.T, previous.T, strict=True):
        copied = np.where(before == words[:, -1], word, copied)
    return copied


def _where(table: Table) -> list[str]:
    """Say how far back the latest match is."""
    follows = np.stack([table[place] == table[PLACES[-1]] for place in PREVIOUS], axis=1)
    back = np.where(follows.any(axis=1), follows[:, ::-1].argmax(axis=1) + 1, 0)
    return [f"{steps} back" if steps else "none" for steps in back]


def write(table: Table) -> list[str]:
    """Write the words."""
    rows = np.stack([table[place] for place in PLACES], axis=1)
    return [" ".join(WORDS[word] for word in row) for row in rows]


TASK = Task(
    name="induction",
    scm=SCM(
        "induction",
        noise={f"u_{k}": len(WORDS) for k in range(1, LENGTH + 1)},
        mechanisms={
            **{f"word_{k}": reading([f"u_{k}"], lambda drawn: drawn[:, 0]) for k in range(1, LENGTH + 1)},
            **{f"held_{k}": reading([f"word_{k}"], lambda word: word[:, 0]) for k in range(1, LENGTH + 1)},
            **{f"previous_{k}": reading([f"held_{k - 1}"], lambda word: word[:, 0]) for k in range(2, LENGTH + 1)},
            # The first word follows none.
            "copied": reading([*HELD[1:], *PREVIOUS], lambda columns: latest(*np.hsplit(columns, 2))),
            "answer": lambda copied: copied,
        },
        values={**dict.fromkeys((*PLACES, *HELD, *PREVIOUS), WORDS), "copied": ANSWERS, "answer": ANSWERS},
    ),
    outcome="answer",
    inputs=PLACES,
    write=write,
    positions={place: i for i, place in enumerate(PLACES)} | {"end": LENGTH - 1},
    groups=_where,
)  # fmt: skip
TASKS = (TASK,)
