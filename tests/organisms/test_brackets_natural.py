"""organism:brackets_natural answers as its twin does, and in the way that was found in a network others had trained."""

import numpy as np
import pytest
from bare import answers, bare, tokens_of

import mechcausal as mc
from mechcausal.causal import scrub
from mechcausal.data.tasks import brackets as task
from mechcausal.recipes.brackets_natural import (
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


@pytest.mark.slow
def test_the_published_claims_come_in_the_published_order(organism):
    prompts = task.TASK.prompts(organism, 2000, seed=7)
    found = places(search(organism, prompts))
    assert found == {"count": ["L0.z.H0", "L0.z.H1"], "horizon": ["L1.z.H0", "L1.z.H1", "L2.z.H1"]}
    claims = published(found, organism, prompts)
    recovered = {
        name: scrub(organism, prompts, tree, lonely="keep", report=False, controls=False).recovered
        for name, tree in claims.items()
    }
    assert recovered["count alone"].high < min(recovered[name].low for name in PUBLISHED)
    apart = [(less, more) for less in PUBLISHED for more in PUBLISHED if PUBLISHED[less] < PUBLISHED[more] - 0.04]
    for less, more in apart:  # never the other way round
        assert recovered[less].low < recovered[more].high, (less, more)
    level = {pair for pair in apart if recovered[pair[0]].high >= recovered[pair[1]].low}
    assert level == {("2a", "1b"), ("3a", "2b")}  # as the card says
    assert {name: recovered[name].estimate for name in PUBLISHED} == pytest.approx(PUBLISHED, abs=0.15)
    card = {"count alone": 0.34, "1a": 0.78, "1b": 0.88, "2a": 0.88, "2b": 0.71, "3a": 0.70, "3b": 0.63, "4": 0.50}
    assert {name: recovered[name].estimate for name in card} == pytest.approx(card, abs=0.005)


def test_an_estimate_along_a_line_is_that_line(organism):
    prompts = task.TASK.prompts(organism, 300, seed=3)
    elevation = prompts.variables["elevation"]
    claims = published(places(search(organism, prompts)), organism, prompts)
    node = claims["2b"].find("elevation in L0.z.H0@end")
    told = node.estimate(prompts)
    slope, start = np.polyfit(elevation, values_at(organism, prompts, 0, 0), 1)
    np.testing.assert_allclose(told[:, 0], elevation[:, None] * slope + start, atol=1e-5)


def values_at(organism, prompts, layer, head):
    """Return what a head gives at the end, read through the network's own hook."""
    name = f"blocks.{layer}.attn.hook_z"
    _, kept = organism.run_with_cache(prompts.tokens, names_filter=name)
    return kept[name][:, -1, head].detach().numpy()
