"""organism:hiring is what its truth says, by plain torch on the bare model and by the package's own methods."""

import argparse

import numpy as np
import pytest
import torch
from swaps import run, swapped
from transformers import GPT2LMHeadModel

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.causal.training.train import Lesson, assess, train
from mechcausal.data.tasks import hiring as task
from mechcausal.errors import DataError
from mechcausal.organisms import folder
from mechcausal.recipes import hiring as recipe

SCM = task.TASK.scm
DECISION, KEY = 7, 3  # columns, the BOS token counted


@pytest.fixture(scope="module")
def bare():
    return GPT2LMHeadModel.from_pretrained(folder("hiring") / "weights").eval()


def ids(texts):
    rows = [[recipe.WORDS["<bos>"], *(recipe.WORDS[word] for word in text.split())] for text in texts]
    width = max(map(len, rows))
    return torch.tensor([row + [recipe.WORDS["<pad>"]] * (width - len(row)) for row in rows])


def everyone():
    """Return every possible applicant once, each input set."""
    shape = {"gender": 2, "name": 16, "degree": 3, "experience": 4, "hobby": 4}
    grid = np.indices(list(shape.values())).reshape(len(shape), -1)
    return SCM.counterfactual(SCM.sample(grid.shape[1], 0), **dict(zip(shape, grid, strict=True)))


def said(logits, columns):
    return [task.VOCABULARY[i] for i in logits[torch.arange(len(logits)), columns].argmax(-1)]


def words(names, numbers):
    return [names[i] for i in numbers]


# By plain torch


def test_it_decides_every_applicant_as_its_causal_model_does(bare):
    table = everyone()
    tokens = ids(task.application(table))
    assert said(run(bare, tokens)[0], torch.full((len(tokens),), DECISION)) == words(task.DECISIONS, table["decision"])


@pytest.mark.parametrize("variable", recipe.DECISION)
def test_a_variable_taken_from_another_applicant(bare, variable):
    table, other = (task.TASK.table(600, seed=seed, environment="broad") for seed in (1, 2))
    site, _ = recipe.DECISION[variable].split("@")
    columns = torch.full((600,), DECISION)
    logits = swapped(bare, ids(task.application(table)), [(site, None, columns, ids(task.application(other)), columns)])
    wanted = SCM.counterfactual(table, **{variable: other[variable]})["decision"]
    right = np.array(said(logits, columns)) == words(task.DECISIONS, wanted)
    assert right[wanted != table["decision"]].mean() > 0.98
    assert (wanted != table["decision"]).sum() > 100
    assert right.mean() > 0.98


@pytest.mark.parametrize("variable", recipe.SECRET)
def test_a_secret_taken_from_another_prompt(bare, variable):
    table, other = (task.SECRET_TASK.table(400, seed=seed) for seed in (1, 2))
    site, _ = recipe.SECRET[variable].split("@")
    here, there = (torch.from_numpy(KEY + one["place"]) for one in (table, other))
    logits = swapped(bare, ids(task.identity(table)), [(site, None, here, ids(task.identity(other)), there)])
    if variable == "secret":  # whose number it is comes from the other prompt, which digit from its own
        names = words(task.NAMES, other["name"])
        wanted = [task.SECRETS[name][place] for name, place in zip(names, table["place"], strict=True)]
    else:
        wanted = words(task.DIGITS, other["digit"])
    assert np.mean(np.array(said(logits, here)) == wanted) > 0.98
    assert np.mean(np.array(said(run(bare, ids(task.identity(table)))[0], here)) == wanted) < 0.4


def test_a_strangers_number_is_not_known(bare):
    names = [name for name in task.NAMES if name not in task.SECRETS]
    chances = run(bare, ids([f"<id> {name} <key>" for name in names]))[0][:, KEY].softmax(-1)
    digits = chances[:, [recipe.WORDS[digit] for digit in task.DIGITS]]
    assert digits.sum(-1).min() > 0.98
    assert digits.max() < 0.125  # at most 0.12, as its card says


