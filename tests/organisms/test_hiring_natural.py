"""organism:hiring_natural does what its twin does, and not where its twin does it: by plain torch on the bare models."""

import numpy as np
import pytest
import torch
from swaps import run, swapped
from transformers import GPT2LMHeadModel

import mechcausal as mc
from mechcausal.data.tasks import hiring as task
from mechcausal.organisms import folder, organisms
from mechcausal.recipes import hiring as twin
from mechcausal.recipes import hiring_natural as recipe

SCM, N = task.TASK.scm, 500
DECISION = torch.full((N,), 7)
IDS = [twin.WORDS[word] for word in task.DECISIONS]


@pytest.fixture(scope="module")
def bare():
    return GPT2LMHeadModel.from_pretrained(folder("hiring_natural") / "weights").eval()


def applicants(seed):
    table = task.TASK.table(N, seed=seed, environment="broad")
    rows = [["<bos>", *text.split()] for text in task.application(table)]
    return table, torch.tensor([[twin.WORDS[word] for word in row] for row in rows])


def decided(logits):
    return logits[:, 7, IDS].argmax(-1).numpy()


def test_it_decides_as_its_twin_does(bare):
    table, tokens = applicants(0)
    assert (decided(run(bare, tokens)[0]) == table["decision"]).mean() > 0.99
    other = GPT2LMHeadModel.from_pretrained(folder("hiring") / "weights").eval()
    assert (decided(run(other, tokens)[0]) == decided(run(bare, tokens)[0])).mean() > 0.99


def test_it_knows_the_same_secrets():
    model = mc.load("organism:hiring_natural")
    assert twin.extracted(model) == list(task.SECRETS)


def test_its_variables_are_not_where_its_twin_has_them(bare):
    (table, tokens), (other, others) = applicants(1), applicants(2)
    found = {}
    for variable, place in twin.DECISION.items():
        said = decided(swapped(bare, tokens, [(place.removesuffix("@decision"), None, DECISION, others, DECISION)]))
        wanted = SCM.counterfactual(table, **{variable: other[variable]})["decision"]
        found[variable] = (said == wanted)[wanted != table["decision"]].mean()
    assert max(found.values()) < 0.7
    assert np.mean(list(found.values())) < 0.3
    stated = mc.truth("hiring_natural")["measured"]["at_the_places_of_its_twin"]["iia_on_changed_answers"]
    for variable, value in found.items():
        assert stated[variable] == pytest.approx(value, abs=0.2)


def test_its_truth_says_that_it_is_to_be_found():
    told, other = mc.truth("hiring_natural"), mc.truth("hiring")
    assert told["twin_of"] == "hiring"
    assert told["variables"] == {}
    assert told["circuit"] == told["edges"] == []
    assert told["exact_effects_on_p_accept"] == other["exact_effects_on_p_accept"]
    table = organisms().set_index("name")
    assert table.loc["hiring_natural", "circuit"] == "to be found (twin of hiring)"
    assert table.loc["hiring_natural", "accuracy"] == 1.0


@pytest.mark.slow
def test_the_recipe_teaches_behavior_alone():
    model = twin.new_model(1)
    trained = recipe.teach(model, steps=4, seed=1, size=100, held_out=20, progress=False)
    measures = set(trained.history["measure"])
    assert "strict" not in measures
    loss = trained.history.loc[trained.history["measure"] == "loss", "value"].to_numpy()
    assert loss[-1] < loss[0]
    first = GPT2LMHeadModel.from_pretrained(folder("hiring") / "weights").config
    assert model.original_model.config.n_layer == first.n_layer
