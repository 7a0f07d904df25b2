"""Concepts: from probes, variables and labels to which prompts have what."""

from __future__ import annotations

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.links.concepts import concepts_of
from mechcausal.probes.labels import one_set


@pytest.fixture(scope="module")
def prompts(hiring):
    return one_set(mc.contrast("hiring/gender", hiring, 20))


def test_pairs_differ_in_a_concept_or_not(prompts):
    (gender,) = concepts_of("gender", prompts)
    assert gender.differs == 1
    assert gender.blocked is None
    (same,) = concepts_of({"first": np.tile(np.arange(20) % 2, 2)}, prompts)
    assert same.differs == 0
    assert "differ in first never" in same.blocked.why


def test_a_concept_with_three_values_becomes_three(prompts):
    values = np.array(["a", "b", "c", "a"] * 5 + ["b", "c", "a", "c"] * 5)
    made = concepts_of({"kind": values}, prompts)
    assert [concept.name for concept in made] == ["kind a", "kind b", "kind c"]
    for concept, word in zip(made, "abc", strict=True):
        assert concept.labels.tolist() == (values == word).astype(int).tolist()
        both = (values[:20] == word).astype(int) - (values[20:] == word)
        assert concept.sides.tolist() == both.tolist()
        assert concept.judged(np.arange(20)).tolist() == np.flatnonzero(both).tolist()


def test_prompts_without_a_label_are_left_out(prompts):
    values = [None, *[0, 1] * 19, 1]
    (concept,) = concepts_of({"some": values}, prompts)
    assert concept.labelled.tolist() == [False] + [True] * 39


def test_too_many_values_and_a_name_given_twice_are_refused(prompts):
    with pytest.raises(DataError, match=r"too many values.*at most 8"):
        concepts_of({"many": np.arange(40) % 10}, prompts)
    with pytest.raises(DataError, match="given twice"):
        concepts_of(["gender", {"gender": np.arange(40) % 2}], prompts)
