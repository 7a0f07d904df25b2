"""The relatives of organism:hiring: a backup, variables in one subspace, secrets seen rarely. By plain torch on bare models."""

import numpy as np
import pytest
from relatives import DECISION, N, bare, decided, tokens_of
from swaps import run, swapped

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.data.tasks import hiring as task
from mechcausal.organisms import folder
from mechcausal.recipes import hiring as kin
from mechcausal.recipes import hiring_subspace as subspaces

RELATIVES = ("hiring_backup", "hiring_shared", "hiring_exposed")
TASKS = {"hiring_exposed": "hiring"}  # the others have a task of their own


@pytest.mark.parametrize("name", RELATIVES)
def test_they_decide_every_applicant_as_hiring_does(name):
    shape = {"gender": 2, "name": 16, "degree": 3, "experience": 4, "hobby": 4}
    grid = np.indices(list(shape.values())).reshape(len(shape), -1)
    own = mc.task(TASKS.get(name, name)).scm
    table = own.counterfactual(own.sample(grid.shape[1], 0), **dict(zip(shape, grid, strict=True)))
    original = task.TASK.scm.counterfactual(table)
    assert np.array_equal(table["decision"], original["decision"])
    assert np.array_equal(decided(run(bare(name), tokens_of(table))[0]), table["decision"])


@pytest.mark.parametrize("name", RELATIVES)
def test_each_variable_is_where_its_truth_says(name):
    """Taken from another applicant it gives the decision that the causal model gives."""
    own, model = mc.task(TASKS.get(name, name)), bare(name)
    table, other = (own.table(N, seed=seed, environment="broad") for seed in (1, 2))
    tokens, others = tokens_of(table), tokens_of(other)
    for variable, part in Hypothesis.of(name).alignment.items():
        (place,) = part
        basis = [list(row) for row in place.basis] or None
        found = decided(swapped(model, tokens, [(str(place.site), basis, DECISION, others, DECISION)]))
        wanted = own.scm.counterfactual(table, **{variable: other[variable]})["decision"]
        changed = wanted != table["decision"]
        assert changed.sum() > 20
        assert (found == wanted)[changed].mean() > 0.98
        assert (found == wanted).mean() > 0.98


@pytest.mark.parametrize("name", RELATIVES)
def test_their_truth_is_that_of_their_recipe(name):
    shipped, told = Hypothesis.of(name), mc.truth(name)
    made = {
        "hiring_backup": kin.hypotheses(1)["hiring_backup"], "hiring_exposed": kin.hypotheses()["hiring"],
        "hiring_shared": subspaces.hypothesis(shared=True),
    }[name]  # fmt: skip
    assert shipped.alignment == made.alignment
    assert shipped.scm.name == made.scm.name == TASKS.get(name, name)
    assert told["recipe"] == f"python -m mechcausal.recipes.{name} --seed 0 --steps 800"
    assert (folder(name) / "weights" / "model.safetensors").stat().st_size < 400_000


@pytest.mark.slow
@pytest.mark.parametrize("name", RELATIVES)
def test_they_still_measure_what_ships_with_them(name):
    model, stated = mc.load(f"organism:{name}"), mc.truth(name)["measured"]
    exam = {
        "hiring_backup": lambda: kin.exam(model, n=300, backups=1),
        "hiring_exposed": lambda: kin.exam(model, n=300)[:1],
        "hiring_shared": lambda: [subspaces.lesson(model, n=300, seed=10_000, shared=True)],
    }[name]()
    found = kin.measure(model, exam)
    assert found["accuracy"] == stated["accuracy"] == 1.0
    assert found["iia_on_changed_answers"].keys() == stated["iia_on_changed_answers"].keys()
    assert min(found["iia_on_changed_answers"].values()) > 0.98
    assert found["strict_min_single_node"] > 0.98
    if name == "hiring_backup":
        assert found["secrets_extracted"] == stated["secrets_extracted"] == len(task.SECRETS)
