"""The by-hand task: its formula in numbers written down, and pairs that change one word."""

import numpy as np
import pytest

from mechcausal.data.tasks import by_hand as task


@pytest.mark.parametrize(("g", "s", "expected"), [(-1, -1, -1.7), (-1, 1, -0.9), (1, -1, 0.9), (1, 1, 2.6)])
def test_the_formula(g, s, expected):
    assert task.log_odds(g, s) == pytest.approx(expected)


def test_the_causal_model_is_the_formula():
    table, chances = task.TASK.scm.enumerate()
    assert chances == pytest.approx(np.full(4, 0.25))
    expected = [task.log_odds(2 * g - 1, 2 * s - 1) for g, s in zip(table["gender"], table["level"], strict=True)]
    assert table["log_odds"] == pytest.approx(np.array(expected))
    assert [task.TASK.answers[i] for i in table["answer"]] == ["yes" if odds > 0 else "no" for odds in expected]


@pytest.mark.parametrize(
    ("name", "word", "clean", "corrupt"), [("gender", 0, "he", "she"), ("level", 1, "high", "low")]
)
def test_each_contrast_changes_one_word(by_hand, name, word, clean, corrupt):
    pairs = task.TASK.contrast(by_hand, name, 40)
    for one, other in zip(pairs.clean.texts, pairs.corrupt.texts, strict=True):
        a, b = one.split(), other.split()
        assert (a[word], b[word]) == (clean, corrupt)
        assert a[:word] + a[word + 1 :] == b[:word] + b[word + 1 :]
    assert len(set(pairs.clean.texts)) == 2


@pytest.mark.parametrize("name", ["gender", "level"])
def test_positions_name_their_words_and_draws_follow_the_seed(by_hand, name):
    pairs = task.TASK.contrast(by_hand, name, 40, seed=3)
    for side in (pairs.clean, pairs.corrupt):
        for row, text in enumerate(side.texts):
            words = ["<bos>", *text.split()]
            assert words[side.positions["gender"][row]] in task.GENDERS
            assert words[side.positions["level"][row]] in task.LEVELS
            assert side.positions["end"][row] == len(words) - 1
    assert pairs.hash == task.TASK.contrast(by_hand, name, 40, seed=3).hash
    assert pairs.hash != task.TASK.contrast(by_hand, name, 40, seed=4).hash
