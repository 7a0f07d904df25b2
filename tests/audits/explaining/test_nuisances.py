"""Learners that expect: the best is kept, nothing is seen that was held out, and words of the concept are not counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.audits.explaining.nuisances import LENGTH, described, differing, expected, held_out, ridge
from mechcausal.errors import DataError
from mechcausal.probes.kinds import Settings, fit
from mechcausal.probes.numbers import predictions

FOLD = np.arange(400) % 5


def test_the_learner_that_fits_is_kept():
    draw = np.random.default_rng(0)
    x, noise = draw.normal(size=(400, 3)), 0.3 * draw.normal(size=400)
    linear, bent, nothing = x @ [1.0, -1.0, 0.0] + noise, 3 * np.sign(x[:, 0] * x[:, 1]) + noise, noise
    assert expected(x, linear, FOLD).learner.startswith(("ridge", "sparse"))
    assert expected(x, linear, FOLD).r2 > 0.9
    assert expected(x, bent, FOLD).learner == "forest"
    assert expected(x, nothing, FOLD).r2 == pytest.approx(0, abs=0.03)


def test_among_many_words_the_few_that_act_are_found():
    draw = np.random.default_rng(4)
    x = (draw.random((400, 600)) < 0.1).astype(float)
    y = 3 * x[:, :3].sum(1) + draw.normal(size=400)
    found = expected(x, y, FOLD)
    assert found.learner.startswith("sparse")
    assert found.r2 > 0.6  # of at most 2.43 / 3.43
    assert held_out(ridge, x, y, FOLD, np.ones(400, dtype=bool)).var() < found.values.var()


def test_what_two_words_say_together_is_seen():
    """A sum over words explains a tenth of what two say that are worth most together or not at all."""
    draw = np.random.default_rng(5)
    x = (draw.random((400, 30)) < 0.5).astype(float)
    y = 4 * (x[:, 0] == x[:, 1]) + x[:, 0] + x[:, 1] + 0.3 * draw.normal(size=400)
    found = expected(x, y, FOLD)
    assert found.learner.startswith("products")
    assert found.r2 > 0.9
    assert held_r2(x, y) < 0.3


def held_r2(x, y):
    return 1 - ((y - held_out(ridge, x, y, FOLD, np.ones(400, dtype=bool))) ** 2).mean() / y.var()


def test_chances_lie_between_zero_and_one():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(400, 2))
    y = (draw.random(400) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(float)
    found = expected(x, y, FOLD, classes=True)
    assert found.learner.startswith(("logistic", "sparse"))
    assert 0 < found.values.min() < 0.2
    assert 0.8 < found.values.max() < 1
    assert found.values == pytest.approx(1 / (1 + np.exp(-2 * x[:, 0])), abs=0.15)


def test_the_ridge_is_that_of_a_probe():
    draw = np.random.default_rng(3)
    for wide in (5, 90):
        x, new = draw.normal(size=(60, wide)), draw.normal(size=(7, wide))
        y = 3 + x[:, 0] + draw.normal(size=60)
        assert ridge(x, y, new, 0.3) == pytest.approx(predictions(fit("ridge", x, y, Settings(C=0.3)), new))


def test_nothing_is_learned_from_what_is_held_out():
    """Numbers of a fold do not change what is expected there, nor do those of examples that are not learned from."""
    draw = np.random.default_rng(2)
    x, y, among = draw.normal(size=(400, 2)), draw.normal(size=400), np.arange(400) % 2 == 0
    before = held_out(ridge, x, y, FOLD, among)
    changed = np.where((FOLD == 3) | ~among, y + 100 * draw.normal(size=400), y)
    after = held_out(ridge, x, changed, FOLD, among)
    assert after[FOLD == 3] == pytest.approx(before[FOLD == 3])
    assert after[FOLD == 1] != pytest.approx(before[FOLD == 1])


@pytest.fixture(scope="module")
def prompts():
    model = mc.load("organism:by_hand")
    texts = ["he high ask", "she low ask", "he high ask", "she low ask"]
    return mc.PromptSet.from_text(
        model, texts, groups=["a", "b", "a", "b"], labels=[0.5, 1.5, 2.5, None], variables={"size": [1, 2, 1, 2]}
    )


def test_words_and_columns_become_numbers(prompts):
    x, names = described(prompts, np.arange(4), prompts.texts, ["group", "size"], without=["He", "she"])
    assert names == ("group a", "group b", "size 1", "size 2", "ask", "high", "low", LENGTH)
    assert x[0].tolist() == [1, 0, 1, 0, 1, 1, 0, np.log(3)]
    assert x[1].tolist() == [0, 1, 0, 1, 1, 0, 1, np.log(3)]
    twice, names = described(prompts, np.arange(4), ["a a a b", "a b", "b", "a"])
    assert twice[:, names.index("a")].tolist() == [3, 1, 0, 1]  # counts as they are


def test_numbers_stay_numbers(prompts):
    numbers = replace(prompts, labels=(0.5, 1.5, 2.5, 3.5))
    x, names = described(numbers, np.arange(4), columns=["label"])
    assert names == ("label",)
    assert x[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_columns_that_cannot_be_adjusted_for(prompts):
    with pytest.raises(DataError, match="no value for 1 of 4 prompts"):
        described(prompts, np.arange(4), columns=["label"])
    with pytest.raises(DataError, match="did you mean 'size'"):
        described(prompts, np.arange(4), columns=["sise"])
    with pytest.raises(DataError, match="a value of its own"):
        described(replace(prompts, groups=("a", "b", "c", "d")), np.arange(4), columns=["group"])
    with pytest.raises(DataError, match="holds infinity"):
        described(replace(prompts, labels=(0.5, 1.0, 2.0, float("inf"))), np.arange(4), columns=["label"])


def test_words_that_differ_are_those_of_the_concept(by_hand):
    pairs = mc.Contrast.from_text(
        by_hand, ["he high ask"], ["she high ask"], answer="high", foil="low", factor="gender"
    )
    assert differing(pairs) == ["he", "she"]
