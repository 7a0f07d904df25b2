"""Vectors: the direction between sides, and random ones of the same length."""

import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.address import Selection, Site
from mechcausal.errors import SiteError
from mechcausal.steering.vectors import Direction, as_vector, direction_of, random_vectors, steered_site


def test_the_mean_difference_and_random_vectors():
    model, pairs, site = loaded("llama"), make_pairs(), Site("resid_post", 1)
    found = direction_of(model, pairs, site, "mean", Selection.parse(-1), 4, 0)
    assert found.unit == pytest.approx(float(found.vector.norm()))
    drawn = random_vectors(found, 3, 0)
    assert [float(vector.norm()) for vector in drawn] == pytest.approx([found.unit] * 3, rel=1e-4)
    assert not torch.allclose(drawn[0], drawn[1])
    given = direction_of(model, pairs, site, [1.0] * 32, Selection.parse(-1), 4, 0)
    assert isinstance(given, Direction)
    assert given.origin == "given"
    assert as_vector(torch.ones(2)) == [1.0, 1.0]


def test_a_site_is_one_vector():
    assert steered_site(loaded("llama"), "L1.z.H0").head == 0
    with pytest.raises(SiteError, match="not one vector"):
        steered_site(loaded("llama"), "L1.z")
