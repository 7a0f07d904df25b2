"""organism:induction is what its truth says: two heads, one that looks a word back and one that matches."""

from dataclasses import replace

import numpy as np
import pytest
from bare import answers, bare, tokens_of

import mechcausal as mc
from mechcausal.causal import Hypothesis, scrub
from mechcausal.causal.scrubbing.tree import tree_of
from mechcausal.data.tasks import induction as task
from mechcausal.recipes.induction import RECIPE

WORD = dict(enumerate(task.VOCABULARY))


@pytest.fixture(scope="module")
def organism():
    return mc.load("organism:induction")


@pytest.fixture(scope="module")
def texts():
    return task.write(task.TASK.table(600, seed=41))


def followed(words, before):
    """Return the latest word whose `before` is the last word."""
    return next((word for word, one in zip(words[:0:-1], before[::-1], strict=True) if one == words[-1]), "none")


def test_it_measures_what_is_stated(organism):
    stated = mc.truth("induction")["measured"]
    found = RECIPE.measure(organism, n=500)
    assert found["accuracy"] == pytest.approx(stated["accuracy"], abs=5e-3)
    assert found["iia_on_changed_answers"] == pytest.approx(stated["iia_on_changed_answers"], abs=0.03)
    assert min(stated["accuracy"], *stated["iia_on_changed_answers"].values()) >= 0.98
    assert stated["strict_min_single_node"] >= 0.98


def test_it_says_what_followed(texts):
    words = [text.split() for text in texts]
    said = answers(bare("induction"), tokens_of(task.VOCABULARY, texts)).tolist()
    right = [WORD[one] == followed(row, row[:-1]) for one, row in zip(said, words, strict=True)]
    assert np.mean(right) >= 0.99


@pytest.mark.parametrize("place", [3, 5, 7])
def test_a_word_carried_to_the_next_place_by_plain_hooks(texts, place):
    base, source = texts[:300], texts[300:]
    tokens = [tokens_of(task.VOCABULARY, some) for some in (base, source)]
    said = answers(bare("induction"), tokens[0], [("L0.z.H0", place)], tokens[1]).tolist()
    hits, changed = [], []
    for one, own, other in zip(said, base, source, strict=True):
        words, before = own.split(), own.split()[:-1]
        plain = followed(words, before)
        before[place - 2] = other.split()[place - 2]
        hits.append(WORD[one] == followed(words, before))
        changed.append(plain != followed(words, before))
    assert sum(changed) > 20
    assert np.mean(np.array(hits)[changed]) >= 0.98


@pytest.mark.slow
def test_scrubbing_tells_the_head_that_looks_back_from_its_neighbors(organism):
    prompts = task.TASK.prompts(organism, 400, seed=7)
    about = Hypothesis.of("induction")

    def recovered(hypothesis):
        found = scrub(organism, prompts, tree_of(hypothesis), lonely="keep", report=False, controls=False, seeds=1)
        return found.recovered.estimate

    elsewhere = about.replaced(
        alignment={
            variable: f"L0.z.H2@word_{variable.removeprefix('previous_')}" if variable in task.PREVIOUS else parts
            for variable, parts in about.alignment.items()
        }
    )
    assert recovered(about) >= 0.97
    assert recovered(elsewhere) < 0.6


@pytest.mark.slow
def test_the_recipe_learns():
    model = RECIPE.new_model(3)
    short = replace(RECIPE, pool=1000, batch=64, steps=120)
    history = short.teach(model, every=40, progress=False).history
    loss = history.loc[history["measure"] == "loss", "value"].tolist()
    assert loss[-1] < loss[0]
