"""The fraction task: which share of the letters is an x.

    <bos> x a - x ask         then  2/3
    <bos> - - - - ask         then  0

Four places, each with `x`, another letter, or nothing (`-`). The causal model: a place is a *hit* if it holds an x, it
is *seen* if it holds a letter, the *share* is the mean of the hits over the places seen (0 if none is), and its *word*
is the answer. A token so acts on the share along two paths that do not add up: by what it is, and by being looked at.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from mechcausal.data.scm import SCM
from mechcausal.data.table import Table
from mechcausal.data.tasks.definition import Task

TOKENS = ("-", "x", "a", "b")
NOTHING, X = 0, 1
PLACES = (1, 2, 3, 4)
SHARES = tuple(sorted({Fraction(hits, seen) for seen in PLACES for hits in range(seen + 1)}))
ANSWERS = tuple(map(str, SHARES))
VOCABULARY = ("<pad>", "<bos>", *TOKENS, "ask", *ANSWERS)


def sentences(table: Table) -> list[str]:
    """Write the units as prompts."""
    columns = (table[f"token_{place}"] for place in PLACES)
    return [" ".join([*(TOKENS[i] for i in row), "ask"]) for row in zip(*columns, strict=True)]


def share(
    hit_1: np.ndarray, hit_2: np.ndarray, hit_3: np.ndarray, hit_4: np.ndarray,
    seen_1: np.ndarray, seen_2: np.ndarray, seen_3: np.ndarray, seen_4: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the mean of the hits over the places seen; a hit that is not seen does not count."""
    counted = hit_1 * seen_1 + hit_2 * seen_2 + hit_3 * seen_3 + hit_4 * seen_4
    return counted / np.maximum(seen_1 + seen_2 + seen_3 + seen_4, 1)


def word(share: np.ndarray) -> np.ndarray:
    """Return the number of the word of a share."""
    return np.abs(np.asarray(share)[..., None] - np.array(SHARES, dtype=float)).argmin(-1)


def _other_letters(scm: SCM, table: Table) -> tuple[Table, Table]:
    """Four letters against four others, drawn at random: what is looked at stays, what is there changes."""
    clean = {f"token_{place}": np.maximum(table[f"token_{place}"], X) for place in PLACES}
    corrupt = {name: np.roll(column, 1) for name, column in clean.items()}
    same = np.all([clean[name] == corrupt[name] for name in clean], axis=0)
    corrupt["token_1"] = np.where(same, 1 + clean["token_1"] % (len(TOKENS) - 1), corrupt["token_1"])
    return scm.counterfactual(table, **clean), scm.counterfactual(table, **corrupt)


TASK = Task(
    name="fraction",
    scm=SCM(
        "fraction",
        noise={"u_1": 4, "u_2": 4, "u_3": 4, "u_4": 4},
        mechanisms={
            "token_1": lambda u_1: u_1,
            "token_2": lambda u_2: u_2,
            "token_3": lambda u_3: u_3,
            "token_4": lambda u_4: u_4,
            "hit_1": lambda token_1: token_1 == X,
            "hit_2": lambda token_2: token_2 == X,
            "hit_3": lambda token_3: token_3 == X,
            "hit_4": lambda token_4: token_4 == X,
            "seen_1": lambda token_1: token_1 != NOTHING,
            "seen_2": lambda token_2: token_2 != NOTHING,
            "seen_3": lambda token_3: token_3 != NOTHING,
            "seen_4": lambda token_4: token_4 != NOTHING,
            "share": share,
            "word": word,
            "answer": lambda word: word,
        },
        values={f"token_{place}": TOKENS for place in PLACES} | {"word": ANSWERS, "answer": ANSWERS},
    ),
    outcome="answer",
    inputs=("token_1", "token_2", "token_3", "token_4"),
    write=sentences,
    positions={"first": 0, "second": 1, "third": 2, "fourth": 3, "end": 4},
    pairs={"letters": _other_letters},
)
TASKS = (TASK,)
