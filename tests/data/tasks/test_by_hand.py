"""The by-hand task: its formula in numbers written down, and pairs that change one word."""

import pytest

from mechcausal.data.tasks import by_hand


@pytest.mark.parametrize(("g", "s", "expected"), [(-1, -1, -1.7), (-1, 1, -0.9), (1, -1, 0.9), (1, 1, 2.6)])
def test_the_formula(g, s, expected):
    assert by_hand.log_odds(g, s) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "word", "clean", "corrupt"), [("gender", 0, "he", "she"), ("level", 1, "high", "low")]
)
def test_each_contrast_changes_one_word(name, word, clean, corrupt):
    rows = by_hand.CONTRASTS[name](40, 0)
    for one, other in zip(rows["clean"], rows["corrupt"], strict=True):
        a, b = one.split(), other.split()
        assert (a[word], b[word]) == (clean, corrupt)
        assert a[:word] + a[word + 1 :] == b[:word] + b[word + 1 :]
    assert len(set(rows["clean"])) == 2


@pytest.mark.parametrize("name", list(by_hand.CONTRASTS))
def test_positions_name_their_words_and_draws_follow_the_seed(name):
    rows = by_hand.CONTRASTS[name](40, 3)
    for text in rows["clean"] + rows["corrupt"]:
        words = text.split()
        assert words[rows["positions"]["gender"]] in by_hand.GENDERS
        assert words[rows["positions"]["level"]] in by_hand.LEVELS
        assert rows["positions"]["end"] == len(words) - 1
    assert rows == by_hand.CONTRASTS[name](40, 3)
    assert rows["clean"] != by_hand.CONTRASTS[name](40, 4)["clean"]
