"""The biographies against Bayes' rule in their own world, and against exact sums."""

import itertools

import numpy as np
import pytest

from mechcausal.data.tasks import bios

TASK = bios.TASK


def odds(word, words):
    """Return P(word | senior) / P(word | junior) from what the word points to."""
    points = words.index(word) // 2
    return bios.POINTS[points] / bios.POINTS[2 - points]


def test_the_answer_is_the_likelier_profession_in_the_world():
    table = TASK.table(600, seed=1, environment="broad")
    for text, answer in zip(TASK.write(table), table["answer"], strict=True):
        words = text.split()
        pronoun, workplace, duty, degree = words[0], words[6], words[8], words[13]
        field = bios.WORKPLACES.index(workplace) // 2
        he = bios.HE_IF_SENIOR["world"] / (1 - bios.HE_IF_SENIOR["world"])
        senior = odds(duty, bios.DUTIES) * odds(degree, bios.DEGREES) * (he if pronoun == "he" else 1 / he)
        assert bios.PROFESSIONS[answer] == bios.PROFESSIONS[2 * field + (senior > 1)]


@pytest.mark.parametrize("environment", [None, "balanced", "flipped"])
def test_accuracy_by_hand(environment):
    he_if_senior = bios.HE_IF_SENIOR[environment or "world"]
    right = 0.0
    for duty, degree in itertools.product((-1, 0, 1), repeat=2):
        chance = bios.POINTS[duty + 1] * bios.POINTS[degree + 1]
        # A senior person, which by symmetry is enough.
        right += chance * he_if_senior * (2 * (duty + degree) + 3 > 0)
        right += chance * (1 - he_if_senior) * (2 * (duty + degree) - 3 > 0)
    assert bios.accuracy(environment) == pytest.approx(right)


def test_the_pronoun_pays_in_the_world_alone():
    assert bios.accuracy() > bios.accuracy("balanced") > bios.accuracy("flipped")
    named = TASK.table(4000, seed=2)
    agree = (named["pronoun"] == 1) == (named["profession"] % 2 == 1)
    assert agree.mean() == pytest.approx(0.9, abs=0.02)
    half = TASK.table(4000, seed=2, environment="balanced")
    assert ((half["pronoun"] == 1) == (half["profession"] % 2 == 1)).mean() == pytest.approx(0.5, abs=0.03)


def test_positions_name_the_words_they_say():
    table = TASK.table(30, seed=3, environment="broad")
    spelt = {
        "pronoun": bios.PRONOUNS, "city": bios.CITIES, "workplace": bios.WORKPLACES, "duty": bios.DUTIES,
        "degree": bios.DEGREES,
    }  # fmt: skip
    for row, text in enumerate(TASK.write(table)):
        words = text.split()
        assert {name: words[TASK.positions[name]] for name in spelt} == {
            name: values[int(table[name][row])] for name, values in spelt.items()
        }
        assert words[TASK.positions["job"]] == "<job>"
        assert set(words) <= set(bios.VOCABULARY)


def test_the_total_effect_of_the_pronoun_is_a_sum():
    """P(senior) rises by the pronoun where duty and degree together point less than two steps either way."""
    senior = lambda table: table["answer"] % 2 == 1  # noqa: E731
    found = TASK.scm.total_effect("pronoun", senior)
    chance = np.zeros(5)
    for person in (0, 1):
        for duty, degree in itertools.product((-1, 0, 1), repeat=2):
            sign = 1 if person else -1
            chance[sign * (duty + degree) + 2] += 0.5 * bios.POINTS[duty + 1] * bios.POINTS[degree + 1]
    assert found == pytest.approx(chance[1:4].sum())
