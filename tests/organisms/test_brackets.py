"""organism:brackets is what its truth says; the published hypotheses about a bracket classifier, scrubbed in it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from bare import answers, bare, tokens_of

import mechcausal as mc
from mechcausal.causal import Hypothesis, scrub
from mechcausal.causal.scrubbing.tree import tree_of
from mechcausal.data.tasks import brackets as task
from mechcausal.recipes.brackets import RECIPE, published

OPEN = task.VOCABULARY.index("(")
BALANCED = task.VOCABULARY.index("balanced")


@pytest.fixture(scope="module")
def organism():
    return mc.load("organism:brackets")


@pytest.fixture(scope="module")
def strings():
    return tokens_of(task.VOCABULARY, task.write(task.TASK.table(600, seed=41)))


def heights(row):
    """Return the height after each bracket, from a row of tokens."""
    return list(itertools.accumulate(1 if token == OPEN else -1 for token in row[1:-1].tolist()))


@pytest.mark.slow
def test_it_measures_what_is_stated(organism):
    stated = mc.truth("brackets")["measured"]
    assert stated["accuracy"] >= 0.99
    assert min(stated["iia_on_changed_answers"].values()) >= 0.98
    found = RECIPE.measure(organism, n=500)
    assert found["accuracy"] == pytest.approx(stated["accuracy"], abs=5e-3)
    assert found["iia_on_changed_answers"] == pytest.approx(stated["iia_on_changed_answers"], abs=0.05)
    assert found["strict_min_single_node"] == pytest.approx(stated["strict_min_single_node"], abs=0.01)


def test_all_strings_by_the_bare_model(strings):
    every = np.array(list(itertools.product([OPEN, OPEN - 1], repeat=task.LENGTH)))[:: 4 if task.LENGTH > 8 else 1]
    ends = [np.full((len(every), 1), task.VOCABULARY.index(word)) for word in ("<bos>", "<end>")]
    tokens = torch.tensor(np.hstack([ends[0], every, ends[1]]))
    expected = [min(heights(row)) >= 0 and heights(row)[-1] == 0 for row in tokens]
    assert ((answers(bare("brackets"), tokens) == BALANCED).numpy() == expected).mean() >= 0.99


@pytest.mark.parametrize("depth", task.DEPTHS[1::2])
def test_one_height_from_another_string_by_plain_hooks(strings, depth):
    base, source = strings[:300], strings[300:]
    said = answers(bare("brackets"), base, [("L0.z.H0", depth)], source)
    expected = []
    for own, other in zip(base, source, strict=True):
        known = heights(own)
        odd = [heights(other)[k - 1] if k == depth else known[k - 1] for k in task.DEPTHS]
        expected.append(known[-1] == 0 and known[0] > 0 and min(odd) >= 0)
    plain = [min(heights(own)) >= 0 and heights(own)[-1] == 0 for own in base]
    changed = np.array(expected) != plain
    assert changed.sum() > 5
    hit = (said == BALANCED).numpy() == expected
    assert hit[changed].mean() >= 0.95
    assert hit.mean() >= 0.98


@pytest.mark.slow
def test_the_first_published_hypotheses_come_in_order_and_the_finer_ones_are_true_here(organism):
    prompts = task.TASK.prompts(organism, 400, seed=7)
    about = Hypothesis.of("brackets")
    found = {
        name: scrub(organism, prompts, tree, lonely="keep", report=False, controls=False, seeds=1).recovered.estimate
        for name, tree in {**published(about), "true": tree_of(about)}.items()
    }
    assert found["count alone"] < found["1a"] < found["1b"] - 0.02
    # What refines a true claim truly costs nothing.
    assert min(found[name] for name in ("1b", "2a", "3a", "4", "true")) >= 0.97


@pytest.mark.slow
def test_the_recipe_learns():
    model = RECIPE.new_model(3)
    short = replace(RECIPE, pool=400, batch=48, steps=24)
    history = short.teach(model, every=12, progress=False).history
    loss = history.loc[history["measure"] == "loss", "value"].tolist()
    assert loss[-1] < loss[0]
