"""The induction task, by looking back through the words."""

import numpy as np

from mechcausal.data.tasks import induction

TASK = induction.TASK


def looked_up(words):
    """Return what followed the last word the last time it came before."""
    for at in range(len(words) - 2, -1, -1):
        if words[at] == words[-1]:
            return words[at + 1]
    return "none"


def test_the_answer_is_what_followed_the_last_time():
    table = TASK.table(2000, seed=1)
    found = [looked_up(text.split()) for text in TASK.write(table)]
    assert [induction.ANSWERS[i] for i in table["answer"]] == found
    # Independent words: none of six agrees with the last one.
    expected = (1 - 1 / len(induction.WORDS)) ** (induction.LENGTH - 1)
    assert abs(found.count("none") / len(found) - expected) < 0.04


def test_a_word_exchanged_at_its_place_is_taken_to_the_next():
    table = TASK.table(200, seed=2)
    new = (table["word_3"] + 1) % len(induction.WORDS)
    held = TASK.scm.counterfactual(table, held_3=new)
    assert np.array_equal(held["previous_4"], new)
    assert np.array_equal(held["word_3"], table["word_3"])
    taken = TASK.scm.counterfactual(table, previous_4=new)
    assert np.array_equal(taken["held_3"], table["held_3"])


def test_groups_say_how_far_back_the_match_is():
    table = TASK.table(300, seed=3)
    for text, group in zip(TASK.write(table), TASK.groups(table), strict=True):
        words = text.split()
        if group == "none":
            assert words[-1] not in words[:-1]
            continue
        back = int(group.split()[0])
        assert words[-1 - back] == words[-1]
        assert words[-1] not in words[-back:-1]