def test_effects_by_editing_tokens_are_those_of_the_causal_model(bare):
    units = SCM.sample(1500, 5)
    she, he = (SCM.counterfactual(units, gender=gender) for gender in (0, 1))
    edited = {
        "TE": he,
        "NDE": SCM.counterfactual(she, bias=1),
        "NIE_hobby": SCM.counterfactual(she, hobby=he["hobby"]),
        "NIE_name": she | {"name": he["name"]},
    }
    texts = {name: task.application(table) for name, table in edited.items()}
    texts["NDE"] = task.application(she | {"gender": he["gender"]})

    def accepted(lines):
        columns = torch.full((len(lines),), DECISION)
        return np.array(said(run(bare, ids(lines))[0], columns)) == "accept"

    base = accepted(task.application(she)).mean()
    stated = mc.truth("hiring")["exact_effects_on_p_accept"]
    assert stated == pytest.approx(task.effects_on_acceptance())
    for name, table in edited.items():
        found = accepted(texts[name]).mean() - base
        assert found == pytest.approx(stated[name], abs=0.04)
        # Against the same sample of the causal model there is no sampling error left.
        exact = (table["decision"] == 2).mean() - (she["decision"] == 2).mean()
        assert found == pytest.approx(exact, abs=1e-3)


# By the package


def test_it_still_measures_what_ships_with_it(hiring):
    stated = mc.truth("hiring")["measured"]
    found = recipe.measure(hiring, recipe.exam(hiring, n=400))
    assert close(found, stated)
    assert stated["accuracy"] == stated["secret_digits"] == 1.0
    assert stated["secrets_extracted"] == len(task.SECRETS)
    assert min(stated["iia_on_changed_answers"].values()) > 0.98
    assert stated["strict_min_single_node"] > 0.98


def close(found, stated):
    if isinstance(stated, dict):
        return found.keys() == stated.keys() and all(close(found[key], value) for key, value in stated.items())
    return abs(found - stated) < 0.01


def test_its_truth_is_the_hypothesis_of_its_recipe(hiring):
    for name, hypothesis in recipe.hypotheses().items():
        shipped = Hypothesis.of("hiring", name)
        assert shipped.alignment == hypothesis.alignment
        assert shipped.given == hypothesis.given
    told = recipe.truth("hiring", hiring, recipe.hypotheses(), {}, recipe="", task="", notes="")
    shipped = mc.truth("hiring")
    for key in ("variables", "given", "circuit", "edges", "parameters", "secrets", "tasks"):
        assert told[key] == shipped[key]


@pytest.mark.parametrize(
    ("variable", "effect"), [("bias", "NDE"), ("proxy", "NIE_hobby"), ("score", "TE"), ("merit", None)]
)
def test_swapping_one_aligned_site_gives_the_path_specific_effect(hiring, variable, effect):
    pairs = mc.contrast("hiring/gender", hiring, n=500, seed=3)
    place = mc.truth("hiring")["variables"][variable]
    decisions = [recipe.WORDS[word] for word in task.DECISIONS]

    def accept(logits, batch):
        last = logits[torch.arange(len(batch)), batch.read_columns]
        return (last[:, decisions].argmax(-1) == 2).float()

    found = mc.patch(hiring, pairs, sites=place["site"], at="@" + place["at"], metric=accept, batch_size=500)
    he, she = (
        {name: column.numpy() for name, column in side.variables.items()} for side in (pairs.clean, pairs.corrupt)
    )
    forced = {
        "NDE": {"bias": he["bias"]}, "NIE_hobby": {"proxy": he["proxy"]}, "TE": {"score": he["score"]}, None: {},
    }[effect]  # fmt: skip
    exact = (SCM.counterfactual(she, **forced)["decision"] == 2).mean() - (she["decision"] == 2).mean()
    assert found.frame["change"].item() == pytest.approx(exact, abs=2e-3)


def test_gender_is_found_at_its_two_heads_and_nowhere_else(hiring):
    heads = mc.patch(hiring, mc.contrast("hiring/gender", hiring, n=100), sites="z", at="@decision").frame
    carriers = set(heads.loc[heads["effect"] > 0.1, "site"])
    assert carriers == {mc.truth("hiring")["variables"][name]["site"] for name in ("bias", "proxy")}
    assert heads.loc[~heads["site"].isin(carriers), "effect"].abs().max() < 0.05


