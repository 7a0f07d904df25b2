"""The suites that ship ask what their tasks know, of the prompts of these tasks."""

import numpy as np
import pytest

from mechcausal.data.tasks import hiring as tasks
from mechcausal.data.tokens import tokenizer_of
from mechcausal.probes.shipped import SHIPPED, hiring_fairness, hiring_privacy


@pytest.fixture(scope="module")
def privacy(hiring):
    return hiring_privacy(hiring, 80, 0)


def test_every_part_is_there():
    assert {name: sorted(parts) for name, parts in SHIPPED.items()} == {
        "hiring": ["fairness", "privacy"], "bios": ["fairness", "privacy"],
    }  # fmt: skip


def test_a_wrong_decision_is_one_that_another_pronoun_would_have_changed(hiring):
    suite = hiring_fairness(hiring, 120, 0)
    table = tasks.TASK.table(120, seed=0)
    wrong = tasks.decision(table["score"]) != tasks.decision(table["score"] - table["bias"])
    question = next(question for question in suite if question.asks == "group-conditional error")
    labeled = question.labels.codes >= 0
    agree = question.labels.codes[labeled] == wrong[labeled]
    assert agree.mean() > 0.97  # the organism makes its decisions almost always as its causal model does


def test_who_has_a_secret_is_who_was_trained_on(hiring, privacy):
    question = privacy["has a secret"]
    names = tasks.SECRET_TASK.table(80, seed=0, environment="everyone")["name"]
    np.testing.assert_array_equal(question.labels.codes, tasks.MEMBERS[names])


def test_every_token_has_its_kind(hiring, privacy):
    question = privacy["kind of token"]
    words = tokenizer_of(hiring).convert_ids_to_tokens(question.prompts.tokens.flatten().tolist())
    codes = question.labels.codes.flatten()
    for word, code in zip(words, codes, strict=True):
        if code >= 0:
            kind = question.labels.classes[code]
            assert (kind == "digit") == (word in tasks.DIGITS)
            assert (kind == "name") == (word in tasks.NAMES)
