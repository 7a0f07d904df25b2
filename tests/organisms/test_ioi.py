"""organism:ioi is what its truth says, by plain hooks on stories and by the package's own methods."""

from dataclasses import replace

import numpy as np
import pytest
from bare import answers, bare, tokens_of

import mechcausal as mc
from mechcausal.causal import Hypothesis, scrub
from mechcausal.causal.scrubbing.tree import tree_of
from mechcausal.data.tasks import ioi as task
from mechcausal.recipes.ioi import RECIPE

WORD = dict(enumerate(task.VOCABULARY))
COLUMN = {name: place + 1 for name, place in task.TASK.positions.items()}


@pytest.fixture(scope="module")
def organism():
    return mc.load("organism:ioi")


@pytest.fixture(scope="module")
def stories():
    return task.write(task.TASK.table(800, seed=41))


def names(text):
    return [word for word in text.split() if word in task.NAMES]


@pytest.mark.slow
def test_it_measures_what_is_stated(organism):
    stated = mc.truth("ioi")["measured"]
    found = RECIPE.measure(organism, n=500)
    assert found["accuracy"] == pytest.approx(stated["accuracy"], abs=5e-3)
    assert found["iia_on_changed_answers"] == pytest.approx(stated["iia_on_changed_answers"], abs=0.03)
    assert min(stated["accuracy"], *stated["iia_on_changed_answers"].values()) >= 0.98
    assert stated["strict_min_single_node"] >= 0.98


def test_it_names_whoever_comes_once(stories):
    said = answers(bare("ioi"), tokens_of(task.VOCABULARY, stories)).tolist()
    right = [names(text).count(WORD[one]) == 1 for one, text in zip(said, stories, strict=True)]
    assert np.mean(right) >= 0.99


@pytest.mark.parametrize(("site", "at"), [("L0.z.H0", "third"), ("L1.z.H1", "end")])
def test_the_name_to_avoid_by_plain_hooks(stories, site, at):
    """From a story about others, either head says whether it was the first or the second who came again."""
    base, source = stories[:400], stories[400:]
    tokens = [tokens_of(task.VOCABULARY, some) for some in (base, source)]
    said = answers(bare("ioi"), tokens[0], [(site, COLUMN[at])], tokens[1]).tolist()
    second = [names(text)[2] == names(text)[1] for text in source]
    right = [names(text)[0 if other else 1] for text, other in zip(base, second, strict=True)]
    assert np.mean([WORD[one] == name for one, name in zip(said, right, strict=True)]) >= 0.98


def test_the_name_mover_by_plain_hooks(stories):
    base, source = stories[:400], stories[400:]
    tokens = [tokens_of(task.VOCABULARY, some) for some in (base, source)]
    said = answers(bare("ioi"), tokens[0], [("L2.z.H2", COLUMN["end"])], tokens[1]).tolist()
    assert np.mean([names(text).count(WORD[one]) == 1 for one, text in zip(said, source, strict=True)]) >= 0.98


@pytest.mark.slow
def test_scrubbing_tells_which_head_avoids(organism):
    prompts = task.TASK.prompts(organism, 400, seed=7)
    about = Hypothesis.of("ioi")
    shares = [
        scrub(organism, prompts, tree_of(one), lonely="keep", report=False, controls=False, seeds=1).recovered.estimate
        for one in (about, about.moved("avoided", "L1.z.H3@end"))
    ]
    assert shares[0] >= 0.97
    assert shares[1] < 0.7


@pytest.mark.slow
def test_the_recipe_learns():
    model = RECIPE.new_model(3)
    short = replace(RECIPE, pool=400, batch=48, steps=24)
    history = short.teach(model, every=12, progress=False).history
    loss = history.loc[history["measure"] == "loss", "value"].tolist()
    assert loss[-1] < loss[0]
