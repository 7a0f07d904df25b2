"""The rows behind a number, against columns by hand."""

from __future__ import annotations

import numpy as np

import mechcausal as mc
from mechcausal.audits.examples import largest, of_pairs, of_prompts


def test_the_largest_come_first_and_what_is_unknown_last():
    assert largest(np.array([0.1, np.nan, -3.0, 2.0]), 10) == [2, 3, 0, 1]
    assert largest(np.array([1.0, 2.0, 3.0]), 2) == [2, 1]


def test_rows_hold_texts_and_plain_numbers(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    by = np.array([0.0, 3.0, -4.0, 1.0])
    rows = of_pairs(by_hand, pairs, {"shift": by, "word": ["a", "b", "c", "d"]}, by, most=2)
    assert [(row["pair"], row["shift"], row["word"]) for row in rows] == [(2, -4.0, "c"), (1, 3.0, "b")]
    assert type(rows[0]["shift"]) is float
    assert rows[0]["clean"] == pairs.clean.texts[2]
    some = of_prompts(by_hand, pairs.corrupt.take([3, 1]), {"x": by[[3, 1]]}, by[[3, 1]], rows=[3, 1])
    assert [(row["prompt"], row["text"], row["x"]) for row in some] == [
        (1, pairs.corrupt.texts[1], 3.0), (3, pairs.corrupt.texts[3], 1.0)
    ]  # fmt: skip
