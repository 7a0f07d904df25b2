"""The comparison with networks with redrawn weights: bounds against simulation, exact restoring, and what is said."""

from __future__ import annotations

import pytest

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.links.total import Total
from mechcausal.results.intervals import Interval
from mechcausal.results.redraws import FEWEST_NETWORKS, Scale

CLEAR = Interval(1.0, 0.8, 1.2, 40, 20)


def test_one_scale_beyond_its_bound_is_enough():
    above, below = Scale(3.0, (1.0,) * 8, 2.0), Scale(1.0, (1.0,) * 8, 2.0)
    assert Total(CLEAR, above, below).blocked is None
    assert Total(CLEAR, below, above).blocked is None
    blocked = Total(CLEAR, below, below).blocked
    assert blocked is not None
    assert "a network with random weights may move the behavior as much" in blocked.why
    assert "would lower the bound" in blocked.why  # and what would settle it
    assert "8 copies" in blocked.why
    unclear = Total(Interval(1.0, -0.1, 2.1, 40, 20), above, above).blocked
    assert unclear is not None
    assert "includes 0" in unclear.why


@pytest.mark.parametrize("count", range(1, FEWEST_NETWORKS))
def test_few_networks_give_no_bound(count):
    with pytest.raises(DataError, match=f"no useful bound.*redrawn={count}"):
        mc.link.spec("z", "gender", redrawn=count)
