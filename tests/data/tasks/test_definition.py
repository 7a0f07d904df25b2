"""A task draws prompts and pairs from its causal model, with the columns it declares."""

from dataclasses import replace

import pytest

import mechcausal as mc
from mechcausal.data.scm import SCM
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import ArgumentError, DataError

TASK = mc.task("by_hand")


def test_prompts_carry_the_columns_that_the_task_declares(by_hand):
    told = replace(
        TASK,
        groups=lambda table: [str(i % 2) for i in range(len(table["level"]))],
        clusters=lambda table: ["one"] * len(table["level"]),
    )
    prompts = told.prompts(by_hand, 6, seed=1, environment="broad")
    assert prompts.groups == ("0", "1") * 3
    assert prompts.clusters == ("one",) * 6
    assert prompts.environments == ("broad",) * 6
    plain = replace(TASK, groups=None, clusters=None).prompts(by_hand, 3)
    assert plain.groups == ()
    assert len(set(plain.clusters)) == 3


def test_pairs_differ_in_the_variable_and_carry_the_same_columns(by_hand):
    pairs = TASK.contrast(by_hand, "gender", 12, seed=3, environment="broad")
    clean, corrupt = pairs.clean, pairs.corrupt
    assert bool((clean.variables["gender"] != corrupt.variables["gender"]).all())
    assert clean.clusters == corrupt.clusters
    assert clean.groups == corrupt.groups
    assert clean.environments == ("broad",) * 12
    assert bool((clean.answer != clean.foil).all())


def test_what_a_task_does_not_have_is_refused():
    with pytest.raises(DataError, match="no environment 'braod': did you mean 'broad'"):
        TASK.table(3, environment="braod")
    with pytest.raises(ArgumentError, match="at least 1 and at most 1,000,000"):
        TASK.table(0)
    scm = SCM("x", noise={"u": 2}, mechanisms={"a": lambda u: u})
    with pytest.raises(DataError, match="'a' have no words"):
        Task("x", scm, outcome="a", inputs=("a",), write=lambda table: [])
