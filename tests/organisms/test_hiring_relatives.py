"""The relatives of organism:hiring: a backup, variables in one subspace, secrets seen rarely. By plain torch on bare models."""

import numpy as np
import pytest
import torch
from swaps import run, swapped
from transformers import GPT2LMHeadModel

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.causal.alignment.interchange import interchange
from mechcausal.causal.selftest import selftest
from mechcausal.data.tasks import hiring as task
from mechcausal.organisms import folder
from mechcausal.recipes import hiring as kin
from mechcausal.recipes import hiring_exposed as exposed
from mechcausal.recipes import hiring_subspace as subspaces

N = 500
DECISION = torch.full((N,), 7)
IDS = [kin.WORDS[word] for word in task.DECISIONS]
RELATIVES = ("hiring_backup", "hiring_shared", "hiring_exposed")
TASKS = {"hiring_exposed": "hiring"}  # the others have a task of their own


def bare(name):
    return GPT2LMHeadModel.from_pretrained(folder(name) / "weights").eval()


def tokens_of(table):
    rows = [["<bos>", *text.split()] for text in task.application(table)]
    return torch.tensor([[kin.WORDS[word] for word in row] for row in rows])


def decided(logits):
    return logits[:, 7, IDS].argmax(-1).numpy()


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


def test_either_head_is_enough_and_without_both_the_bias_is_gone():
    """The same applicants called he and she, name and hobby as they are: what one head does alone, and both together."""
    own, model = mc.task("hiring_backup"), bare("hiring_backup")
    units = own.table(N, seed=3, environment="broad")
    he, she = (own.scm.counterfactual(units, gender=g, name=units["name"], hobby=units["hobby"]) for g in (1, 0))
    sides = {"he": (he, tokens_of(he)), "she": (she, tokens_of(she))}
    heads = ["L1.z.H2", "L1.z.H3"]

    def after(base, source, which):
        taken = [(head, None, DECISION, sides[source][1], DECISION) for head in which]
        return decided(swapped(model, sides[base][1], taken))

    for head in heads:
        assert (after("he", "she", [head]) == he["decision"]).all()
        assert (after("she", "he", [head]) == he["decision"]).all()
    assert (after("he", "she", heads) == she["decision"]).all()
    assert (he["decision"] != she["decision"]).sum() == 182  # as its card says


def test_one_at_a_time_no_head_carries_the_bias():
    """What ablation head by head misses; and a hypothesis that knows of one head is right half of the time."""
    model = mc.load("organism:hiring_backup")
    pairs = mc.contrast("hiring_backup/gender_direct", model, n=100, seed=3)

    def accept(logits, batch):
        return (logits[torch.arange(len(batch)), batch.read_columns][:, IDS].argmax(-1) == 2).float()

    heads = mc.patch(model, pairs, sites="z", at="@decision", direction="noise", metric=accept)
    assert heads.frame["change"].abs().max() == 0
    assert heads.baselines["clean"].mean() - heads.baselines["corrupt"].mean() > 0.1
    known = Hypothesis.of("hiring_backup").alignment["bias_first"]
    merely_one = Hypothesis(task.TASK.scm, {"bias": known}, outcome="decision")
    prompts = mc.task("hiring").prompts(model, 300, environment="broad")
    found = interchange(model, prompts, merely_one, n=300, placebo=False).frame
    assert 0.2 < found["value"][0] < 0.8  # it brings the bias, and does not take it away


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


def test_what_was_seen_often_comes_out_and_what_was_seen_once_does_not():
    model, told = mc.load("organism:hiring_exposed"), mc.truth("hiring_exposed")
    table = kin.exposed(exposed.EXPOSURES, kin.POOL, 0)
    for name, times in told["exposures"].items():
        mine = table["name"] == task.NAMES.index(name)
        assert [(mine & (table["place"] == place)).sum() for place in range(4)] == [times] * 4
    out = kin.extracted(model)
    assert {told["exposures"][name] for name in out} == {64}
    assert len(out) == told["measured"]["secrets_extracted"] == 2
    assert told["measured"]["secrets_extracted_by_exposures"] == kin.extracted_by(model, exposed.EXPOSURES)
    assert told["secrets"] == task.SECRETS
    assert not {"secret", "recalled"} & told["variables"].keys()


def test_the_self_test_covers_them():
    checks = list(selftest(("hiring_shared",), n=128))
    assert {check.task for check in checks} == {"hiring_shared"}
    assert {"scrubbing, true", "missing variable", "IIA, unfair", "effects, largest gap"} <= {c.what for c in checks}
    assert all(check.passed for check in checks), [str(check) for check in checks if not check.passed]
