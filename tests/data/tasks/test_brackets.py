"""The brackets task against a parser that pushes and pops, over every string there is."""

import itertools

import numpy as np
import pytest

from mechcausal.data.tasks import brackets

SCM = brackets.TASK.scm


def parsed(text):
    """Return (never closed too early, all closed in the end), with a stack."""
    stack, early = [], False
    for bracket in text:
        if bracket == "(":
            stack.append(bracket)
        elif stack:
            stack.pop()
        else:
            early = True
    return not early, not stack


@pytest.fixture(scope="module")
def every():
    table = SCM.solve({"u_string": np.arange(2**brackets.LENGTH)})
    return table, [text.removesuffix(" <end>").split() for text in brackets.write(table)]


def test_every_string_occurs_once(every):
    assert {tuple(text) for text in every[1]} == set(itertools.product("()", repeat=brackets.LENGTH))


def test_the_verdict_is_the_parsers(every):
    table, texts = every
    balanced = [all(parsed(text)) for text in texts]
    assert np.array_equal(table["verdict"] == 1, balanced)
    assert np.array_equal(table["answer"] == 1, balanced)
    # The Catalan numbers count balanced strings.
    assert sum(balanced) == {8: 14, 10: 42, 12: 132}[brackets.LENGTH]


def test_each_test_is_what_it_is_said_to_be(every):
    table, texts = every
    assert np.array_equal(table["horizon"] == 1, [parsed(text)[0] for text in texts])
    assert np.array_equal(table["level"] == 1, [text.count("(") == text.count(")") for text in texts])
    assert np.array_equal(table["elevation"], [text.count("(") - text.count(")") for text in texts])
    assert np.array_equal(table["first_open"] == 1, [text[0] == "(" for text in texts])
    for k in brackets.DEPTHS:
        assert np.array_equal(table[f"height_{k}"], [text[:k].count("(") - text[:k].count(")") for text in texts])


def test_kinds_are_as_frequent_as_said():
    def share(level, horizon):
        return SCM.expectation(lambda table: (table["level"] == level) & (table["horizon"] == horizon))

    assert [share(1, 1), share(0, 1), share(1, 0), share(0, 0)] == pytest.approx(brackets.SHARES)


def test_no_string_passes_the_horizon_with_a_closed_first_bracket_but_the_test_counts():
    table = SCM.sample(500, seed=1)
    assert not ((table["horizon"] == 1) & (table["first_open"] == 0)).any()
    balanced = {name: column[table["answer"] == 1] for name, column in table.items()}
    assert (SCM.counterfactual(balanced, first_open=0)["answer"] == 0).all()
