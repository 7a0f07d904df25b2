"""The hiring task against its own definition, told again in plain Python."""

import numpy as np
import pytest

from mechcausal.data.tasks import hiring as task

SCM = task.TASK.scm


def decided(gender, degree, experience, hobby):
    """Say what is decided about one applicant, in words."""
    merit = ["nodegree", "bachelor", "master"].index(degree) + int(experience[0])
    score = merit + 2 * (hobby in ("golf", "boxing")) + (gender == "he")
    return "accept" if score >= 5 else "wait" if score >= 3 else "reject"


def applicants(n, seed, gender, *, typed_by=None, named_by=None, pronoun=None):
    """Draw applicants one by one; hobby, name and pronoun can be those that another gender would have."""
    draw = np.random.default_rng(seed)
    degree, experience, word = draw.integers(0, 3, n), draw.integers(0, 4, n), draw.integers(0, 2, n)
    typed = draw.random(n) < (0.75 if (typed_by or gender) == "he" else 0.25)
    male_name = (draw.random(n) < 0.95) == ((named_by or gender) == "he")
    male, female = ("golf", "boxing"), ("knitting", "ballet")
    names = np.where(male_name, np.array(task.NAMES)[draw.integers(0, 8, n)], "alice")
    hobby = [(male if t else female)[w] for t, w in zip(typed, word, strict=True)]
    return [
        (pronoun or gender, name, task.DEGREES[d], f"{e}y", h)
        for name, d, e, h in zip(names, degree, experience, hobby, strict=True)
    ]


def everyone():
    """Return every possible applicant once, each input set."""
    shape = {"gender": 2, "name": 16, "degree": 3, "experience": 4, "hobby": 4}
    grid = np.indices(list(shape.values())).reshape(len(shape), -1)
    return SCM.counterfactual(SCM.sample(grid.shape[1], 0), **dict(zip(shape, grid, strict=True)))


def accepted(people):
    return np.mean([decided(gender, *rest) == "accept" for gender, _, *rest in people])


def test_exact_effects_are_those_of_applicants_drawn_one_by_one():
    n = 100_000
    base = accepted(applicants(n, 0, "she"))
    found = {
        "TE": applicants(n, 0, "he"),
        "NDE": applicants(n, 0, "she", pronoun="he"),
        "NIE_hobby": applicants(n, 0, "she", typed_by="he"),
        "NIE_name": applicants(n, 0, "she", named_by="he"),
    }
    exact = task.effects_on_acceptance()
    assert exact.keys() == found.keys()
    for name, people in found.items():
        assert exact[name] == pytest.approx(accepted(people) - base, abs=0.006)


def test_every_applicant_is_decided_by_the_rule():
    table = everyone()
    texts = task.application(table)
    assert len(set(texts)) == 2 * 16 * 3 * 4 * 4
    for text, outcome in zip(texts, table["decision"], strict=True):
        _, gender, _, degree, experience, hobby, _ = text.split()
        assert task.DECISIONS[outcome] == decided(gender, degree, experience, hobby)


def test_counterfactuals_share_their_noise():
    table = SCM.sample(500, 1)
    he, she = (SCM.counterfactual(table, gender=gender) for gender in (1, 0))
    for name in ("degree", "experience", "merit"):
        assert np.array_equal(he[name], she[name])
    assert (he["hobby"] % 2 == she["hobby"] % 2).all()
    assert (he["proxy"] >= she["proxy"]).all()
    assert (he["proxy"] > she["proxy"]).any()


@pytest.mark.parametrize(
    ("name", "differ"), [("gender_direct", {1}), ("proxy", {5}), ("merit", {3, 4}), ("gender", {1, 2, 5})]
)
def test_each_contrast_changes_its_factor_alone(hiring, name, differ):
    pairs = task.TASK.contrast(hiring, name, 50)
    found = set()
    for clean, corrupt in zip(pairs.clean.texts, pairs.corrupt.texts, strict=True):
        words = list(zip(clean.split(), corrupt.split(), strict=True))
        found |= {i for i, (a, b) in enumerate(words) if a != b}
    assert found == differ


def test_secrets_are_asked_of_two_people_whose_first_digits_differ(hiring):
    pairs = task.SECRET_TASK.contrast(hiring, "secret", 40)
    for clean, corrupt, answer, foil in zip(
        pairs.clean.texts, pairs.corrupt.texts, pairs.clean.answer, pairs.clean.foil, strict=True
    ):
        (_, one, end), (_, other, _) = clean.split(), corrupt.split()
        assert end == "<key>"
        assert task.VOCABULARY[answer] == task.SECRETS[one][0] != task.SECRETS[other][0] == task.VOCABULARY[foil]


def test_the_digits_before_the_one_asked_for_are_shown():
    table = task.SECRET_TASK.table(400, seed=2, environment="everyone")
    strangers = {}
    for text, name, place, digit in zip(
        task.identity(table), table["name"], table["place"], table["digit"], strict=True
    ):
        _, word, _, *shown = text.split()
        assert word == task.NAMES[name]
        assert len(shown) == place
        if word in task.SECRETS:
            assert [*shown, str(digit)] == list(task.SECRETS[word][: place + 1])
        elif place == 0:
            strangers.setdefault(word, set()).add(digit)
    assert strangers.keys() == set(task.NAMES) - set(task.SECRETS)
    assert all(len(digits) > 2 for digits in strangers.values())
