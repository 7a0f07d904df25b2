"""organism:hiring_subspace: each variable in its subspace of the stream, by plain torch on the bare model."""

import numpy as np
import pytest
import torch
from swaps import run, swapped
from transformers import GPT2LMHeadModel

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.causal.training.train import train
from mechcausal.data.tasks import hiring as task
from mechcausal.organisms import folder
from mechcausal.recipes import hiring as kin
from mechcausal.recipes import hiring_subspace as recipe

SCM, N = task.TASK.scm, 500
DECISION = torch.full((N,), 7)
VARIABLES = ("merit", "proxy", "bias", "score")
IDS = [kin.WORDS[word] for word in task.DECISIONS]


@pytest.fixture(scope="module")
def bare():
    return GPT2LMHeadModel.from_pretrained(folder("hiring_subspace") / "weights").eval()


@pytest.fixture(scope="module")
def places():
    variables = mc.truth("hiring_subspace")["variables"]
    return {variable: (told["site"], told["parts"][0]["basis"]) for variable, told in variables.items()}


def applicants(seed, n=N):
    table = task.TASK.table(n, seed=seed, environment="broad")
    rows = [["<bos>", *text.split()] for text in task.application(table)]
    return table, torch.tensor([[kin.WORDS[word] for word in row] for row in rows])


def decided(logits):
    return logits[:, 7, IDS].argmax(-1).numpy()


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_is_in_its_subspace(bare, places, variable):
    (table, tokens), (other, others) = applicants(1), applicants(2)
    site, basis = places[variable]
    found = decided(swapped(bare, tokens, [(site, basis, DECISION, others, DECISION)]))
    wanted = SCM.counterfactual(table, **{variable: other[variable]})["decision"]
    changed = wanted != table["decision"]
    assert changed.sum() > 50
    assert (found == wanted)[changed].mean() > 0.98
    assert (found == wanted).mean() > 0.98


def test_three_variables_at_once_each_from_an_applicant_of_its_own(bare, places):
    table, tokens = applicants(1)
    taken, forced = [], {}
    for seed, variable in enumerate(("merit", "proxy", "bias"), 5):
        other, others = applicants(seed)
        forced[variable] = other[variable]
        taken.append((*places[variable], DECISION, others, DECISION))
    wanted = SCM.counterfactual(table, **forced)["decision"]
    assert (decided(swapped(bare, tokens, taken)) == wanted).mean() > 0.98
    assert (wanted != table["decision"]).mean() > 0.3


@pytest.mark.parametrize("site", [recipe.FIRST, recipe.SECOND])
def test_nothing_else_in_the_stream_matters(bare, places, site):
    (table, tokens), (_, others) = applicants(1), applicants(2)
    used = np.array([row for where, basis in places.values() if where == site for row in basis])
    rest = np.linalg.svd(used)[2][len(used) :].astype(np.float32).tolist()
    assert len(rest) == kin.WIDTH - len(used)
    taken = [(site, rest, DECISION, others, DECISION)]
    taken += [(site, None, torch.full((N,), column), others, torch.full((N,), column)) for column in range(7)]
    assert (decided(swapped(bare, tokens, taken)) == table["decision"]).mean() > 0.98
    assert (decided(run(bare, tokens)[0]) == table["decision"]).all()


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_same_number_of_other_directions_carries_nothing(bare, places, variable):
    (table, tokens), (_, others) = applicants(1), applicants(2)
    site, basis = places[variable]
    away = np.random.default_rng(0).normal(size=(4, kin.WIDTH))
    used = np.array([row for where, rows in places.values() if where == site for row in rows])
    away -= away @ used.T @ used
    basis = np.linalg.qr(away.T)[0].T.astype(np.float32).tolist()
    found = decided(swapped(bare, tokens, [(site, basis, DECISION, others, DECISION)]))
    assert (found == table["decision"]).mean() > 0.98


def test_its_subspaces_are_rotated_and_orthogonal(places):
    early = np.concatenate([places[variable][1] for variable in ("merit", "proxy", "bias")])
    assert early @ early.T == pytest.approx(np.eye(12), abs=1e-5)
    assert np.array(places["score"][1]) @ np.array(places["score"][1]).T == pytest.approx(np.eye(4), abs=1e-5)
    assert max(np.abs(basis).max() for _, basis in places.values()) < 0.6  # no axis of the stream is one of them
    hypothesis = Hypothesis.of("hiring_subspace")
    assert hypothesis.alignment == recipe.hypothesis().alignment
    assert {variable: site for variable, (site, _) in places.items()} == {
        "merit": recipe.FIRST, "proxy": recipe.FIRST, "bias": recipe.FIRST, "score": recipe.SECOND,
    }  # fmt: skip


def test_it_still_measures_what_ships_with_it():
    model = mc.load("organism:hiring_subspace")
    stated = mc.truth("hiring_subspace")["measured"]
    found = kin.measure(model, [recipe.lesson(model, n=400, seed=10_000)])
    assert found["accuracy"] == stated["accuracy"] == 1.0
    for variable in VARIABLES:
        assert found["iia_on_changed_answers"][variable] > 0.98
        assert found["iia_on_changed_answers"][variable] == pytest.approx(
            stated["iia_on_changed_answers"][variable], abs=0.01
        )
    assert found["strict_min_single_node"] == pytest.approx(stated["strict_min_single_node"], abs=0.01)


@pytest.mark.slow
def test_the_recipe_learns():
    model = kin.new_model(1)
    own = recipe.lesson(model, n=200, seed=1)
    trained = train(model, own, steps=20, batch_size=32, rate=1e-2, every=5, seed=1, progress=False)
    loss = trained.history.loc[trained.history["measure"] == "loss", "value"].to_numpy()
    assert loss[-1] < 0.6 * loss[0]
    assert loss[-1] < 2.1 * np.log(3)  # twice that of a guess among the decisions: plain and exchanged


def test_two_variables_that_share_a_subspace():
    table = recipe.decision_task(shared=True).table(400, seed=3)
    apart = SCM.solve({name: table[name] for name in SCM.noise})
    assert np.array_equal(table["unfair"], 2 * apart["proxy"] + apart["bias"])
    assert np.array_equal(table["decision"], apart["decision"])
    assert set(table["unfair"]) == {0, 1, 2, 3}
    hypothesis = recipe.hypothesis(shared=True)
    assert hypothesis.variables == ("merit", "unfair", "score")
