"""The brackets task: twelve brackets, balanced or not.

    <bos> ( ( ) ) ( ) ( ( ) ( ) ) <end>      then  unbalanced | balanced

Two tests decide: as many are opened as closed (`level`), and no bracket is closed that is not open (`horizon`). Both
follow from how many are open after each place: `height_1`, `height_3`, ..., and `elevation` at the end. After an odd
number of brackets the height is odd, and it cannot fall from above to below zero at once, so a string that is ever below
zero is below zero after an odd number: `below_1`, `below_3`, ... are all that `horizon` has to know.

`first_open` is a third test, which the second contains: no string passes `horizon` and fails it. It counts all the same,
so that setting it alone has an effect.

As the world is, two in five strings are balanced, and one in five fails on each test alone, and on both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task
from mechcausal.data.tasks.reading import reading

LENGTH = 12
BRACKETS = (")", "(")
ANSWERS = ("unbalanced", "balanced")
VOCABULARY = ("<pad>", "<bos>", *BRACKETS, "<end>", *ANSWERS)

PLACES = tuple(f"p{k}" for k in range(1, LENGTH + 1))
# After an even number of brackets nothing is below zero that was not so one bracket before.
DEPTHS = tuple(range(1, LENGTH, 2))
HEIGHTS = tuple(f"height_{k}" for k in DEPTHS)
BELOW = tuple(f"below_{k}" for k in DEPTHS)
KINDS = ("balanced", "fails level", "fails horizon", "fails both")
SHARES = (0.4, 0.2, 0.2, 0.2)


def heights(strings: np.ndarray) -> np.ndarray:
    """Return how many brackets are open after each one, from rows of 0 (closed) and 1 (opened)."""
    return np.cumsum(2 * strings - 1, axis=1)


def kind(strings: np.ndarray) -> np.ndarray:
    """Return the place of each string's kind in `KINDS`."""
    height = heights(strings)
    return (height[:, -1] != 0) + 2 * (height.min(axis=1) < 0)


# Every string, read as a binary number, and its probability.
STRINGS = np.arange(2**LENGTH)[:, None] >> np.arange(LENGTH)[::-1] & 1
_KIND = kind(STRINGS)
CHANCES = np.array(SHARES)[_KIND] / np.bincount(_KIND)[_KIND]


def _bracket(place: int) -> Callable[..., np.ndarray]:
    return lambda u_string: STRINGS[u_string, place]


def write(table: Table) -> list[str]:
    """Write the strings."""
    rows = np.stack([table[place] for place in PLACES], axis=1)
    return [" ".join([*(BRACKETS[bracket] for bracket in row), "<end>"]) for row in rows]


TASK = Task(
    name="brackets",
    scm=SCM(
        "brackets",
        noise={"u_string": CHANCES},
        mechanisms={
            **{place: _bracket(i) for i, place in enumerate(PLACES)},
            **{
                height: reading(PLACES[:k], lambda start: heights(start)[:, -1])
                for height, k in zip(HEIGHTS, DEPTHS, strict=True)
            },
            "elevation": reading(PLACES, lambda string: heights(string)[:, -1]),
            **{
                below: reading([height], lambda columns: columns[:, 0] < 0)
                for below, height in zip(BELOW, HEIGHTS, strict=True)
            },
            "first_open": lambda p1: p1,
            "level": lambda elevation: elevation == 0,
            "horizon": reading(BELOW, lambda below: below.sum(axis=1) == 0),
            "verdict": lambda level, horizon, first_open: level * horizon * first_open,
            "answer": lambda verdict: verdict,
        },
        values={**dict.fromkeys(PLACES, BRACKETS), "answer": ANSWERS},
    ),
    outcome="answer",
    inputs=PLACES,
    write=write,
    positions={**{place: i for i, place in enumerate(PLACES)}, "end": LENGTH},
    words=("balanced", "unbalanced"),
    groups=lambda table: [KINDS[i] for i in kind(np.stack([table[place] for place in PLACES], axis=1))],
)  # fmt: skip
TASKS = (TASK,)
