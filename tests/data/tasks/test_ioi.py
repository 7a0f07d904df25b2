"""The story task, read back from its texts."""

from collections import Counter

import numpy as np

from mechcausal.data.tasks import ioi, task

TASK = ioi.TASK


def names_in(text):
    return [word for word in text.split() if word in ioi.NAMES]


def test_the_answer_is_the_name_that_comes_once():
    table = TASK.table(400, seed=1)
    for text, answer in zip(TASK.write(table), table["answer"], strict=True):
        counted = Counter(names_in(text))
        assert sorted(counted.values()) == [1, 2]
        assert counted[ioi.NAMES[answer]] == 1


def test_positions_name_the_words_they_say():
    table = TASK.table(50, seed=2)
    for row, text in enumerate(TASK.write(table)):
        words = text.split()
        for name in ("first", "second", "third"):
            assert words[TASK.positions[name]] == ioi.NAMES[table[name][row]]
        assert words[TASK.positions["place"]] == ioi.SHOPS[table["place"][row]]
        assert words[TASK.positions["thing"]] == ioi.THINGS[table["thing"][row]]
        assert len(words) == TASK.positions["end"] + 1


def test_a_name_exchanged_at_its_place_alone_moves_what_reads_it_there():
    table = TASK.table(300, seed=3)
    new = (table["third"] + 5) % len(ioi.NAMES)
    changed = TASK.scm.counterfactual(table, held_third=new)
    assert np.array_equal(changed["answer"], np.where(new == table["second"], table["first"], table["second"]))
    assert np.array_equal(TASK.scm.counterfactual(table, held_first=new)["third"], table["third"])


def test_every_word_has_a_token():
    known = set(ioi.VOCABULARY)
    assert len(known) == len(ioi.VOCABULARY)
    assert {word for text in TASK.write(TASK.table(300)) for word in text.split()} <= known


def test_the_order_contrast_swaps_the_names_and_keeps_the_answer():
    assert task("ioi") is TASK
    table = TASK.table(100, seed=4)
    clean, corrupt = TASK.pairs["order"](TASK.scm, table)
    for one, other in zip(TASK.write(clean), TASK.write(corrupt), strict=True):
        assert names_in(one) == [names_in(other)[i] for i in (1, 0, 2)]
    assert np.array_equal(clean["answer"], corrupt["answer"])
    assert (clean["repeated"] != corrupt["repeated"]).all()
