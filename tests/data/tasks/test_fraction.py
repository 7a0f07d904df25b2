"""The fraction task against counting the letters of its texts."""

from fractions import Fraction

from mechcausal.data.tasks.fraction import SHARES, TASK, VOCABULARY


def test_the_answer_is_the_share_of_the_letters():
    table = TASK.table(500, seed=0, environment="broad")
    for text, answer in zip(TASK.write(table), table["answer"], strict=True):
        *letters, ask = text.split()
        assert ask == "ask"
        seen = [letter for letter in letters if letter != "-"]
        expected = Fraction(seen.count("x"), len(seen)) if seen else Fraction(0)
        assert SHARES[answer] == expected
        assert TASK.answers[answer] == str(expected)
        assert set(text.split()) <= set(VOCABULARY)
