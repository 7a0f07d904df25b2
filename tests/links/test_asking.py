"""Questions that ship with pairs, and how a link answers one."""

from __future__ import annotations

import pytest

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.links.asking import answer, questions

QUICK = {"redrawn": 0, "details": 0, "random": 0}


def test_what_ships(hiring):
    asked = questions("hiring/fairness", hiring, 16)
    assert [question.name for question in asked] == ["hiring/fairness/gender", "hiring/fairness/proxy"]
    assert all(len(question.pairs) == 16 and len(question.neutral) == 64 for question in asked)
    (alone,) = questions("hiring/privacy/name", hiring, 16)
    assert (alone.generalize, alone.smallest_association) == ("texts", 0.1)
    assert "eight people are fixed" in alone.note
    with pytest.raises(DataError, match="no pairs ship"):
        questions("hirring", hiring)


def test_a_question_is_asked_as_it_says(hiring):
    (question,) = questions("hiring/fairness/gender", hiring, 48)
    links = answer(hiring, question, "L1.z.H*", **QUICK)
    assert set(links.verdicts["causal"]) == {"L1.z.H1", "L1.z.H2"}
    asked = links.provenance.arguments
    assert (asked["read_at"], asked["generalize"]) == (str(question.at), "clusters")
    assert asked["also"] == [other.concept for other in question.also]
    changed = answer(hiring, question, "L1.z.H2", **QUICK, smallest_association=0.2)
    assert changed.provenance.arguments["smallest_association"] == 0.2


def test_a_question_without_pairs_is_refused(hiring):
    (question,) = mc.features.suite("hiring/fairness", hiring, 40).questions[:1]
    with pytest.raises(DataError, match="has no pairs"):
        answer(hiring, question, "z")
