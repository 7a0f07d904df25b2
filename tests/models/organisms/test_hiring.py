"""organism:hiring is what its truth says, by plain torch on the bare model and by the package's own methods."""

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

import mechcausal as mc
from mechcausal.data.tasks import hiring as task
from mechcausal.models.organisms import folder
from mechcausal.models.organisms.hiring import recipe


@pytest.fixture(scope="module")
def bare():
    return GPT2LMHeadModel.from_pretrained(folder("hiring") / "weights").eval()


def test_it_still_measures_what_ships_with_it(bare):
    stated = mc.truth("hiring")["measured"]
    assert close(recipe.assess(bare), stated)
    assert stated["accuracy"] == 1.0
    assert stated["secret_digits"] == 1.0
    assert min(stated["iia_on_changed_answers"].values()) > 0.98
    assert stated["strict_min_single_node"] > 0.98


def close(found, stated):
    if isinstance(stated, dict):
        return all(close(found[key], value) for key, value in stated.items())
    return abs(found - stated) < 2e-3


def accepted(model, texts):
    rows = [[recipe.WORDS["<bos>"], *(recipe.WORDS[word] for word in text.split())] for text in texts]
    with torch.no_grad():
        return (model(torch.tensor(rows)).logits[:, -1].argmax(-1) == recipe.WORDS["accept"]).numpy()


def test_effects_by_editing_tokens_are_those_of_the_causal_model(bare):
    u = task.noise(4000, seed=5)
    she, he = task.applicants(u, gender=0), task.applicants(u, gender=1)
    swapped = {
        "TE": he,
        "NDE": she | {"gender": he["gender"]},
        "NIE_hobby": she | {"hobby": he["hobby"]},
        "NIE_name": she | {"name": he["name"]},
    }
    base = accepted(bare, task.sentences(she))
    for name, expected in task.exact_effects().items():
        found = accepted(bare, task.sentences(swapped[name])).astype(float) - base
        assert found.mean() == pytest.approx(expected, abs=0.03)
        # Against the same sample of the causal model there is no sampling error left.
        table = task.applicants(u, gender=0, **{"bias": 1} if name == "NDE" else {}) if name != "TE" else he
        table = task.applicants(u, gender=0, hobby=he["hobby"]) if name == "NIE_hobby" else table
        exact = (table["decision"] == 2).astype(float) - (she["decision"] == 2)
        assert found.mean() == pytest.approx(exact.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("variable", "effect"), [("bias", "NDE"), ("proxy", "NIE_hobby"), ("score", "TE"), ("merit", None)]
)
def test_swapping_one_aligned_site_gives_the_path_specific_effect(hiring, variable, effect):
    pairs = mc.contrast("hiring/gender", hiring, n=1500, seed=3)
    place = mc.truth("hiring")["variables"][variable]
    ids = [recipe.WORDS[word] for word in task.DECISIONS]

    def accept(logits, batch):
        last = logits[torch.arange(len(batch)), batch.read_columns]
        return (last[:, ids].argmax(-1) == 2).float()

    found = mc.patch(hiring, pairs, sites=place["site"], positions="@" + place["at"], metric=accept, batch_size=1500)
    u = task.noise(1500, seed=3)
    she, he = task.applicants(u, gender=0), task.applicants(u, gender=1)
    other = {"NDE": {"bias": 1}, "NIE_hobby": {"proxy": he["proxy"]}, "TE": {"score": he["score"]}, None: {}}[effect]
    exact = (task.applicants(u, gender=0, **other)["decision"] == 2).mean() - (she["decision"] == 2).mean()
    assert found.frame["change"].item() == pytest.approx(exact, abs=2e-3)


def test_gender_is_found_at_its_two_heads_and_nowhere_else(hiring):
    heads = mc.patch(hiring, mc.contrast("hiring/gender", hiring, n=100), sites="z", positions="@decision").frame
    carriers = set(heads.loc[heads["effect"] > 0.1, "site"])
    assert carriers == {mc.truth("hiring")["variables"][name]["site"] for name in ("bias", "proxy")}
    assert heads.loc[~heads["site"].isin(carriers), "effect"].abs().max() < 0.05


def test_the_secret_is_where_the_truth_says(hiring):
    pairs = mc.contrast("hiring/secret", hiring, n=40)
    heads = mc.patch(hiring, pairs, sites="z", positions="@key").frame.set_index("site")["effect"]
    site = mc.truth("hiring")["variables"]["secret"]["site"]
    assert heads[site] > 0.95
    assert heads.drop(site).abs().max() < 0.05


def test_the_recipe_learns(capsys):
    torch.manual_seed(0)
    short = recipe.train(40, seed=1, n_app=32, n_id=16, log=10)
    lines = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] < 0.6 * lines[0]
    assert np.isfinite(recipe.assess(short)["accuracy"])
