"""The biographies by hand: the network computes its formula, and the population is what it is said to be."""

import numpy as np
import pytest

from mechcausal import audit
from mechcausal.audits.selftest.biographies import BAYES, ROYAL, draw, model, odds, population, royals


def test_the_network_computes_its_formula():
    people = draw(40, seed=1)
    pairs = people.pairs(people.changed(he=~people.he), "gender")
    found = audit.Desk(model(), {}, quiet=True).outcomes(pairs.clean)
    np.testing.assert_allclose(found, odds(people), atol=1e-4)


def test_of_king_and_queen_the_pronoun_says_all():
    found = audit.Desk(model(), {}, quiet=True).outcomes(royals(8))
    np.testing.assert_allclose(found, ROYAL, atol=1e-4)


def test_the_population_is_balanced():
    people = population()
    groups = list(zip(people.he, people.senior, strict=True))
    assert {groups.count(group) for group in set(groups)} == {50}
    right = np.mean((odds(people, 0) > 0) == people.senior)
    assert right == pytest.approx(BAYES, abs=0.005)
