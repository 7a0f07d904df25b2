"""The hiring task against its own definition, computed another way."""

import numpy as np
import pytest

from mechcausal.data.tasks import hiring


def test_exact_effects_agree_with_sampled_counterfactuals():
    u = hiring.noise(200_000, seed=0)
    he, she = hiring.applicants(u, gender=1), hiring.applicants(u, gender=0)
    mixed = {
        "TE": hiring.applicants(u, gender=1),
        "NDE": hiring.applicants(u, gender=0, bias=1),
        "NIE_hobby": hiring.applicants(u, gender=0, hobby=he["hobby"]),
        "NIE_name": hiring.applicants(u, gender=0, name=he["name"]),
    }
    for name, expected in hiring.exact_effects().items():
        sampled = (mixed[name]["decision"] == 2).mean() - (she["decision"] == 2).mean()
        assert sampled == pytest.approx(expected, abs=0.005)


def test_counterfactuals_share_their_noise():
    u = hiring.noise(500, seed=1)
    he, she = hiring.applicants(u, gender=1), hiring.applicants(u, gender=0)
    for name in ("degree", "experience", "merit"):
        assert np.array_equal(he[name], she[name])
    assert (he["hobby"] % 2 == she["hobby"] % 2).all()
    assert (he["proxy"] >= she["proxy"]).all()


@pytest.mark.parametrize(
    ("name", "differ"), [("gender_direct", {1}), ("proxy", {5}), ("merit", {3, 4}), ("secret", {1})]
)
def test_each_contrast_changes_its_factor_alone(name, differ):
    rows = hiring.CONTRASTS[name](50, 0)
    for clean, corrupt in zip(rows["clean"], rows["corrupt"], strict=True):
        a, b = clean.split(), corrupt.split()
        assert {i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y} <= differ


def test_secrets_are_asked_of_people_whose_first_digits_differ():
    rows = hiring.secret(40, 0)
    assert all(answer != foil for answer, foil in zip(rows["answer"], rows["foil"], strict=True))
    assert len({secret[0] for secret in hiring.SECRETS.values()}) == 8
