"""organism:brackets_natural answers as its twin does, and not in the way its twin does."""

import pytest
from bare import answers, bare, tokens_of

import mechcausal as mc
from mechcausal.data.tasks import brackets as task
from mechcausal.models.organisms.brackets_natural.recipe import RECIPE, TWIN, stated


def test_both_twins_say_the_same():
    tokens = tokens_of(task.VOCABULARY, task.write(task.TASK.table(1000, seed=43)))
    assert (answers(bare("brackets"), tokens) == answers(bare("brackets_natural"), tokens)).float().mean() >= 0.99


def test_what_the_twin_is_said_to_do_is_not_done_here():
    known = mc.truth("brackets_natural")
    found = RECIPE.measure(mc.load("organism:brackets_natural"), n=500)
    assert stated(dict(known, measured=found))["measured"]["accuracy"] == pytest.approx(
        known["measured"]["accuracy"], abs=5e-3
    )
    elsewhere = known["measured"]["at_the_places_of_its_twin"]
    assert found["strict_min_single_node"] == pytest.approx(elsewhere["strict_min_single_node"], abs=0.06)
    assert max(found["iia_on_changed_answers"][height] for height in task.HEIGHTS) < 0.3


def test_it_claims_no_mechanism():
    known = mc.truth("brackets_natural")
    assert known["twin_of"] == TWIN.name
    assert (known["variables"], known["circuit"], known["edges"]) == ({}, [], [])
    assert (RECIPE.layers, RECIPE.vocabulary, RECIPE.task) == (TWIN.layers, TWIN.vocabulary, TWIN.task)
