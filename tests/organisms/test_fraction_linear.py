"""organism:fraction_linear is organism:fraction up to the logits, which are a straight line in the share."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from plain import Plain
from safetensors.torch import load_file

import mechcausal as mc
from mechcausal.data.tasks import fraction as task
from mechcausal.organisms import folder
from mechcausal.recipes import fraction_linear as recipe
from mechcausal.recipes.recipe import measured

TEXTS = [" ".join([*row, "ask"]) for row in itertools.product("-xab", repeat=4)]


@pytest.fixture(scope="module")
def plain():
    return Plain(folder("fraction_linear") / "weights")


def share(text):
    letters = [word for word in text.split()[:4] if word != "-"]
    return Fraction(letters.count("x"), len(letters)) if letters else Fraction(0)


@pytest.mark.slow
def test_what_ships_is_the_recipe():
    weights = folder("fraction_linear") / "weights"
    shipped, made = load_file(weights / "model.safetensors"), recipe.PROGRAM.weights()
    assert shipped.keys() == made.keys()
    assert all(torch.equal(shipped[name], made[name]) for name in made)
    found = measured(weights, recipe.truth())
    assert mc.truth("fraction_linear") == json.loads(json.dumps(recipe.truth() | {"measured": found}))
    assert found["accuracy"] == 1
    assert set(found["iia_on_changed_answers"].values()) == {1}


def test_all_weights_but_those_of_the_logits_are_those_of_fraction():
    both = [load_file(folder(name) / "weights" / "model.safetensors") for name in ("fraction", "fraction_linear")]
    differ = {name for name in both[0] if not torch.equal(both[0][name], both[1][name])}
    assert differ == {"unembed.W_U"}


def test_logits_are_a_straight_line_in_the_share_and_the_nearest_word_wins(plain):
    tokens, last = plain.tokens(TEXTS)
    logits, seen = plain.run(tokens)
    shares = np.array([float(share(text)) for text in TEXTS])
    np.testing.assert_allclose(seen["L1.z"][:, 5, 0, 0], shares, atol=1e-12)
    words = np.array([float(value) for value in task.SHARES])
    numbers = [task.VOCABULARY.index(word) for word in task.ANSWERS]
    expected = 12 + 288 * (2 * words * shares[:, None] - words**2)
    np.testing.assert_allclose(logits[:, 5, numbers], expected, atol=1e-4)
    assert plain.answers(logits, last) == [str(share(text)) for text in TEXTS]
    two = np.sort(logits[:, 5], axis=-1)[:, -2:]
    assert (two[:, 1] - two[:, 0]).min() == pytest.approx(2, abs=1e-3)


def test_other_letters_change_what_is_there_and_never_what_is_looked_at():
    model = mc.load("organism:fraction_linear")
    pairs = mc.contrast("fraction/letters", model, n=200)
    for clean, corrupt in zip(pairs.clean.texts, pairs.corrupt.texts, strict=True):
        assert clean != corrupt
        assert "-" not in clean + corrupt
    hits = np.mean([text.split().count("x") for text in pairs.clean.texts])
    assert hits == pytest.approx(2, abs=0.3)  # each of the four places holds an x in half of the texts
