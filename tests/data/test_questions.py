"""Questions: their names, and pairs that are added to one."""

from __future__ import annotations

import numpy as np

import mechcausal as mc
from mechcausal.address import Selection
from mechcausal.data.questions import Labels, Question


def asked(model, **more):
    prompts = mc.task("hiring").prompts(model, 8)
    labels = Labels("gender", np.arange(8) % 2, ("he", "she"))
    return Question("fairness", "protected attribute", labels, prompts, Selection.parse("@decision"), **more)


def test_the_name_is_the_suite_and_the_concept_or_where_it_is_read(hiring):
    assert asked(hiring).name == "gender@decision"
    assert asked(hiring, suite="hiring/fairness").name == "hiring/fairness/gender"
    assert asked(hiring).concept == "gender"


def test_pairs_are_added_to_a_question(hiring):
    pairs = mc.contrast("hiring/gender", hiring, 4)
    question = asked(hiring)
    assert question.pairs is None
    more = question.on(pairs, generalize="texts")
    assert (more.pairs, more.generalize, more.labels) == (pairs, "texts", question.labels)
    assert question.generalize == "clusters"


def test_labels_of_tokens_have_two_axes():
    assert Labels("pii", np.zeros((2, 3), dtype=int), ("a", "b")).of_tokens
    assert not Labels("pii", np.zeros(2, dtype=int), ("a", "b")).of_tokens
