"""Specificity: the group that is moved most."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mechcausal.links.specificity import worst_groups


def bench(groups):
    side = SimpleNamespace(groups=groups)
    rows = np.arange(2, 6)
    return SimpleNamespace(
        split=(np.arange(2), rows), pairs=SimpleNamespace(clean=side), total=np.array([9, 9, 2.0, 2, 2, 2])
    )


def test_the_worst_group_is_that_of_the_largest_mean_effect_on_the_estimating_half():
    change = np.array([[50, 50, 1, 1, -4, -2.0], [0, 0, 3, 1, 0, 0]])
    assert worst_groups(bench(("a", "b", "a", "a", "b", "b")), change) == [("b", -1.5), ("a", 1.0)]


def test_without_groups_there_is_none():
    ((name, share),) = worst_groups(bench(()), np.ones((1, 6)))
    assert name == ""
    assert np.isnan(share)