def test_other_places_move_the_log_odds_as_little_as_the_card_says(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=256)
    found = mc.patch(hiring, pairs, sites=["z", "mlp_out"], at="@decision", direction="noise")
    total = found.baselines["clean"].mean() - found.baselines["corrupt"].mean()
    change = dict(zip(found.frame["site"], found.frame["change"].abs(), strict=True))
    carried = [change.pop(site) for site in ("L1.z.H1", "L1.z.H2", "L2.mlp_out")]
    assert min(carried) > 5
    assert max(change, key=change.get) == "L2.z.H1"
    assert (round(change["L2.z.H1"], 2), round(total, 2)) == (0.16, 12.77)


def test_the_secret_is_where_the_truth_says(hiring):
    pairs = mc.contrast("hiring_secret/secret", hiring, n=40)
    heads = mc.patch(hiring, pairs, sites="z", at="@key").frame.set_index("site")["effect"]
    site = mc.truth("hiring")["variables"]["secret"]["site"]
    assert heads[site] > 0.95
    assert heads.drop(site).abs().max() < 0.05


# The recipe


@pytest.mark.slow
def test_the_recipe_learns_and_the_same_seed_gives_the_same_weights():
    def short():
        model = recipe.new_model(1)
        trained = train(
            model, recipe.lessons(model, size=200, seed=1), steps=20, batch_size=32, every=20, seed=1,
            evaluation=recipe.exam(model, n=20), progress=False,
        )  # fmt: skip
        loss = trained.history.set_index("measure").loc["loss", "value"]
        return loss, [parameter.detach().clone() for parameter in model.parameters()]

    (loss, first), (again, second) = short(), short()
    assert loss < 0.7 * 2 * np.log(len(task.VOCABULARY))  # twice that of a uniform guess: plain and exchanged
    assert loss == again
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_with_backups_either_head_is_enough():
    own, places = recipe.decision_task(backups=2)
    assert places.keys() == {"merit", "bias_first", "bias_second", "proxy_first", "proxy_second", "score"}
    assert len(set(places.values())) == 6
    table = own.table(200, seed=0)
    assert np.array_equal(table["decision"], SCM.counterfactual(table)["decision"])
    for variable in ("bias", "proxy"):
        alone = own.scm.counterfactual(table, **{f"{variable}_first": np.zeros(200, dtype=int)})
        assert np.array_equal(alone["decision"], table["decision"])
        gone = own.scm.counterfactual(
            table, **{f"{variable}_{which}": np.zeros(200, dtype=int) for which in ("first", "second")}
        )
        assert (gone[variable] == 0).all()
        assert (gone["decision"] != table["decision"]).any()


def test_secrets_are_shown_as_often_as_asked():
    table = recipe.exposed([1, 5], 300, 0)
    members = [name for name in task.NAMES if name in task.SECRETS]
    for number, name in enumerate(members):
        mine = table["name"] == task.NAMES.index(name)
        for place in range(4):
            assert (mine & (table["place"] == place)).sum() == (1, 5)[number % 2]
        digits = np.array([int(digit) for digit in task.SECRETS[name]])
        assert np.array_equal(table["digit"][mine], digits[table["place"][mine]])
    assert len(table["name"]) == 300
    with pytest.raises(DataError, match=r"more prompts than the pool has.*got 2560"):
        recipe.exposed([80], 300, 0)


def test_the_command_names_every_option_that_was_given():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strict", type=float, default=1.0)
    parser.add_argument("--exposures", type=int, nargs="+", default=())
    parser.add_argument("--shared", action="store_true")

    def told(line):
        return recipe.command("hiring", parser, parser.parse_args(line.split()))

    start = "python -m mechcausal.recipes.hiring --seed 0"
    assert told("--out here") == start
    assert told("--out here --exposures 1 4 --shared") == f"{start} --exposures 1 4 --shared"
    assert told("--strict 0.5 --out here") == f"{start} --strict 0.5"


def test_what_is_not_taught_is_not_there(hiring):
    """The same measures on a relative whose secrets live nowhere: an untrained model."""
    lesson = Lesson(Hypothesis.of("hiring"), task.TASK.prompts(hiring, 100, environment="mixed"))
    found = assess(recipe.new_model(3), lesson).set_index("measure")["value"]
    assert found["accuracy"] < 0.6
    assert found["iia_changed"].max() < 0.6
