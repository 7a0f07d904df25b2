"""organism:bios is what its truth says: the pronoun acts through one head, whatever the environment."""

from dataclasses import replace

import numpy as np
import pytest
from bare import answers, bare, tokens_of

import mechcausal as mc
from mechcausal.causal import Hypothesis, scrub
from mechcausal.causal.scrubbing.tree import tree_of
from mechcausal.data.tasks import bios as task
from mechcausal.recipes.bios import RECIPE

WORD = dict(enumerate(task.VOCABULARY))
JOB = task.TASK.positions["job"] + 1


@pytest.fixture(scope="module")
def organism():
    return mc.load("organism:bios")


def guessed(words, *, he):
    """Return the profession by counting words."""
    points = sum(known.index(word) // 2 - 1 for known, word in ((task.DUTIES, words[8]), (task.DEGREES, words[13])))
    senior = 2 * points + (3 if he else -3) > 0
    return task.PROFESSIONS[2 * (task.WORKPLACES.index(words[6]) // 2) + senior]


def test_it_measures_what_is_stated(organism):
    stated = mc.truth("bios")["measured"]
    found = RECIPE.measure(organism, n=500)
    assert found["accuracy"] == pytest.approx(stated["accuracy"], abs=5e-3)
    assert found["iia_on_changed_answers"] == pytest.approx(stated["iia_on_changed_answers"], abs=0.03)
    assert min(stated["accuracy"], *stated["iia_on_changed_answers"].values()) >= 0.98
    assert stated["strict_min_single_node"] >= 0.98


@pytest.mark.parametrize("environment", [None, "balanced", "flipped"])
def test_it_is_as_often_right_as_its_causal_model(environment):
    table = task.TASK.table(1500, seed=5, environment=environment)
    said = answers(bare("bios"), tokens_of(task.VOCABULARY, task.write(table))).tolist()
    right = np.mean([WORD[one] == task.PROFESSIONS[true] for one, true in zip(said, table["profession"], strict=True)])
    sampled = np.mean(table["answer"] == table["profession"])
    assert right == pytest.approx(sampled, abs=0.005)
    assert right == pytest.approx(task.accuracy(environment), abs=0.04)


def test_the_pronouns_head_by_plain_hooks():
    texts = task.write(task.TASK.table(600, seed=6, environment="broad"))
    base, source = texts[:300], texts[300:]
    tokens = [tokens_of(task.VOCABULARY, some) for some in (base, source)]
    said = answers(bare("bios"), tokens[0], [("L1.z.H2", JOB)], tokens[1]).tolist()
    expected = [guessed(own.split(), he=other.startswith("he")) for own, other in zip(base, source, strict=True)]
    plain = [guessed(own.split(), he=own.startswith("he")) for own in base]
    hits = np.array([WORD[one] == word for one, word in zip(said, expected, strict=True)])
    changed = np.array(expected) != plain
    assert changed.sum() > 30
    assert hits[changed].mean() >= 0.98
    assert hits.mean() >= 0.99


@pytest.mark.slow
def test_scrubbing_finds_the_pronoun_left_out(organism):
    prompts = task.TASK.prompts(organism, 400, seed=7, environment="broad")
    tree = tree_of(Hypothesis.of("bios"))
    shares = [
        scrub(organism, prompts, one, lonely="keep", report=False, controls=False, seeds=1).recovered.estimate
        for one in (tree, tree.dropped("stereotype"))
    ]
    assert shares[0] >= 0.97
    assert shares[1] < 0.8


@pytest.mark.slow
def test_the_recipe_learns():
    model = RECIPE.new_model(3)
    short = replace(RECIPE, pool=400, batch=48, steps=24)
    history = short.teach(model, every=12, progress=False).history
    loss = history.loc[history["measure"] == "loss", "value"].tolist()
    assert loss[-1] < loss[0]
