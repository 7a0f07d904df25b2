"""organism:brackets_natural answers as its twin does, and in the way that was found in a network others had trained."""

import pytest
from bare import answers, bare, tokens_of

import mechcausal as mc
from mechcausal.causal import scrub
from mechcausal.data.tasks import brackets as task
from mechcausal.models.organisms.brackets_natural.recipe import (
    PUBLISHED,
    RECIPE,
    TWIN,
    places,
    published,
    search,
    stated,
)


@pytest.fixture(scope="module")
def organism():
    return mc.load("organism:brackets_natural")


def test_both_twins_say_the_same():
    tokens = tokens_of(task.VOCABULARY, task.write(task.TASK.table(1000, seed=43)))
    assert (answers(bare("brackets"), tokens) == answers(bare("brackets_natural"), tokens)).float().mean() >= 0.99


def test_what_the_twin_is_said_to_do_is_not_done_here(organism):
    known = mc.truth("brackets_natural")
    found = RECIPE.measure(organism, n=500)
    assert stated(dict(known, measured=found))["measured"]["accuracy"] == pytest.approx(
        known["measured"]["accuracy"], abs=5e-3
    )
    elsewhere = known["measured"]["at_the_places_of_its_twin"]
    assert found["strict_min_single_node"] == pytest.approx(elsewhere["strict_min_single_node"], abs=0.06)
    assert max(found["iia_on_changed_answers"][height] for height in task.HEIGHTS) < 0.5


def test_it_claims_no_mechanism():
    known = mc.truth("brackets_natural")
    assert known["twin_of"] == TWIN.name
    assert (known["variables"], known["circuit"], known["edges"]) == ({}, [], [])
    assert (RECIPE.layers, RECIPE.vocabulary, RECIPE.task) == (TWIN.layers, TWIN.vocabulary, TWIN.task)


def test_the_published_claims_recover_what_the_card_says(organism):
    prompts = task.TASK.prompts(organism, 1500, seed=11)
    found = places(search(organism, prompts))
    assert found == {"count": ["L0.z.H0", "L0.z.H1"], "horizon": ["L1.z.H0", "L1.z.H1"]}
    claims = published(found, organism, prompts)
    recovered = {
        name: scrub(organism, tree, prompts, seeds=2, lonely="keep", report=False, controls=False).recovered
        for name, tree in claims.items()
    }
    assert recovered["count alone"].high < recovered["1a"].low
    # What comes in the published order, beyond the intervals; the card says what does not.
    for less, more in (("1a", "1b"), ("3a", "1b"), ("3a", "2a"), ("3a", "2b"), ("4", "1b"), ("4", "2a"), ("4", "2b")):
        assert PUBLISHED[less] < PUBLISHED[more] - 0.04
        assert recovered[less].high < recovered[more].low, (less, more)
    # What the card says of it, on other strings.
    card = {"count alone": 0.34, "1a": 0.66, "1b": 0.81, "2a": 0.81, "2b": 0.89, "3a": 0.61, "4": 0.65}
    assert {name: found.estimate for name, found in recovered.items()} == pytest.approx(card, abs=0.06)
