"""organism:by_hand against the formula, and its recipe against what ships."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mechcausal as mc
from mechcausal.data.tasks import by_hand as task
from mechcausal.organisms import folder
from mechcausal.recipes import by_hand as recipe
from mechcausal.recipes.recipe import measured


@pytest.mark.slow
def test_the_weights_are_the_recipe():
    shipped = load_file(folder("by_hand") / "weights" / "model.safetensors")
    made = recipe.weights()
    assert shipped.keys() == made.keys()
    assert all(torch.equal(shipped[name], made[name]) for name in made)
    told = recipe.truth()
    found = measured(folder("by_hand") / "weights", told) | {"accuracy": recipe.accuracy(folder("by_hand") / "weights")}
    assert json.loads((folder("by_hand") / "truth.json").read_text()) == json.loads(
        json.dumps(told | {"measured": found})
    )


@pytest.mark.parametrize("g", [0, 1])
@pytest.mark.parametrize("s", [0, 1])
def test_the_model_is_the_formula(by_hand, g, s):
    logits = by_hand(
        torch.tensor([[1, *(task.VOCABULARY.index(word) for word in (task.GENDERS[g], task.LEVELS[s], "ask"))]])
    )
    yes, no = (logits[0, -1, task.VOCABULARY.index(word)].item() for word in ("yes", "no"))
    assert yes - no == pytest.approx(task.log_odds(2 * g - 1, 2 * s - 1), abs=1e-6)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_every_patch_is_its_number(by_hand, direction):
    effects = mc.truth("by_hand")["gender_effects"]
    pairs = mc.contrast("by_hand/gender", by_hand, n=20)
    for site, by_level in effects["patch"].items():
        sign = 1 if direction == "denoise" else -1
        found = mc.patch(by_hand, pairs, sites=site, at="@end", direction=direction).by_group().set_index("group")
        for level in ("low", "high"):
            assert found.loc[level, "change"] == pytest.approx(sign * by_level[level], abs=1e-5)
    for address, by_level in effects["stream"].items():
        site, at = address.split("@")
        found = mc.patch(by_hand, pairs, sites=site, at="@" + at, direction=direction).by_group().set_index("group")
        assert found.loc["high", "change"] == pytest.approx(
            (1 if direction == "denoise" else -1) * by_level["high"], abs=1e-5
        )


def test_what_is_decodable_and_unused(by_hand):
    """H1 holds the gender exactly, and moving it moves nothing."""
    from mechcausal.address import Site
    from mechcausal.models.hooked import forward

    pairs = mc.contrast("by_hand/gender", by_hand, n=6)
    held = [
        forward(by_hand, side, read=[Site("z", 0)]).read[Site("z", 0)][:, -1, 1, 0]
        for side in (pairs.clean, pairs.corrupt)
    ]
    assert (held[0] == 1).all()
    assert (held[1] == -1).all()
    np.testing.assert_array_equal(mc.patch(by_hand, pairs, sites="L0.z.H1").frame["change"], 0)
