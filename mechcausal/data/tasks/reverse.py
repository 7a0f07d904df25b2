"""The reverse task: say the letters backwards, one at a time, and then `end`.

    <bos> a c b rev           then  b
    <bos> a c b rev b         then  c
    <bos> a c b rev b c a     then  end

Two to four of the letters a, b, c, and any state of progress. The causal model is the algorithm: the *length* is read
off where `rev` stands, how many letters are *said* follows from it and from the *index* of the last token, the
*target* is the place of the next letter, counted from the front, and what stands there is *fetched*. So the length
acts on the target twice, directly (+1 for each letter) and through what is said (+1 again).

Mechanisms are defined everywhere: a target before the first letter fetches `end`, one behind the last letter fetches
what the text shows there (`rev` and nothing at all count as `end`).
"""

from __future__ import annotations

import numpy as np

from mechcausal.data.scm import SCM
from mechcausal.data.table import Table
from mechcausal.data.tasks.definition import Task

LETTERS = ("a", "b", "c")
ANSWERS = (*LETTERS, "end")
END = len(LETTERS)
SIZES = (2, 3, 4)
MOST = max(SIZES)
VOCABULARY = ("<pad>", "<bos>", *LETTERS, "rev", "end")
PLACES = tuple(range(1, MOST + 1))


def words(table: Table) -> list[list[str]]:
    """Return the words of each text: the letters, `rev`, and the letters said so far."""
    letters = np.stack([table[f"letter_{place}"] for place in PLACES], axis=1)
    rows = zip(letters, table["size"], table["progress"], strict=True)
    shown = [([LETTERS[i] for i in row[: SIZES[size]]], progress) for row, size, progress in rows]
    return [[*forward, "rev", *forward[::-1][:progress]] for forward, progress in shown]


def sentences(table: Table) -> list[str]:
    """Write the units as prompts."""
    return [" ".join(row) for row in words(table)]


def first_tokens(size: np.ndarray, progress: np.ndarray, letters: np.ndarray) -> np.ndarray:
    """Return what stands at places 1 to 4 of each text, [unit place]: a letter's number, END for all else."""
    length = np.asarray(SIZES)[size][:, None]
    place = np.asarray(PLACES)[None]
    # Behind `rev`, which stands at length + 1, the letters come again from the last to the first.
    origin = np.where(place <= length, place, 2 * length + 2 - place)
    shown = (place <= length) | ((place > length + 1) & (place <= length + 1 + progress[:, None]))
    letter = np.take_along_axis(letters, np.clip(origin - 1, 0, MOST - 1), axis=1)
    return np.where(shown, letter, END)


def fetch(target: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Return the token at a place counted from 1; place 0 has none."""
    return np.where(target > 0, text[np.arange(len(text)), np.maximum(target - 1, 0)], END)


def _other_letters(scm: SCM, table: Table) -> tuple[Table, Table]:
    """The letters against others, drawn at random: as many of them, and as far along."""
    names = [f"letter_{place}" for place in PLACES]
    corrupt = {name: np.roll(table[name], 1) for name in names}
    same = np.all([table[name] == corrupt[name] for name in names[: min(SIZES)]], axis=0)  # those that every text shows
    corrupt["letter_1"] = np.where(same, (table["letter_1"] + 1) % len(LETTERS), corrupt["letter_1"])
    return table, scm.counterfactual(table, **corrupt)


TASK = Task(
    name="reverse",
    scm=SCM(
        "reverse",
        noise={"u_size": 3, "u_progress": 60, "u_1": 3, "u_2": 3, "u_3": 3, "u_4": 3},
        mechanisms={
            "size": lambda u_size: u_size,
            "letter_1": lambda u_1: u_1,
            "letter_2": lambda u_2: u_2,
            "letter_3": lambda u_3: u_3,
            "letter_4": lambda u_4: u_4,
            # None to all of the letters have been said; 60 is a multiple of 3, 4 and 5.
            "progress": lambda size, u_progress: u_progress % (np.asarray(SIZES)[size] + 1),
            "text": lambda size, progress, letter_1, letter_2, letter_3, letter_4: first_tokens(
                size, progress, np.stack([letter_1, letter_2, letter_3, letter_4], axis=1)
            ),
            "index": lambda size, progress: np.asarray(SIZES)[size] + 1 + progress,
            "length": lambda size: np.asarray(SIZES)[size],
            "said": lambda index, length: np.clip(index - 1 - length, 0, MOST),
            "target": lambda length, said: np.maximum(length - said, 0),
            "fetched": fetch,
            "answer": lambda fetched: fetched,
        },
        values={
            "size": tuple(map(str, SIZES)), "letter_1": LETTERS, "letter_2": LETTERS, "letter_3": LETTERS,
            "letter_4": LETTERS, "fetched": ANSWERS, "answer": ANSWERS,
        },
    ),
    outcome="answer",
    inputs=("size", "letter_1", "letter_2", "letter_3", "letter_4", "progress"),
    write=sentences,
    positions=lambda table: {"rev": np.asarray(SIZES)[table["size"]], "end": table["index"] - 1},
    pairs={"letters": _other_letters},
)  # fmt: skip
TASKS = (TASK,)
